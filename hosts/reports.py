"""What a host reports of its replicas, in bounds: plain functions for the lifecycle core."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from hosts.lifecycle_events import HeartbeatDue, ReplicaFigures
from hosts.slots import Slot
from lattice.model.host import HeldDevice, ReplicaReport, ReplicaState

REASON_LENGTH_MAX = 2000
"""Characters of an error text in a report: a trap's backtrace is kept, a heartbeat stays small."""

REASONS_LENGTH_MAX = 150_000
"""Characters of all error texts in one report. A thousand replicas that fail share them, because
a report that is larger than a message never arrives, and its host would count as lost."""

HELD_MAX = 1000
"""Grants of devices in one report, about 100 kB. Only a scheduler whose bucket was lost reads them:
a replica whose grant is left out gets devices anew then, and so starts again."""

NO_FIGURES = ReplicaFigures()


def replica_reports(slots: Collection[Slot], event: HeartbeatDue) -> tuple[ReplicaReport, ...]:
    """Return the reports of all replicas, in the order of the slots."""
    figures = event.figures
    told = sum(1 for slot in slots if slot.reason)
    told += sum(1 for each in figures.values() if each.trouble)
    length_max = min(REASON_LENGTH_MAX, REASONS_LENGTH_MAX // max(told, 1))
    return tuple(_report(slot, figures.get(slot.replica, NO_FIGURES), length_max) for slot in slots)


def held_devices(slots: Iterable[Slot]) -> tuple[HeldDevice, ...]:
    """Return which devices the replicas hold, in the order of the slots and of their grants."""
    found = (
        HeldDevice(
            replica=slot.replica, device=grant.device,
            share_milli=grant.share_milli, memory_bytes=grant.memory_bytes,
        )
        for slot in slots for grant in slot.grants
    )  # fmt: skip
    return tuple(islice(found, HELD_MAX))


def _report(slot: Slot, figures: ReplicaFigures, length_max: int) -> ReplicaReport:
    return ReplicaReport(
        replica=slot.replica,
        deployment=slot.deployment,
        generation=slot.generation,
        state=_shown(slot, figures),
        reason=(slot.reason or figures.trouble)[:length_max],
        restarts=slot.failures + figures.restarts,
        calls=figures.calls,
        fuel=figures.fuel,
        in_flight=figures.in_flight,
        waiting=figures.waiting,
        errors=figures.errors,
        busy_ms=figures.busy_ms,
    )


def _shown(slot: Slot, figures: ReplicaFigures) -> ReplicaState:
    """Return the state to report: of a running replica, the services count too."""
    return "crash-loop" if slot.state == "running" and figures.is_looping else slot.state
