"""`lattice diff`: what applying a manifest would change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lattice.cli import exits
from lattice.cli.options import DEFAULT, Options, client_of
from lattice.cli.output import print_json, printable
from lattice.client.differences import Difference

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


async def diff_(
    *,
    file: Annotated[Path, Parameter(alias="-f")],
    exit_code: bool = False,
    options: Options = DEFAULT,
) -> int:
    """Show what applying a manifest would change.

    Nothing is uploaded or submitted. Components count by their digest: a rebuilt one that has
    the same bytes is no change.

    Parameters
    ----------
    file
        The manifest: YAML or JSON, one or more documents.
    exit_code
        End with status 1 when there are differences.
    """
    async with client_of(options) as client:
        found = await client.diff(file)
    if options.is_json:
        print_json({"deployments": [{"name": n, "differences": d} for n, d in found.items()]})
    else:
        for name, differences in found.items():
            _tell(name, differences)
    return exits.FAILED if exit_code and any(found.values()) else exits.DONE


def _tell(name: str, differences: tuple[Difference, ...]) -> None:
    if not differences:
        print(f"{name}: no change")
        return
    print(f"{name}:")
    for difference in differences:
        sign = _SIGNS[difference.kind]
        print(printable(f"  {sign} {difference.path}: {_values(difference)}"))


def _values(difference: Difference) -> str:
    before, after = (
        json.dumps(value, ensure_ascii=False) for value in (difference.before, difference.after)
    )
    match difference.kind:
        case "added":
            return after
        case "removed":
            return before
        case "changed":
            return f"{before} -> {after}"
