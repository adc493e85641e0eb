"""Which single constraint, if it were dropped, would let hosts take a replica that fits nowhere.

Only single ones: pairs would be guesses. The answer is exact: a dropped constraint also changes
which domains a hard spread counts. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lattice.model.ids import HostId
from scheduler.placement.devices import suffices
from scheduler.placement.explain import Standing
from scheduler.placement.filters import (
    CAPACITY_KINDS,
    Kind,
    Refusal,
    capacity_refusals,
    is_passing,
    neighbour_refusals,
)
from scheduler.placement.model import Demand
from scheduler.placement.rooms import Domains, Room, Surroundings
from scheduler.placement.surroundings import domains_of

FIXED_KINDS: frozenset[str] = frozenset({"lost", "silent", "frozen", "feature", "leaving"})
"""What nobody can drop: it is no constraint, but how the host is."""

Constraint = tuple[Kind, str]
"""Kind and subject of a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """Without this constraint `hosts` hosts could take one more replica.

    `free` is the most that one of them has left, when the constraint is a capacity: a replica that
    asks for no more than this would fit.
    """

    kind: Kind
    subject: str
    hosts: int
    free: int = 0
    closest: HostId | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """All that keeps a replica away from one host, spreads apart from the rest."""

    room: Room
    refused: dict[Constraint, Refusal]
    spread: dict[Constraint, Refusal]
    blocking: frozenset[Constraint]  # standing ones by which its domain is not counted


def relaxations(
    demand: Demand, rooms: Collection[Room], around: Surroundings
) -> tuple[Relaxation, ...]:
    """Return each constraint whose absence alone lets hosts in, the one that helps most first.

    `rooms` has one entry for each host. Hosts that could take a replica anyhow count with none.
    """
    standing = Standing(demand)
    found = [_look(demand, room, around, standing) for room in rooms]
    constraints = {
        constraint
        for each in found
        for constraint in (*each.refused, *each.spread)
        if constraint[0] not in FIXED_KINDS
    }
    is_spread = bool(around.spread)
    made: list[Relaxation] = []
    for constraint in sorted(constraints):
        let_in = [
            each for each in found if each.refused.keys() | each.spread.keys() == {constraint}
        ]
        if is_spread:
            let_in = _let_in(demand, found, around, constraint)
        if let_in:
            made.append(_relaxation(constraint, let_in))
    return tuple(sorted(made, key=lambda made: (-made.hosts, made.kind, made.subject)))


def _look(demand: Demand, room: Room, around: Surroundings, standing: Standing) -> _Found:
    fixed = standing.refusals(room.candidate)
    blocking = {(r.kind, r.subject) for r in fixed if not is_passing(r)}
    if not suffices(demand.placement.devices, room.candidate.devices):
        blocking.add(("device", ""))
    changing = (*neighbour_refusals(demand, room, around), *capacity_refusals(demand, room))
    return _Found(
        room=room,
        refused={(r.kind, r.subject): r for r in (*fixed, *changing) if r.kind != "spread"},
        spread={(r.kind, r.subject): r for r in changing if r.kind == "spread"},
        blocking=frozenset(blocking),
    )


def _let_in(
    demand: Demand, found: Sequence[_Found], around: Surroundings, dropped: Constraint
) -> list[_Found]:
    """Return the hosts that take a replica without one constraint and do not with it."""
    eligible = [each.room for each in found if each.blocking <= {dropped}]
    spreads = [
        spread
        for spread in demand.placement.spread
        if spread.key in around.spread and spread.is_hard and ("spread", spread.key) != dropped
    ]
    rooms = [each.room for each in found]
    relaxed = Surroundings(
        spread={spread.key: domains_of(spread, demand.key, rooms, eligible) for spread in spreads},
        refusing=around.refusing,
    )
    return [
        each
        for each in found
        if each.refused.keys() <= {dropped}
        and (each.refused or each.spread)
        and all(
            _holds(each.room, spread.key, spread.max_skew, relaxed.spread[spread.key])
            for spread in spreads
        )
    ]


def _holds(room: Room, key: str, max_skew: int, domains: Domains) -> bool:
    value = room.candidate.labels.get(key)
    return value is not None and domains.counts[value] + 1 - domains.fewest <= max_skew


def _relaxation(constraint: Constraint, let_in: Sequence[_Found]) -> Relaxation:
    kind, subject = constraint
    closest, free = None, 0
    if kind in CAPACITY_KINDS:
        best = max(let_in, key=lambda each: each.refused[constraint].free)
        closest, free = best.room.candidate.id, best.refused[constraint].free
    return Relaxation(kind=kind, subject=subject, hosts=len(let_in), free=free, closest=closest)
