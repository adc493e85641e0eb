"""Has what is unplaced explained: makes the rooms that the rules look at from a plan's columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lattice.model.ids import DeploymentName
from scheduler.placement.draft import Draft
from scheduler.placement.explain import unplaced_for
from scheduler.placement.model import Demand, Unplaced
from scheduler.placement.rooms import Room
from scheduler.placement.surroundings import Refusing
from scheduler.placement.surveying import surveyed


def explained(draft: Draft, left: Mapping[int, int]) -> tuple[Unplaced, ...]:
    """Return the demands of which replicas are unplaced, by key, with the reasons."""
    if not left:
        return ()
    book = draft.book
    ordered = sorted(left, key=lambda number: book.demand(number).key)
    return tuple(
        unplaced_for(book.demand(number), left[number], surveyed(draft, number))
        for number in ordered
    )


def rooms_of(draft: Draft, demands: Iterable[Demand], refusing: Refusing) -> list[Room]:
    """Return what is taken of every host, in the order of the rows.

    Of who takes it, only that is listed which matters to the given demands: themselves, whom they
    want to be with or apart from, and who wants to be apart from them.
    """
    rooms = [
        Room(candidate, cpu_milli=cpu, memory_bytes=memory, slots=slots)
        for candidate, (cpu, memory, slots) in zip(
            draft.fleet.candidates, draft.used.T.tolist(), strict=True
        )
    ]
    if draft.granting is not None:
        for row in draft.granting.held:
            rooms[row].taken = draft.granting.taken(row)
    names: set[DeploymentName] = set()
    for demand in demands:
        asked = demand.placement
        names |= {demand.deployment, *asked.together, *asked.apart}
        names |= refusing.get(demand.deployment, frozenset())
    for number in sorted(n for name in names for n in draft.book.by_name.get(name, ())):
        key = draft.book.demand(number).key
        rows, many = draft.pairs(number)
        for row, count in zip(rows.tolist(), many.tolist(), strict=True):
            rooms[row].counts[key] = count
    return rooms
