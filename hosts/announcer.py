"""The events of a host, numbered so that a reader can see a gap.

The numbers count from 1 within one boot of the host and go into the ids, so that an event that is
sent again is stored once. Sending is `lattice.bus.event_outbox`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lattice.bus.base import Log
from lattice.bus.event_outbox import EventOutbox
from lattice.clock import Clock
from lattice.wire.subjects import Names

OUTBOX_EVENTS_MAX = 1000
"""Events that wait for NATS: minutes of a busy host."""


class Announcer:
    """The events of one host, numbered from 1 within one boot."""

    def __init__(self, events: Log, names: Names, *, host: str, boot: str, clock: Clock) -> None:
        self._boot = boot
        self._count = 0
        self._outbox = EventOutbox(
            events,
            names,
            source=f"/lattice/{names.lattice}/host/{host}",
            clock=clock,
            waiting_max=OUTBOX_EVENTS_MAX,
            run=boot,
        )

    def announce(self, kind: str, entity: str, data: Mapping[str, Any]) -> None:
        """Hand an event to the publisher; over `OUTBOX_EVENTS_MAX` the oldest are given up."""
        self._count += 1
        numbered = {**data, "sequence": self._count}
        self._outbox.put(kind, entity, numbered, event_id=f"{self._boot}.{self._count}")

    @property
    def waiting(self) -> int:
        """Return how many events wait for the log."""
        return self._outbox.waiting

    async def publish(self) -> None:
        """Store events as they come, until cancelled."""
        await self._outbox.publish()

    async def flushed(self, *, timeout_s: float) -> None:
        """Return when every event is stored or given up, or after `timeout_s`."""
        await self._outbox.flushed(timeout_s=timeout_s)
