"""`lattice doctor`: is this machine fit, and is the lattice reached? Each fault with its fix."""

from __future__ import annotations

from lattice.cli import exits
from lattice.cli.checks import Check
from lattice.cli.checks_lattice import check_lattice
from lattice.cli.checks_machine import check_machine
from lattice.cli.options import DEFAULT, Options, settings_of
from lattice.cli.output import print_json, printable
from lattice.errors import LatticeError


async def doctor_(*, options: Options = DEFAULT) -> int:
    """Check this machine and the way to the lattice; name a fix for each fault.

    Ends with status 1 when a check failed; warnings are no failures.
    """
    checks = check_machine()
    try:
        settings = settings_of(options)
    except LatticeError as exc:
        checks.append(
            Check("settings", "fail", exc.message, "`lattice context list` shows what there is")
        )
    else:
        checks += await check_lattice(settings)
    if options.is_json:
        print_json({"checks": checks})
    else:
        for check in checks:
            print(f"{check.result:<5} {check.name}: {printable(check.found)}")
            if check.fix:
                print(f"      fix: {check.fix}")
    return exits.FAILED if any(check.result == "fail" for check in checks) else exits.DONE
