"""A host's events: in order, none twice, and none that holds up the others."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from hosts.announcer import OUTBOX_EVENTS_MAX, Announcer
from lattice.bus.memory_log import MemoryLog
from lattice.clock import SystemClock
from lattice.wire.events import from_packet
from lattice.wire.subjects import Names


async def recorded(log: MemoryLog) -> list[str]:
    async with log.read() as records:
        return [from_packet(each.body, each.headers).entity async for each in records]


def announcer(log: MemoryLog) -> Announcer:
    return Announcer(log, Names("test"), host="H1", boot="b", clock=SystemClock())


async def published(events: Announcer) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(events.publish)
        await events.flushed(timeout_s=5.0)
        group.cancel_scope.cancel()


async def test_an_event_that_no_log_takes_does_not_hold_up_the_next() -> None:
    log = MemoryLog()
    events = announcer(log)
    for entity in ("a", "two\nlines", "b"):
        events.announce("replica-running", entity, {})
    await published(events)
    assert await recorded(log) == ["a", "b"]


class FloodedLog(MemoryLog):
    """A log during whose first write so many events come that the outbox overflows."""

    def __init__(self) -> None:
        super().__init__()
        self.events: Announcer | None = None

    async def append(
        self,
        subject: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        dedup_id: str = "",
    ) -> int:
        events, self.events = self.events, None
        for number in range(OUTBOX_EVENTS_MAX if events else 0):
            assert events is not None
            events.announce("replica-running", f"e{number}", {})
        return await super().append(subject, body, headers=headers, dedup_id=dedup_id)


async def test_an_event_that_is_given_up_while_it_is_sent_takes_no_other_with_it() -> None:
    log = FloodedLog()
    log.events = events = announcer(log)
    events.announce("replica-running", "first", {})
    await published(events)
    assert await recorded(log) == ["first", *(f"e{number}" for number in range(OUTBOX_EVENTS_MAX))]
