"""Publishes the events of one process to the event log, in order, at least once.

Events wait while the log cannot be reached, and keep their ids, so that a repeated one is stored
once. It decides nothing: which events there are, and under which ids, is the business of its owner.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import anyio

from lattice.bus.base import Log
from lattice.clock import Clock
from lattice.errors import DeniedError, InvalidError, LatticeError
from lattice.wire.events import to_packet
from lattice.wire.messages import Event
from lattice.wire.subjects import Names

RETRY_S = 0.5
"""Wait before an event that could not be stored is sent again."""

log = logging.getLogger(__name__)


class EventOutbox:
    """The events of one source. `publish` sends them; over `waiting_max` the oldest are given up.

    `source` is the CloudEvents source of all of them, such as `/lattice/<l>/host/<id>`.
    """

    def __init__(
        self, events: Log, names: Names, *, source: str, clock: Clock, waiting_max: int
    ) -> None:
        self._events = events
        self._names = names
        self._source = source
        self._clock = clock
        self._waiting: deque[Event] = deque(maxlen=waiting_max)
        self._wake = anyio.Event()
        self._empty = anyio.Event()
        self._empty.set()

    def put(self, kind: str, entity: str, data: Mapping[str, Any], *, event_id: str) -> None:
        """Hand an event to the publisher, with the time of now; an equal id is the same event."""
        self._waiting.append(
            Event(
                id=event_id,
                kind=kind,
                source=self._source,
                entity=entity,
                time_s=self._clock.wall_s(),
                data=data,
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
            while self._waiting:
                event = self._waiting[0]
                if not await self._store(event):
                    await anyio.sleep(RETRY_S)
                elif self._waiting and self._waiting[0] is event:
                    # Else it was given up while it was sent, and the first one is another.
                    self._waiting.popleft()
            self._empty.set()

    async def flushed(self, *, timeout_s: float) -> None:
        """Return when every event is stored or given up, or after `timeout_s`."""
        with anyio.move_on_after(timeout_s):
            await self._empty.wait()

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
