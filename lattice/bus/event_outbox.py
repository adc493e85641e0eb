"""Publishes the events of one process to the event log, in order, at least once.

Events wait while the log cannot be reached, and keep their ids, so that a repeated one is stored
once. Its owner says how many may be under way at a time, each about something else: what is told of
one thing is always in order, and of several it is, unless the log refuses one of those and takes a
later one, as it may when its stream changes its leader.
It decides nothing: which events there are, and under which ids, is the business of its owner.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import uuid4

import anyio

from lattice.bus.base import Log
from lattice.clock import Clock
from lattice.errors import DeniedError, InvalidError, LatticeError
from lattice.wire.events import to_packet
from lattice.wire.messages import Event
from lattice.wire.subjects import Names

RETRY_S = 0.5
"""Wait before an event that could not be stored is sent again."""

RUN_DIGITS = 16
"""Hex digits that tell one run of a process from the others: 64 bits."""

log = logging.getLogger(__name__)


class EventOutbox:
    """The events of one source. `publish` sends them; over `waiting_max` the oldest are given up.

    `source` is the CloudEvents source of all of them, such as `/lattice/<l>/host/<id>`; `run` tells
    this run of the process from others under the same source, and is made up without one.
    """

    def __init__(
        self,
        events: Log,
        names: Names,
        *,
        source: str,
        clock: Clock,
        waiting_max: int,
        run: str = "",
        under_way_max: int = 1,
    ) -> None:
        self._events = events
        self._names = names
        self._source = source
        self._clock = clock
        self._run = run or uuid4().hex[:RUN_DIGITS]
        self._under_way_max = under_way_max
        self._count = 0
        self._settled: set[int] = set()  # stored or given up, behind one that is not
        self._waiting: deque[Event] = deque(maxlen=waiting_max)
        self._wake = anyio.Event()
        self._empty = anyio.Event()
        self._empty.set()

    def put(self, kind: str, entity: str, data: Mapping[str, Any], *, event_id: str) -> None:
        """Hand an event to the publisher, with the time of now; an equal id is the same event.

        It is numbered here, so that readers see that one is missing which was given up later.
        """
        self._count += 1
        self._waiting.append(
            Event(
                id=event_id,
                kind=kind,
                source=self._source,
                entity=entity,
                time_s=self._clock.wall_s(),
                data=data,
                run=self._run,
                sequence=self._count,
            )
        )
        if self._empty.is_set():
            self._empty = anyio.Event()
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Return how many events wait for the log."""
        return len(self._waiting)

    async def publish(self) -> None:
        """Store events as they come, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._waiting:
                if not await self._send(self._next()):
                    await anyio.sleep(RETRY_S)
            self._empty.set()

    async def flushed(self, *, timeout_s: float) -> bool:
        """Tell whether every event is stored or given up, after `timeout_s` at most."""
        with anyio.move_on_after(timeout_s):
            await self._empty.wait()
        return self._empty.is_set()

    def _next(self) -> tuple[Event, ...]:
        """Return the first events that may be under way together."""
        found: dict[str, Event] = {}
        for event in islice(self._waiting, self._under_way_max):
            if event.entity in found:
                break
            if event.sequence not in self._settled:
                found[event.entity] = event
        return tuple(found.values())

    async def _send(self, events: Sequence[Event]) -> bool:
        """Send some events; tell whether none of them needs a further try."""

        async def send(event: Event) -> None:
            if await self._store(event):
                self._settled.add(event.sequence)

        if len(events) == 1:
            await send(events[0])  # no tasks for what comes one by one
        else:
            async with anyio.create_task_group() as group:
                for event in events:
                    group.start_soon(send, event)
        is_all = all(event.sequence in self._settled for event in events)
        while self._waiting and self._waiting[0].sequence in self._settled:
            self._settled.discard(self._waiting.popleft().sequence)
        # What was given up while it was sent lies before the first one that waits.
        first = self._waiting[0].sequence if self._waiting else self._count + 1
        self._settled = {sequence for sequence in self._settled if sequence > first}
        return is_all

    async def _store(self, event: Event) -> bool:
        """Tell whether the event needs no further try."""
        subject, body, headers = to_packet(event, self._names)
        # Not the event's id: another process may have told the same event, and its number must
        # not be missing among those of this one.
        dedup_id = f"{event.run}.{event.sequence}"
        try:
            await self._events.append(subject, body, headers=headers, dedup_id=dedup_id)
        except (DeniedError, InvalidError) as exc:
            log.warning("event %s about %s given up: %s", event.kind, event.entity, exc)
        except LatticeError as exc:
            log.info("event %s about %s waits: %s", event.kind, event.entity, exc)
            return False
        return True
