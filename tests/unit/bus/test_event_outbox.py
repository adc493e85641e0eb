"""Events on their way to the log: in order, stored once, and told when all have gone."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import anyio.lowlevel
import pytest

from lattice.bus import event_outbox
from lattice.bus.event_outbox import EventOutbox
from lattice.bus.memory_log import MemoryLog
from lattice.clock import SystemClock
from lattice.errors import OutcomeUnknownError, UnavailableError
from lattice.wire.continuity import Continuity
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


def outbox(log: MemoryLog, *, waiting_max: int = 10, under_way_max: int = 1) -> EventOutbox:
    return EventOutbox(
        log, Names("test"), source="/lattice/test/me", clock=SystemClock(),
        waiting_max=waiting_max, under_way_max=under_way_max,
    )  # fmt: skip


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


async def test_an_event_that_was_given_up_is_seen_as_a_gap() -> None:
    log = MemoryLog()
    waiting = outbox(log, waiting_max=2)
    waiting.put("replica-running", "r", {}, event_id="e0")
    await stored(log, waiting)
    for number in range(1, 6):
        waiting.put("replica-running", "r", {}, event_id=f"e{number}")
    await stored(log, waiting)
    continuity = Continuity()
    async with log.read() as records:
        gaps = [continuity.take(from_packet(each.body, each.headers))[0] async for each in records]
    assert [(gap.data["first"], gap.data["last"]) for gap in gaps if gap] == [(2, 4)]


async def test_the_same_event_of_two_processes_is_stored_twice_and_numbered_by_each() -> None:
    log = MemoryLog()
    for _ in range(2):
        waiting = outbox(log)
        waiting.put("deployment-applied", "app", {}, event_id="12.0")
        await stored(log, waiting)
    async with log.read() as records:
        found = [from_packet(each.body, each.headers) async for each in records]
    assert [(event.id, event.sequence) for event in found] == [("12.0", 1)] * 2
    assert found[0].run != found[1].run


class PickyLog(MemoryLog):
    """A log that does not take the first event about one thing, and notes what is asked of it."""

    def __init__(self, away: str) -> None:
        super().__init__()
        self.away = away
        self.under_way = self.most = 0

    async def append(
        self,
        subject: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        dedup_id: str = "",
    ) -> int:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await anyio.lowlevel.checkpoint()
            if subject.endswith(f".{self.away}"):
                self.away = "nothing"
                raise UnavailableError("no server")
            return await super().append(subject, body, headers=headers, dedup_id=dedup_id)
        finally:
            self.under_way -= 1


@pytest.mark.parametrize("away", ["nothing", "a", "b", "z"])
async def test_several_things_are_told_at_a_time_and_each_in_order(
    away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_outbox, "RETRY_S", 0.0)
    log = PickyLog(away)
    waiting = outbox(log, waiting_max=100, under_way_max=16)
    told = [*"abcdeafgbhaaz", *(f"n{number}" for number in range(40)), "z", "a"]
    for number, entity in enumerate(told):
        waiting.put("replica-running", entity, {}, event_id=f"{entity}.{number}")
    found = [each for each, _ in await stored(log, waiting)]
    assert sorted(found) == sorted(f"{entity}.{at}" for at, entity in enumerate(told))
    for one in set(told):
        of_one = [int(each.partition(".")[2]) for each in found if each.partition(".")[0] == one]
        assert of_one == sorted(of_one), "what is told of one thing is in order"
    if away == "nothing":
        assert [int(each.partition(".")[2]) for each in found] == list(range(len(told)))
    assert log.most == 16
    assert waiting.waiting == 0


async def test_an_outbox_without_events_has_nothing_to_wait_for() -> None:
    log = MemoryLog()
    with anyio.fail_after(1.0):
        await outbox(log).flushed(timeout_s=5.0)
