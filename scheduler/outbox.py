"""Publishes the scheduler's events to the event log, in order, at least once.

Events wait while NATS is away. Each keeps its id, so that a repeated one is stored once. Over
`WAITING_MAX` waiting events the oldest are given up.
"""

from __future__ import annotations

import logging
from collections import deque

import anyio

from lattice.bus.base import Log
from lattice.clock import Clock
from lattice.errors import DeniedError, InvalidError, LatticeError
from lattice.wire.events import to_packet
from lattice.wire.messages import Event
from lattice.wire.subjects import Names
from scheduler.announcements import Emit

WAITING_MAX = 10_000
"""Events that wait for NATS: all that the loss of a large host causes, a few times over."""

RETRY_S = 0.5
"""Wait before an event that could not be stored is sent again."""

log = logging.getLogger(__name__)


class Outbox:
    """The events of one scheduler process."""

    def __init__(self, events: Log, names: Names, *, identity: str, clock: Clock) -> None:
        self._events = events
        self._names = names
        self._clock = clock
        self._source = f"/lattice/{names.lattice}/scheduler/{identity}"
        self._waiting: deque[Event] = deque(maxlen=WAITING_MAX)
        self._wake = anyio.Event()

    def put(self, emit: Emit) -> None:
        """Hand an event to the publisher, with the time of now."""
        self._waiting.append(
            Event(
                id=emit.id,
                kind=emit.kind,
                source=self._source,
                entity=emit.entity,
                time_s=self._clock.wall_s(),
                data=emit.data,
            )
        )
        self._wake.set()

    async def publish(self) -> None:
        """Store events as they come, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._waiting:
                event = self._waiting[0]
                if not await self._store(event):
                    await anyio.sleep(RETRY_S)
                elif self._waiting and self._waiting[0] is event:
                    self._waiting.popleft()

    async def _store(self, event: Event) -> bool:
        """Tell whether the event needs no further try."""
        subject, body, headers = to_packet(event, self._names)
        try:
            await self._events.append(subject, body, headers=headers, dedup_id=event.id)
        except (DeniedError, InvalidError) as exc:
            log.warning("event %s about %s given up: %s", event.kind, event.entity, exc)
        except LatticeError as exc:
            log.info("event %s about %s waits: %s", event.kind, event.entity, exc)
            return False
        return True
