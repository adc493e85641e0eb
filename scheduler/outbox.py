"""The events of a scheduler process on their way to the event log.

Their ids come from `scheduler.announcements`; sending is `lattice.bus.event_outbox`.
"""

from __future__ import annotations

from lattice.bus.base import Log
from lattice.bus.event_outbox import EventOutbox
from lattice.clock import Clock
from lattice.wire.subjects import Names
from scheduler.announcements import Emit

WAITING_MAX = 10_000
"""Events that wait for NATS: all that the loss of a large host causes, a few times over."""


UNDER_WAY_MAX = 16
"""Events that are sent before the first of them is stored: one process tells of the whole lattice.
Hosts send one at a time, so that a thousand of them that adopt do not fill the queues of NATS in
front of targets and reports."""


class Outbox:
    """The events of one scheduler process; over `WAITING_MAX` the oldest are given up."""

    def __init__(self, events: Log, names: Names, *, identity: str, clock: Clock) -> None:
        self._outbox = EventOutbox(
            events,
            names,
            source=f"/lattice/{names.lattice}/scheduler/{identity}",
            clock=clock,
            waiting_max=WAITING_MAX,
            under_way_max=UNDER_WAY_MAX,
        )

    def put(self, emit: Emit) -> None:
        """Hand an event to the publisher, with the time of now."""
        self._outbox.put(emit.kind, emit.entity, emit.data, event_id=emit.id)

    @property
    def waiting(self) -> int:
        """Return how many events wait for the log."""
        return self._outbox.waiting

    async def flushed(self, *, timeout_s: float) -> bool:
        """Tell whether every event is stored or given up, after `timeout_s` at most."""
        return await self._outbox.flushed(timeout_s=timeout_s)

    async def publish(self) -> None:
        """Store events as they come, until cancelled."""
        await self._outbox.publish()
