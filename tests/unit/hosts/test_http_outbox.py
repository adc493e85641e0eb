"""Answers of one turn of the loop leave together, and none waits long for others."""

from __future__ import annotations

import asyncio

from hosts.http.outbox import HOLD_S, Outbox


class _Recorded:
    def __init__(self, sent: list[str], name: str) -> None:
        self._sent = sent
        self._name = name

    def flush(self) -> None:
        self._sent.append(self._name)


class _Bench:
    """An outbox whose clock the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.sent: list[str] = []
        self.outbox = Outbox(lambda: self.now_s)

    def put(self, name: str, *, after_s: float) -> None:
        self.now_s += after_s
        self.outbox.put(_Recorded(self.sent, name))


async def test_the_first_answer_after_a_pause_leaves_at_once() -> None:
    bench = _Bench()
    bench.put("first", after_s=1.0)
    assert bench.sent == ["first"]


async def test_answers_that_follow_each_other_leave_in_order_at_the_end_of_the_turn() -> None:
    bench = _Bench()
    bench.put("first", after_s=1.0)
    bench.put("second", after_s=HOLD_S / 10)
    bench.put("third", after_s=HOLD_S / 10)
    assert bench.sent == ["first"]
    await asyncio.sleep(0)
    assert bench.sent == ["first", "second", "third"]


async def test_a_long_turn_sends_what_has_waited_long_enough() -> None:
    bench = _Bench()
    bench.put("first", after_s=1.0)
    for number in range(12):
        bench.put(str(number), after_s=HOLD_S / 8)
    assert bench.sent[:9] == ["first", *map(str, range(8))], "eight steps are one hold, and a bit"
    await asyncio.sleep(0)
    assert len(bench.sent) == 13


async def test_answers_of_a_slow_guest_are_not_kept() -> None:
    bench = _Bench()
    for number in range(3):
        bench.put(str(number), after_s=HOLD_S * 2)
    assert bench.sent == ["0", "1", "2"]


async def test_an_answer_that_comes_late_in_a_turn_takes_those_before_it_along() -> None:
    bench = _Bench()
    bench.put("first", after_s=1.0)
    bench.put("kept", after_s=HOLD_S / 2)
    bench.put("late", after_s=HOLD_S * 2)
    assert bench.sent == ["first", "kept", "late"]
