"""Publishes a host's events to the event log, in order, at least once.

Events wait while NATS is away and are sent with an id of their own, so that a repeated one is
stored once. Over `OUTBOX_EVENTS_MAX` waiting events the oldest are given up and counted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import anyio

from lattice.bus.base import Log
from lattice.clock import Clock
from lattice.errors import DeniedError, LatticeError
from lattice.wire.events import to_packet
from lattice.wire.messages import Event
from lattice.wire.subjects import Names

OUTBOX_EVENTS_MAX = 1000
"""Events that wait for NATS: minutes of a busy host."""

RETRY_S = 0.5
"""Wait before an event that could not be stored is sent again."""

log = logging.getLogger(__name__)


class Announcer:
    """The events of one host, numbered from 1 within one boot."""

    def __init__(self, events: Log, names: Names, *, host: str, boot: str, clock: Clock) -> None:
        self._events = events
        self._names = names
        self._boot = boot
        self._clock = clock
        self._source = f"/lattice/{names.lattice}/host/{host}"
        self._count = 0
        self._outbox: deque[Event] = deque(maxlen=OUTBOX_EVENTS_MAX)
        self._wake = anyio.Event()
        self._empty = anyio.Event()
        self._empty.set()

    def announce(self, kind: str, entity: str, data: Mapping[str, Any]) -> None:
        """Hand an event to the publisher."""
        self._count += 1
        self._outbox.append(
            Event(
                id=f"{self._boot}.{self._count}",
                kind=kind,
                source=self._source,
                entity=entity,
                time_s=self._clock.wall_s(),
                data={**data, "sequence": self._count},
            )
        )
        if self._empty.is_set():
            self._empty = anyio.Event()
        self._wake.set()

    async def publish(self) -> None:
        """Store events as they come, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._outbox:
                if await self._store(self._outbox[0]):
                    self._outbox.popleft()
                else:
                    await anyio.sleep(RETRY_S)
            self._empty.set()

    async def flushed(self, *, timeout_s: float) -> None:
        """Return when every event is stored, or after `timeout_s`."""
        with anyio.move_on_after(timeout_s):
            await self._empty.wait()

    async def _store(self, event: Event) -> bool:
        subject, body, headers = to_packet(event, self._names)
        try:
            await self._events.append(subject, body, headers=headers, dedup_id=event.id)
        except DeniedError as exc:
            log.warning("event %s given up: %s", event.kind, exc)
        except LatticeError as exc:
            log.info("event %s waits: %s", event.kind, exc)
            return False
        return True
