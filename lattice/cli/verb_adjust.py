"""`lattice rollback|scale|pause|resume`: deployments that stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from lattice.cli.options import DEFAULT, Options, Seconds, client_of
from lattice.cli.output import print_json, printable, progress_bars, text_of
from lattice.client.deploying import READY_TIMEOUT_S, Applied

if TYPE_CHECKING:
    from lattice.client import LatticeClient

WAIT_S = READY_TIMEOUT_S

Expect = Annotated[int | None, Parameter(validator=validators.Number(gte=1))]
"""`--expect REVISION`."""


async def rollback_(
    name: str,
    generation: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    /,
    *,
    reason: str = "",
    expect: Expect = None,
    wait: bool = False,
    timeout: Seconds = WAIT_S,
    options: Options = DEFAULT,
) -> None:
    """Have a deployment run an earlier generation again.

    It keeps its number; the deployment keeps as many replicas as it has now. How one generation
    replaces the other is what the `update` of the earlier one says.

    Parameters
    ----------
    name
        The deployment.
    generation
        A generation of `lattice history`; by default the one before that nobody went back from.
    reason
        Why, for others: `lattice history` and the events tell it.
    expect
        Only if the deployment stands at this revision.
    wait
        End only when everything runs, or failed.
    timeout
        How long to wait, such as 90s or 5m.
    """
    async with client_of(options) as client:
        done = await client.roll_back(name, generation, expect=expect, reason=reason)
        what = "desired again" if done.changed else "desired already"
        await _finish(client, done, what, options, timeout if wait else None)


async def scale_(
    name: str,
    replicas: Annotated[int, Parameter(validator=validators.Number(gte=0))],
    /,
    *,
    expect: Expect = None,
    wait: bool = False,
    timeout: Seconds = WAIT_S,
    options: Options = DEFAULT,
) -> None:
    """Change how many replicas a deployment has.

    Nothing is restarted. Applying a manifest sets the number that stands there again.

    Parameters
    ----------
    name
        The deployment.
    replicas
        How many there should be.
    expect
        Only if the deployment stands at this revision.
    wait
        End only when everything runs, or failed.
    timeout
        How long to wait, such as 90s or 5m.
    """
    async with client_of(options) as client:
        done = await client.scale(name, replicas, expect=expect)
        what = f"wanted with {replicas} replica{'' if replicas == 1 else 's'}"
        await _finish(client, done, what, options, timeout if wait else None)


async def pause_(name: str, /, *, expect: Expect = None, options: Options = DEFAULT) -> None:
    """Leave what runs of a deployment as it is.

    What is applied meanwhile is stored and carried out when it is resumed. Replicas whose host is
    lost are replaced all the same.

    Parameters
    ----------
    name
        The deployment.
    expect
        Only if the deployment stands at this revision.
    """
    async with client_of(options) as client:
        done = await client.pause(name, expect=expect)
        await _finish(client, done, "paused", options, None)


async def resume_(
    name: str,
    /,
    *,
    expect: Expect = None,
    wait: bool = False,
    timeout: Seconds = WAIT_S,
    options: Options = DEFAULT,
) -> None:
    """Go on with a paused deployment.

    Parameters
    ----------
    name
        The deployment.
    expect
        Only if the deployment stands at this revision.
    wait
        End only when everything runs, or failed.
    timeout
        How long to wait, such as 90s or 5m.
    """
    async with client_of(options) as client:
        done = await client.resume(name, expect=expect)
        await _finish(client, done, "resumed", options, timeout if wait else None)


async def _finish(
    client: LatticeClient, done: Applied, what: str, options: Options, wait_s: float | None
) -> None:
    """Tell what was done, and wait for it if asked."""
    if not options.is_json:
        print(f"{done.name}: generation {done.generation} {what}", flush=True)
        for warning in done.warnings:
            print(f"{done.name}: warning: {printable(text_of(warning))}", flush=True)
        if done.paused and what != "paused":
            print(f"{done.name}: paused, `lattice resume {done.name}` carries it out", flush=True)
    if wait_s is not None:
        with progress_bars() as progress:
            (done,) = await client.wait_ready([done], timeout_s=wait_s, progress=progress)
    if options.is_json:
        print_json(done)
    elif wait_s is not None and done.status is not None:
        status = done.status
        print(f"{done.name}: ready, {status.running} of {status.wanted} replicas run")
