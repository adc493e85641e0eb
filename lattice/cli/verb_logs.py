"""`lattice logs`: log lines of a deployment or a host."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from lattice.cli.options import DEFAULT, Options, client_of, host_names
from lattice.cli.output import clock_time, print_json_line, printable, short_ids
from lattice.client import LatticeClient
from lattice.client.observing import LOG_LINES
from lattice.errors import NotFoundError
from lattice.wire.requests import LogLine

LINES = LOG_LINES


async def logs_(
    target: str,
    /,
    *,
    follow: Annotated[bool, Parameter(alias="-f")] = False,
    lines: Annotated[int, Parameter(alias="-n")] = LINES,
    options: Options = DEFAULT,
) -> None:
    """Show log lines of a deployment or a host.

    Hosts keep the last lines of what they run; those of a host that is gone are gone with it.

    Parameters
    ----------
    target
        A deployment, or the name or id of a host.
    follow
        Go on with new lines until Ctrl-C.
    lines
        How many lines of the past to show at most.
    """
    async with client_of(options) as client:
        deployment, host = await _resolve(client, target)
        names = await host_names(client)
        stream = client.logs(deployment=deployment, host=host, lines=lines, follow=follow)
        async for line in stream:
            if options.is_json:
                print_json_line(line)
            else:
                print(_text(line, names), flush=True)


async def _resolve(client: LatticeClient, target: str) -> tuple[str, str]:
    """Return (deployment, "") or ("", host id). `Raises:` NotFoundError when it is neither."""
    try:
        await client.record(target)
    except NotFoundError:
        pass
    else:
        return target, ""
    try:
        return "", await client.find_host(target)
    except NotFoundError as exc:
        raise NotFoundError(f"no deployment {target!r} and {exc.message}") from None


def _text(line: LogLine, names: dict[str, str]) -> str:
    host = names.get(line.host) or short_ids(line.host)
    source = f"{line.deployment}@{host}" if line.deployment else host
    return printable(f"{clock_time(line.time_s)}  {source:<24} {line.level:<6} {line.line}")
