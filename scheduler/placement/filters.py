"""Which host can run a replica: each filter returns why it refused, so that rule and explanation
are one thing. The first refusal, in the order of `refusals`, is the one that is reported.

This is the definition of feasibility; the vectorised masks of `plan` give the same answers. Filters
neither score nor change anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from lattice.model.host import Taint
from lattice.model.scheduling import Placement, Spread
from lattice.model.wit import wanted_matches
from scheduler.flapping import TAINT
from scheduler.placement.devices import lack_of_devices
from scheduler.placement.model import Candidate, Demand
from scheduler.placement.rooms import ALONE, Room, Surroundings

Kind = Literal[
    "lost",
    "silent",
    "feature",
    "cordoned",
    "draining",
    "frozen",
    "failed",
    "leaving",
    "taint",
    "label",
    "interface",
    "together",
    "apart",
    "spread",
    "per-host",
    "slots",
    "cpu",
    "memory",
    "device",
]

CAPACITY_KINDS: frozenset[str] = frozenset({"slots", "cpu", "memory", "device"})
"""Refusals that end when other replicas leave the host."""

PASSING_KINDS: frozenset[str] = frozenset({"silent", "frozen", "failed", "leaving"})
"""Refusals that end by themselves: a domain of such hosts still counts as one that could take a
replica, or each trouble of a host would let a hard spread lean to the other side."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a host cannot take one more replica. `free` is what it has left of a capacity.

    `subject` tells apart constraints of one kind: the selector, interface, taint, deployment or
    label key that refuses; "" where there can be only one.
    """

    kind: Kind
    text: str
    free: int = 0
    subject: str = ""


def is_passing(refusal: Refusal) -> bool:
    """Tell whether a refusal ends by itself; that of a host that is held off for a while does."""
    if refusal.kind == "taint":
        return refusal.subject.partition("=")[0] == TAINT
    return refusal.kind in PASSING_KINDS


def refusal(demand: Demand, room: Room, around: Surroundings = ALONE) -> Refusal | None:
    """Return the first reason why the host cannot take one more replica, or None if it can."""
    return next(refusals(demand, room, around), None)


def refusals(demand: Demand, room: Room, around: Surroundings = ALONE) -> Iterator[Refusal]:
    """Yield every reason why the host cannot take one more replica, one for each constraint.

    Ordered from what the host is, over what it offers and what runs beside, to what it has left.
    """
    yield from standing_refusals(demand, room.candidate)
    yield from neighbour_refusals(demand, room, around)
    yield from capacity_refusals(demand, room)


def standing_refusal(demand: Demand, candidate: Candidate) -> Refusal | None:
    """Return the first reason that does not depend on what any host runs, or None."""
    return next(standing_refusals(demand, candidate), None)


def standing_refusals(demand: Demand, candidate: Candidate) -> Iterator[Refusal]:
    """Yield every reason that does not depend on what any host runs."""
    yield from _state_refusals(demand, candidate)
    asked = demand.placement
    for taint in candidate.taints:
        if not is_tolerated(asked, taint):
            title = f"{taint.key}={taint.value}" if taint.value else taint.key
            yield Refusal("taint", f"taint {title} is not tolerated", subject=title)
    for selector in asked.require_labels:
        if (text := selector.refusal(candidate.labels)) is not None:
            yield Refusal("label", text, subject=str(selector))
    for name in _missing(demand.interfaces, candidate.interfaces):
        yield Refusal("interface", f"does not offer {name}", subject=name)


def interface_refusal(demand: Demand, candidate: Candidate) -> Refusal | None:
    """Return which needed interfaces the host does not offer in a compatible version."""
    missing = _missing(demand.interfaces, candidate.interfaces)
    return Refusal("interface", f"does not offer {', '.join(missing)}") if missing else None


def neighbour_refusals(demand: Demand, room: Room, around: Surroundings) -> Iterator[Refusal]:
    """Yield the reasons that lie in what runs on this host and on others."""
    asked = demand.placement
    for name in asked.together:
        if not room.has(name):
            yield Refusal("together", f"no replica of {name} runs there", subject=name)
    for name in asked.apart:
        if room.has(name):
            yield Refusal("apart", f"{name} runs there, to be kept apart from", subject=name)
    if around.refusing:
        for name in room.deployments():
            if name in around.refusing and name != demand.deployment:
                text = f"{name} runs there and keeps {demand.deployment} away"
                yield Refusal("apart", text, subject=f"of {name}")
    for spread in asked.spread if not demand.per_host else ():
        if spread.is_hard and (fault := _spread_fault(spread, room.candidate, around)):
            yield Refusal("spread", fault, subject=spread.key)
    own = room.counts.get(demand.key, 0)
    if 0 < asked.per_host_max <= own:
        yield Refusal("per-host", f"has {own} of it, at most {asked.per_host_max} on one host")


def capacity_refusals(demand: Demand, room: Room) -> Iterator[Refusal]:
    """Yield which capacities do not suffice for one replica more."""
    capacity, asked = room.candidate.capacity, demand.placement
    slots = capacity.slots - room.slots
    if slots < max(asked.slots, 1):
        yield Refusal("slots", _lack("slots", str(slots), str(max(asked.slots, 1))), slots)
    cpu = capacity.cpu_milli - room.cpu_milli
    if asked.cpu_milli and cpu < asked.cpu_milli:
        yield Refusal("cpu", _lack("cpu", f"{cpu}m", f"{asked.cpu_milli}m"), cpu)
    memory = capacity.memory_bytes - room.memory_bytes
    if asked.memory_bytes and memory < asked.memory_bytes:
        needs = exact_size(asked.memory_bytes)
        yield Refusal("memory", _lack("memory", exact_size(memory), needs), memory)
    if asked.devices:
        lack = lack_of_devices(asked.devices, room.candidate.devices, room.taken)
        if lack is not None:
            yield Refusal("device", f"devices: {lack.text}", lack.free)


def is_tolerated(placement: Placement, taint: Taint) -> bool:
    """Tell whether a replica may be placed in spite of a taint: a selector of its key meets it."""
    return any(
        selector.key == taint.key and selector.refusal({taint.key: taint.value}) is None
        for selector in placement.tolerate
    )


def exact_size(size_bytes: int) -> str:
    """Return a number of bytes for people, exact where a binary unit divides it: a lack of one page
    must not read as "1 GiB free, needs 1 GiB"."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor} {unit}"
    if abs(size_bytes) >= 1 << 20:
        return f"{size_bytes / (1 << 20):.1f} MiB"
    return f"{size_bytes} B"


def _state_refusals(demand: Demand, candidate: Candidate) -> Iterator[Refusal]:
    if candidate.state == "lost":
        yield Refusal("lost", "lost: no heartbeat")
    if candidate.state == "silent":
        yield Refusal("silent", "not heard of since the scheduler took over")
    for need in demand.needs:
        if need not in candidate.features:
            yield Refusal("feature", f"its release does not understand {need}", subject=need)
    if candidate.is_cordoned:
        yield Refusal("cordoned", "cordoned")
    if candidate.is_draining:
        yield Refusal("draining", "draining")
    if candidate.is_frozen:
        yield Refusal("frozen", "target is being written")
    if (failure := demand.avoid.get(candidate.id)) is not None:
        first_line = failure.partition("\n")[0]
        yield Refusal("failed", f"failed there, waits before it is tried again: {first_line}")
    if candidate.id in demand.keep_max:
        yield Refusal("leaving", "is being emptied")


def _spread_fault(spread: Spread, candidate: Candidate, around: Surroundings) -> str | None:
    """Return why one replica more on the host would make the skew of a hard spread too large."""
    value = candidate.labels.get(spread.key)
    if value is None:
        return f"no label {spread.key} to spread over"
    domains = around.spread.get(spread.key)
    if domains is None:
        return None
    after = domains.counts.get(value, 0) + 1
    if after - domains.fewest <= spread.max_skew:
        return None
    return (
        f"{spread.key}={value} would have {after}, the emptiest {spread.key} has "
        f"{domains.fewest}, skew at most {spread.max_skew}"
    )


@lru_cache(maxsize=4096)
def _missing(wanted: tuple[str, ...], offered: tuple[str, ...]) -> tuple[str, ...]:
    """A memory, not state: fleets have few distinct sets of interfaces."""
    return tuple(
        name for name in wanted if not any(wanted_matches(name, offer) for offer in offered)
    )


def _lack(what: str, free: str, needs: str) -> str:
    return f"{what} {free} free, needs {needs}"
