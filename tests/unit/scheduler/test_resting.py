"""A leader's pace: plans that take long are made seldom, others as soon as they are wanted."""

from __future__ import annotations

from scheduler.resting import PLAN_GAP_S, PLAN_SHARE, Resting


class ManualClock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def test_plan_that_takes_no_time_waits_only_for_what_comes_with_it() -> None:
    resting = Resting(ManualClock())
    with resting.turn() as may_plan:
        assert may_plan
    assert resting.wait_s == PLAN_GAP_S
    with resting.turn() as may_plan:
        assert may_plan


def test_leader_rests_from_a_long_plan_in_proportion() -> None:
    clock = ManualClock()
    resting = Resting(clock)
    with resting.turn():
        clock.advance(2.0)
    assert resting.wait_s == 2.0 * (PLAN_SHARE - 1)
    clock.advance(5.9)
    with resting.turn() as may_plan:
        assert not may_plan
        clock.advance(0.1)
    with resting.turn() as may_plan:
        assert may_plan, "what was no plan needs no rest"
