"""`lattice cordon|uncordon|drain|taint`: what a host takes while somebody works on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from lattice.cli.options import DEFAULT, Options, Seconds, client_of
from lattice.cli.output import print_json
from lattice.cli.tainting import taint_changes, taint_word
from lattice.client.steering import DRAINED_TIMEOUT_S
from lattice.client.views import Upkeep

WAIT_S = DRAINED_TIMEOUT_S


async def cordon_(host: str, /, *, options: Options = DEFAULT) -> None:
    """Have a host take no new replicas.

    Those that it has stay. It holds until `lattice uncordon`, also when the host starts again.

    Parameters
    ----------
    host
        Name or id of the host.
    """
    async with client_of(options) as client:
        upkeep = await client.cordon(await client.find_host(host))
    _tell(host, upkeep, options)


async def uncordon_(host: str, /, *, options: Options = DEFAULT) -> None:
    """Have a host take replicas again.

    This ends a drain, too. What moved away does not come back by itself.

    Parameters
    ----------
    host
        Name or id of the host.
    """
    async with client_of(options) as client:
        upkeep = await client.uncordon(await client.find_host(host))
    _tell(host, upkeep, options)


async def drain_(
    host: str,
    /,
    *,
    wait: bool = False,
    stop: bool = False,
    timeout: Seconds = WAIT_S,
    options: Options = DEFAULT,
) -> None:
    """Move all replicas of a host to others.

    The host takes no new replicas. Those that it has leave at the pace of their `update`: with the
    default each one runs elsewhere before it stops here, and calls that run are finished. What
    fits nowhere else stays. It holds until `lattice uncordon`, also when the host starts again.

    Parameters
    ----------
    host
        Name or id of the host.
    wait
        End only when no replica is left on it.
    stop
        Wait, and then end the process of the host.
    timeout
        How long to wait, such as 90s or 5m.
    """
    async with client_of(options) as client:
        host_id = await client.find_host(host)
        upkeep = await client.drain(host_id)
        if not options.is_json:
            _tell(host, upkeep, options)
        if wait or stop:

            def progress(left: int) -> None:
                if not options.is_json:
                    count = f"{left} replica{'' if left == 1 else 's'} left"
                    print(f"{host}: {count if left else 'empty'}", flush=True)

            await client.wait_drained(host_id, timeout_s=timeout, progress=progress)
        if stop:
            await client.stop_host(host_id)
            if not options.is_json:
                print(f"{host}: stops", flush=True)
    if options.is_json:
        _tell(host, upkeep, options)


def _check(_: object, words: str | Sequence[str]) -> None:
    taint_changes((words,) if isinstance(words, str) else words)


async def taint_(
    host: str,
    /,
    change: Annotated[str, Parameter(validator=_check)],
    *changes: Annotated[str, Parameter(validator=_check)],
    options: Options = DEFAULT,
) -> None:
    """Change the taints of a running host.

    A taint keeps new replicas away that do not tolerate it (`placement.tolerate` of a manifest);
    with :evict those that are there leave, too. It holds until it is removed, also when the host
    starts again; what `lattice host --taint` gives is given again at each start.

    Parameters
    ----------
    host
        Name or id of the host.
    change
        gpu, team=search or repair:evict sets a taint, gpu- removes it.
    changes
        Further ones.
    """
    taints, removed = taint_changes((change, *changes))
    async with client_of(options) as client:
        upkeep = await client.taint(await client.find_host(host), taints=taints, remove=removed)
    _tell(host, upkeep, options)


def _tell(host: str, upkeep: Upkeep, options: Options) -> None:
    if options.is_json:
        print_json({"host": host, **_plain(upkeep)})
        return
    state = "draining" if upkeep.draining else "cordoned" if upkeep.cordoned else "takes replicas"
    taints = ", ".join(taint_word(taint) for taint in upkeep.taints)
    print(f"{host}: {state}" + (f", taints {taints}" if taints else ""), flush=True)


def _plain(upkeep: Upkeep) -> dict[str, object]:
    return {
        "cordoned": upkeep.cordoned,
        "draining": upkeep.draining,
        "taints": list(upkeep.taints),
    }
