"""Events on their way to the log: in order, stored once, and told when all have gone."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest

from lattice.bus import event_outbox
from lattice.bus.event_outbox import EventOutbox
from lattice.bus.memory_log import MemoryLog
from lattice.clock import SystemClock
from lattice.errors import OutcomeUnknownError, UnavailableError
from lattice.wire.events import from_packet
from lattice.wire.subjects import Names


class FailingLog(MemoryLog):
    """A log that is away for some appends, and then loses the answers to some that it stored."""

    def __init__(self, *, away: int = 0, unanswered: int = 0) -> None:
        super().__init__()
        self.away = away
        self.unanswered = unanswered

    async def append(
        self,
        subject: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        dedup_id: str = "",
    ) -> int:
        if self.away:
            self.away -= 1
            raise UnavailableError("no server")
        sequence = await super().append(subject, body, headers=headers, dedup_id=dedup_id)
        if self.unanswered:
            self.unanswered -= 1
            raise OutcomeUnknownError("no answer")
        return sequence


def outbox(log: MemoryLog, *, waiting_max: int = 10) -> EventOutbox:
    return EventOutbox(
        log, Names("test"), source="/lattice/test/me", clock=SystemClock(), waiting_max=waiting_max
    )


async def stored(log: MemoryLog, outbox: EventOutbox) -> list[tuple[str, str]]:
    """Return (id, source) of what is in the log once everything was published."""
    async with anyio.create_task_group() as group:
        group.start_soon(outbox.publish)
        await outbox.flushed(timeout_s=5.0)
        group.cancel_scope.cancel()
    async with log.read() as records:
        events = [from_packet(each.body, each.headers) async for each in records]
    return [(event.id, event.source) for event in events]


@pytest.mark.parametrize(
    "log", [FailingLog(away=3), FailingLog(unanswered=2)], ids=["away", "mute"]
)
async def test_events_outlast_a_log_that_fails_and_are_stored_once_in_order(
    log: FailingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_outbox, "RETRY_S", 0.0)
    waiting = outbox(log)
    for number in range(3):
        waiting.put("replica-running", "r", {}, event_id=f"e{number}")
    assert await stored(log, waiting) == [(f"e{n}", "/lattice/test/me") for n in range(3)]


async def test_over_the_limit_the_oldest_events_are_given_up() -> None:
    log = MemoryLog()
    waiting = outbox(log, waiting_max=2)
    for number in range(5):
        waiting.put("replica-running", "r", {}, event_id=f"e{number}")
    assert [each for each, _ in await stored(log, waiting)] == ["e3", "e4"]


async def test_an_outbox_without_events_has_nothing_to_wait_for() -> None:
    log = MemoryLog()
    with anyio.fail_after(1.0):
        await outbox(log).flushed(timeout_s=5.0)
