"""In which order demands get their places, and which of them only fit together.

The order depends on demands and hosts alone, not on how they were given.
"""

from __future__ import annotations

from collections.abc import Mapping

from lattice.model.ids import DeploymentName
from scheduler.placement.devices import needed_devices, needed_milli
from scheduler.placement.draft import Draft
from scheduler.placement.scores import ONE, Weights


def ordered(draft: Draft, missing: Mapping[int, int], weights: Weights) -> list[int]:
    """Return the demands that miss replicas in the order in which they are placed.

    Higher priorities come first; then those that ask for most devices, because others would take
    the cores beside them; then those with fewest hosts to choose from, then the largest, then by
    name. What another one has to be with, or had better be near, comes before it.
    """
    ranks = sorted(missing, key=lambda number: _rank(draft, number, weights))
    if not any(_targets(draft, number) for number in ranks):
        return ranks
    by_name: dict[DeploymentName, list[int]] = {}
    for number in ranks:
        by_name.setdefault(draft.book.demand(number).deployment, []).append(number)
    done: dict[int, None] = {}
    seen: set[int] = set()
    for first in ranks:
        stack = [first]
        while stack:
            number = stack[-1]
            seen.add(number)
            before = [
                other
                for name in _targets(draft, number)
                for other in by_name.get(name, ())
                if other not in seen
            ]
            if before:
                stack.append(before[0])  # one after the other: a circle ends where it began
            else:
                stack.pop()
                done[number] = None
    return list(done)


def companions(draft: Draft, missing: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    """Return, for each demand that misses replicas, those that it can only start together with.

    These are the demands that require each other, directly or through others, in a circle.
    """
    by_name: dict[DeploymentName, list[int]] = {}
    for number in missing:
        if draft.book.demand(number).placement.together:
            by_name.setdefault(draft.book.demand(number).deployment, []).append(number)
    needs = {
        number: {
            other
            for name in draft.book.demand(number).placement.together
            for other in by_name.get(name, ())
        }
        for numbers in by_name.values()
        for number in numbers
    }
    reached = {number: _reachable(needs, number) for number in needs}
    found: dict[int, tuple[int, ...]] = {}
    for number, others in reached.items():
        circle = {other for other in others if number in reached[other]}
        if number in circle and len(circle) > 1:
            found[number] = tuple(sorted(circle, key=lambda n: draft.book.demand(n).key))
    return found


def _reachable(needs: Mapping[int, set[int]], start: int) -> set[int]:
    found: set[int] = set()
    stack = list(needs[start])
    while stack:
        number = stack.pop()
        if number not in found:
            found.add(number)
            stack.extend(needs[number])
    return found


def _targets(draft: Draft, number: int) -> tuple[DeploymentName, ...]:
    placement = draft.book.demand(number).placement
    if not placement.prefer:
        return placement.together
    wishes = (w.near for w in placement.prefer if w.weight > 0)
    return (*placement.together, *(name for name in wishes if name is not None))


def _rank(draft: Draft, number: int, weights: Weights) -> tuple[int, int, int, int, object]:
    demand = draft.book.demand(number)
    placement = demand.placement
    cpu, memory = draft.mean_units()
    size = max(
        ONE * placement.cpu_milli // cpu, ONE * (placement.memory_bytes >> 10) // (memory << 10)
    )
    choice = draft.fleet.choice(demand)
    match weights.first:
        case "choice":
            rank = (choice, -size)
        case "size":
            rank = (-size, choice)
        case "both":
            rank = (-size * len(draft.fleet) // max(1, choice), choice)
    devices = sum(needed_devices(each) * needed_milli(each) for each in placement.devices)
    return (-placement.priority, -devices, *rank, demand.key)
