"""What must hold of every plan that a leader makes, by brute force and by planning once more.

A plan is looked at right after it was made, as the state that it left: demands, hosts, who runs
what, and what fits nowhere. What becomes of it is `writes`'s matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from scheduler.generations import Wanted
from scheduler.placement.model import Candidate, Counts, Demand, Unplaced
from scheduler.placement.plan import State, plan_anew
from tests.property.explaining_oracle import Situation, faults

AGAIN_EVERY = 4
"""Every so many plans one is planned once more: that costs as much as the plan."""


class Plans:
    """Looks at the plans of one world."""

    def __init__(self) -> None:
        self._count = 0

    def look(self, listed: Counts, after: State, wanted: Iterable[Wanted | None]) -> Iterator[str]:
        """Yield what is wrong with a plan: `listed` by targets before, and what is desired."""
        self._count += 1
        world = situation(after)
        demands = {demand.key: demand for demand in world.demands}
        for unplaced in after.unplaced:
            yield from unexplained(
                world, demands[unplaced.deployment, unplaced.generation], unplaced
            )
        yield from worsened(listed, world, [each for each in wanted if each is not None])
        if self._count % AGAIN_EVERY == 0:
            yield from moved_again(world, after)


def situation(state: State) -> Situation:
    """Return what a plan left as the oracle of the explanations wants it."""
    return Situation(
        hosts=list(state.fleet.candidates),
        demands=[demand for demand in state.book.demands if demand is not None],
        counts={host: dict(counts) for host, counts in state.assignments.items()},
    )


def unexplained(world: Situation, demand: Demand, unplaced: Unplaced) -> Iterator[str]:
    """Yield what is wrong with the reasons of a replica that has no place: each host must refuse it
    by a rule that brute force finds broken there, and by no other."""
    first: Counter[str] = Counter()
    for host in world.hosts:
        if found := refusing(world, demand, host):
            first[found] += 1
        elif not has_enough(world, demand, host):
            yield f"{demand.key} is unplaced although {host.id} would take it: {unplaced.text}"
    if set(first) != set(unplaced.kinds):
        yield f"{demand.key} is unplaced for {unplaced.kinds}, by brute force for {dict(first)}"


def refusing(world: Situation, demand: Demand, host: Candidate) -> str:
    """Return the first rule that keeps one more replica away from a host, "" for none."""
    found = faults(world, demand, host)
    return found[0][0] if found else ""


def has_enough(world: Situation, demand: Demand, host: Candidate) -> bool:
    """Tell whether a host has all that a daemon wants of it."""
    return 0 < demand.per_host <= world.counts.get(host.id, {}).get(demand.key, 0)


def worsened(listed: Counts, world: Situation, desired: Iterable[Wanted]) -> Iterator[str]:
    """Yield the hard spreads that a plan made worse: where it added a replica to a domain, that one
    has at most `max_skew` more than the emptiest."""
    for wanted in desired:
        for spread in wanted.placement.spread:
            if not spread.is_hard:
                continue
            was: Counter[str] = Counter()
            now: Counter[str] = Counter()
            usable: set[str] = set()
            for host in world.hosts:
                domain = host.labels.get(spread.key, "")
                was[domain] += listed.get(host.id, {}).get(wanted.key, 0)
                now[domain] += world.counts.get(host.id, {}).get(wanted.key, 0)
                if host.state == "ready" and not (host.is_cordoned or host.is_draining):
                    usable.add(domain)
            least = min((now[domain] for domain in usable), default=0)
            for domain in sorted(now):
                if now[domain] > was[domain] and now[domain] - least > spread.max_skew:
                    yield (
                        f"{wanted.key} is spread {dict(now)} over {spread.key}, before {dict(was)}"
                    )


def moved_again(world: Situation, state: State) -> Iterator[str]:
    """Yield what a plan of the same, from scratch, would move: nothing."""
    again = plan_anew(world.demands, world.hosts, world.counts, grants=state.grants)
    for host, counts in again.assignments.items():
        if dict(counts) != (before := world.counts.get(host, {})):
            yield f"planned again, {host} gets {dict(counts)} instead of {before}"
