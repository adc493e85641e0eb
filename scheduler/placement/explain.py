"""Say why replicas are unplaced: which constraint kept how many hosts away first, and which single
one, if it were dropped, would let some in.

Counts and texts only: the reasons come from the filters that made the decision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from lattice.model.ids import HostId
from scheduler.placement.filters import (
    CAPACITY_KINDS,
    Kind,
    Refusal,
    capacity_refusals,
    neighbour_refusals,
    standing_refusals,
)
from scheduler.placement.model import Candidate, Demand, Unplaced
from scheduler.placement.rooms import ALONE, Room, Surroundings

REASONS_MAX = 8
"""Distinct reasons in one explanation; more would hide the frequent ones."""

REASON_CHARS_MAX = 400
"""Characters of one reason: a host's own error text may be long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A constraint that was the first to refuse `hosts` hosts.

    `closest` is the host that has most left of a capacity, and `text` is what it says; of other
    constraints it is what one of the hosts says.
    """

    kind: Kind
    subject: str
    hosts: int
    text: str
    closest: HostId | None = None


def first_reasons(
    demand: Demand, rooms: Iterable[Room], around: Surroundings = ALONE
) -> tuple[Reason, ...]:
    """Return which constraint was the first to refuse how many hosts, the most frequent first.

    Hosts that could take a replica are in none of them. `surveying` does the same for all hosts at
    once; this is what it must agree with.
    """
    standing = Standing(demand)
    found: list[Counted] = []
    for room in rooms:
        refused = standing.refusals(room.candidate)
        first = refused[0] if refused else next(changing_refusals(demand, room, around), None)
        if first is not None:
            found.append(Counted(first, room.candidate.id))
    return grouped(found)


def changing_refusals(demand: Demand, room: Room, around: Surroundings) -> Iterator[Refusal]:
    """Yield every reason that lies in what runs on this host and on others."""
    yield from neighbour_refusals(demand, room, around)
    yield from capacity_refusals(demand, room)


class Standing:
    """The standing refusals of one demand, asked once for all hosts that are alike to it."""

    def __init__(self, demand: Demand) -> None:
        self._demand = demand
        self._keys = tuple(selector.key for selector in demand.placement.require_labels)
        self._known: dict[object, tuple[Refusal, ...]] = {}

    def refusals(self, candidate: Candidate) -> tuple[Refusal, ...]:
        """Return every reason that does not depend on what any host runs, in order."""
        alike = (
            candidate.state,
            candidate.is_cordoned,
            candidate.is_draining,
            candidate.is_frozen,
            candidate.features,
            candidate.interfaces,
            candidate.taints,
            self._demand.avoid.get(candidate.id),
            candidate.id in self._demand.keep_max,
            tuple(map(candidate.labels.get, self._keys)),
        )
        if (known := self._known.get(alike)) is None:
            known = self._known[alike] = tuple(standing_refusals(self._demand, candidate))
        return known


@dataclass(frozen=True, slots=True)
class Counted:
    """A refusal that is the first one of some hosts, and one of these."""

    refusal: Refusal
    host: HostId | None = None
    hosts: int = 1


@dataclass(slots=True)
class _Group:
    refusal: Refusal
    closest: HostId | None
    hosts: int = 0
    texts: set[str] = field(default_factory=set[str])

    def reason(self) -> Reason:
        more = len(self.texts) - 1
        is_one = self.refusal.kind in CAPACITY_KINDS or not more
        text = self.refusal.text if is_one else f"{self.refusal.text} ({more} more like it)"
        return Reason(
            kind=self.refusal.kind,
            subject=self.refusal.subject,
            hosts=self.hosts,
            text=text,
            closest=self.closest if self.refusal.kind in CAPACITY_KINDS else None,
        )


def grouped(refused: Iterable[Counted]) -> tuple[Reason, ...]:
    """Return one reason for each constraint, the most frequent first.

    Failures of starts are told apart by their texts.
    """
    groups: dict[object, _Group] = {}
    for counted in refused:
        refusal = counted.refusal
        subject = refusal.text if refusal.kind == "failed" else refusal.subject
        group = groups.get((refusal.kind, subject))
        if group is None:
            group = groups[refusal.kind, subject] = _Group(refusal, counted.host)
        elif (refusal.free, refusal.text) > (group.refusal.free, group.refusal.text):
            group.refusal, group.closest = refusal, counted.host
        group.hosts += counted.hosts
        group.texts.add(refusal.text)
    reasons = (group.reason() for group in groups.values())
    return tuple(sorted(reasons, key=lambda reason: (-reason.hosts, reason.text)))


def unplaced_for(demand: Demand, count: int, reasons: Collection[Reason]) -> Unplaced:
    """Return `count` replicas of a demand as unplaced for these reasons."""
    texts = reason_texts(reasons)
    counts = f"0/{sum(reason.hosts for reason in reasons)} hosts: {'; '.join(texts)}"
    text = counts if reasons else "no host has joined"
    return Unplaced(
        deployment=demand.deployment,
        generation=demand.generation,
        count=count,
        reasons=texts or (text,),
        kinds=tuple(sorted({reason.kind for reason in reasons})),
        text=text,
    )


def reason_texts(reasons: Collection[Reason]) -> tuple[str, ...]:
    """Return one text for each reason, the most frequent first, the rest summed up."""
    ordered = list(reasons)
    texts = [f"{reason.hosts} {reason.text[:REASON_CHARS_MAX]}" for reason in ordered]
    if len(texts) > REASONS_MAX:
        rest = sum(reason.hosts for reason in ordered[REASONS_MAX:])
        texts[REASONS_MAX:] = [f"{rest} for {len(texts) - REASONS_MAX} other reasons"]
    return tuple(texts)
