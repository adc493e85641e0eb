"""`--at TIME` of `lattice get`: what stood at a time, by the event log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from lattice.cli.options import Options, client_of
from lattice.cli.output import own_labels, print_json, print_table
from lattice.wire.past import State

Family = Literal["hosts", "deployments", "replicas"]

_Row = Sequence[object]


async def print_past(
    family: Family, at_s: float, options: Options, *, deployment: str | None = None
) -> None:
    """Print the hosts, deployments or replicas (of one deployment) as they stood at a time.

    Raises:
        NotFoundError: the event log does not reach back so far.
    """
    async with client_of(options) as client:
        moment = await client.state_at(at_s)
    if moment.missing:
        print(
            f"{moment.missing} events are missing in the log: this may be wrong by them",
            file=sys.stderr,
        )
    state = moment.state
    if deployment is not None:
        of_it = [each for each in state.replicas if each.deployment == deployment]
        state = State(deployments=state.deployments, hosts=state.hosts, replicas=of_it)
    if options.is_json:
        found = getattr(state, family)
        print_json({family: found, "position": moment.position, "missing": moment.missing})
        return
    columns, rows = _table(family, state)
    print_table(columns, rows, empty=f"no {family} at that time")


def _table(family: Family, state: State) -> tuple[tuple[str, ...], Iterable[_Row]]:
    match family:
        case "hosts":
            return ("name", "state", "labels", "id"), [
                (host.name, host.state, own_labels(host.labels), host.id) for host in state.hosts
            ]
        case "deployments":
            return ("name", "generation", "replicas", "revision"), [
                (each.name, each.generation, f"{each.replicas}{', paused' if each.paused else ''}",
                 each.revision)
                for each in state.deployments
            ]  # fmt: skip
        case "replicas":
            names = {host.id: host.name for host in state.hosts}
            return ("deployment", "generation", "host", "state", "reason", "replica"), [
                (each.deployment, each.generation, names.get(each.host, each.host), each.state,
                 each.reason, each.replica)
                for each in state.replicas
            ]  # fmt: skip
