"""Which host can run a replica: each filter returns why it refused, so that rule and explanation
are one thing. The first refusal, in the order of `refusal`, is the one that is reported.

Filters neither score nor change anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from lattice.model.wit import wanted_matches
from scheduler.placement.model import NEEDS, Candidate, Demand

Kind = Literal[
    "lost",
    "silent",
    "feature",
    "cordoned",
    "frozen",
    "failed",
    "label",
    "interface",
    "slots",
    "cpu",
    "memory",
]

CAPACITY_KINDS: frozenset[str] = frozenset({"slots", "cpu", "memory"})
"""Refusals that end when other replicas leave the host."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a host cannot take one more replica. `free` is what it has left of a capacity."""

    kind: Kind
    text: str
    free: int = 0


@dataclass(slots=True)
class Room:
    """What is taken of a candidate while a plan is made."""

    candidate: Candidate
    cpu_milli: int = 0
    memory_bytes: int = 0
    slots: int = 0

    def take(self, demand: Demand, count: int) -> None:
        """Take the room of `count` replicas (give it back when negative)."""
        self.cpu_milli += demand.placement.cpu_milli * count
        self.memory_bytes += demand.placement.memory_bytes * count
        self.slots += count

    def fitting(self, demand: Demand) -> int:
        """Return how many replicas more fit by capacity alone; never negative."""
        capacity = self.candidate.capacity
        fits = capacity.slots - self.slots
        if demand.placement.cpu_milli:
            fits = min(fits, (capacity.cpu_milli - self.cpu_milli) // demand.placement.cpu_milli)
        if demand.placement.memory_bytes:
            fits = min(
                fits, (capacity.memory_bytes - self.memory_bytes) // demand.placement.memory_bytes
            )
        return max(fits, 0)

    def share(self, demand: Demand) -> int:
        """Return the largest share of a capacity in use after one replica more, in 2^-20."""
        capacity = self.candidate.capacity
        return max(
            _share(self.slots + 1, capacity.slots),
            _share(self.cpu_milli + demand.placement.cpu_milli, capacity.cpu_milli),
            _share(self.memory_bytes + demand.placement.memory_bytes, capacity.memory_bytes),
        )


def refusal(demand: Demand, room: Room) -> Refusal | None:
    """Return the first reason why the host cannot take one more replica, or None if it can."""
    return standing_refusal(demand, room.candidate) or capacity_refusal(demand, room)


def standing_refusal(demand: Demand, candidate: Candidate) -> Refusal | None:
    """Return the first reason that does not depend on what else the host runs."""
    if candidate.state == "lost":
        return Refusal("lost", "lost: no heartbeat")
    if candidate.state == "silent":
        return Refusal("silent", "not heard of since the scheduler took over")
    if unknown := [need for need in NEEDS if need not in candidate.features]:
        return Refusal("feature", f"its release does not understand {', '.join(unknown)}")
    if candidate.is_cordoned:
        return Refusal("cordoned", "cordoned")
    if candidate.is_frozen:
        return Refusal("frozen", "target is being written")
    if (failure := demand.avoid.get(candidate.id)) is not None:
        first_line = failure.partition("\n")[0]
        return Refusal("failed", f"failed there, waits before it is tried again: {first_line}")
    for selector in demand.placement.require_labels:
        if (text := selector.refusal(candidate.labels)) is not None:
            return Refusal("label", text)
    return interface_refusal(demand, candidate)


def interface_refusal(demand: Demand, candidate: Candidate) -> Refusal | None:
    """Return which needed interfaces the host does not offer in a compatible version."""
    missing = _missing(demand.interfaces, candidate.interfaces)
    return Refusal("interface", f"does not offer {', '.join(missing)}") if missing else None


def capacity_refusal(demand: Demand, room: Room) -> Refusal | None:
    """Return which capacity does not suffice for one replica more."""
    capacity = room.candidate.capacity
    if (slots := capacity.slots - room.slots) < 1:
        return Refusal("slots", _lack("slots", str(slots), "1"), slots)
    cpu = capacity.cpu_milli - room.cpu_milli
    if demand.placement.cpu_milli and cpu < demand.placement.cpu_milli:
        return Refusal("cpu", _lack("cpu", f"{cpu}m", f"{demand.placement.cpu_milli}m"), cpu)
    memory = capacity.memory_bytes - room.memory_bytes
    if demand.placement.memory_bytes and memory < demand.placement.memory_bytes:
        needs = exact_size(demand.placement.memory_bytes)
        return Refusal("memory", _lack("memory", exact_size(memory), needs), memory)
    return None


def exact_size(size_bytes: int) -> str:
    """Return a number of bytes for people, exact where a binary unit divides it: a lack of one page
    must not read as "1 GiB free, needs 1 GiB"."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor} {unit}"
    if abs(size_bytes) >= 1 << 20:
        return f"{size_bytes / (1 << 20):.1f} MiB"
    return f"{size_bytes} B"


@lru_cache(maxsize=4096)
def _missing(wanted: tuple[str, ...], offered: tuple[str, ...]) -> tuple[str, ...]:
    """A memory, not state: fleets have few distinct sets of interfaces."""
    return tuple(
        name for name in wanted if not any(wanted_matches(name, offer) for offer in offered)
    )


def _lack(what: str, free: str, needs: str) -> str:
    return f"{what} {free} free, needs {needs}"


def _share(used: int, total: int) -> int:
    if total <= 0:
        return 0 if used <= 0 else 1 << 21
    return (used << 20) // total
