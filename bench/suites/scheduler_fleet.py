"""A thousand hosts over three nats-servers: adoption of 100,000 replicas, idle cost, moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from bench.case import Case, LeftOut
from bench.fleet import Fleet, fleet_up, say, withdrawn

CASES = ("fleet_1k",)

HOSTS, REPLICAS = 1_000, 100_000


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the case, if it is wanted, and the fleet that it measures."""
    if "fleet_1k" not in wanted:
        yield []
        return
    async with fleet_up(HOSTS) as fleet:
        yield [_case(fleet)]


def _case(fleet: Fleet) -> Case:
    figures: dict[str, float] = {}
    taken_s: list[float] = []

    async def measured() -> float:
        """Return the seconds until all replicas run; the rest is read afterwards, as figures.

        A fleet adopts its replicas once, so that is what every call returns: the runner's first
        one, which does not count elsewhere, and its sample.
        """
        if not taken_s:
            taken_s.append(await adoption())
        return taken_s[0]

    async def adoption() -> float:
        figures["joined_s"] = round(fleet.joined_s, 1)
        before = fleet.cpu_by_kind()
        adopted_s = await fleet.adopted_s(REPLICAS)
        say(f"{REPLICAS} replicas are adopted after {adopted_s:.1f} s")
        spent = {kind: now_s - before[kind] for kind, now_s in fleet.cpu_by_kind().items()}
        for kind, spent_s in spent.items():
            figures[f"adoption_{kind}_cpu_s"] = round(spent_s, 1)
        # What a real fleet would spend on machines of its own.
        figures["adoption_hosts_percent_of_cpu"] = round(100 * spent["hosts"] / sum(spent.values()))
        figures["adoption_cores_had"] = round(sum(spent.values()) / adopted_s, 2)
        adopted = await fleet.assigned()
        figures["idle_leader_percent_of_a_core"] = round(await fleet.idle_percent(), 1)
        figures["events_stored_s"] = round(fleet.events_stored_s, 1)
        figures["moves_before_restarts"] = float(withdrawn(adopted, await fleet.assigned()))
        figures["moves_by_restarts"] = float(await fleet.moves_by_restarts())
        return adopted_s

    return Case(
        name="fleet_1k",
        what="from the submission of 100,000 replicas until 1,000 hosts report all as running",
        ours=measured,
        peer_name="none that does the same",
        unit="s",
        is_clocked=True,
        warm_up=0,
        repetitions=1,
        limit=15.0,
        figures=lambda: figures,
        servers=fleet.pids,
    )
