"""Retry budgets: a share of the calls, a reserve, and a little with time."""

from __future__ import annotations

from lattice.routing import budgets
from lattice.routing.budgets import Budgets


def test_in_the_long_run_one_call_in_five_may_be_a_repetition() -> None:
    budget, repeated = Budgets(reserve=10, per_second=0), 0
    for _ in range(1000):
        budget.sent("d")
        repeated += budget.take("d", 0)  # every call is lost and asks to be repeated
    assert 190 <= repeated <= 210


def test_the_reserve_is_for_those_that_one_host_lost_at_once() -> None:
    budget = Budgets(reserve=10, per_second=0)
    assert [budget.take("d", 0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.take("other", 0)


def test_some_come_with_time_and_never_more_than_the_reserve() -> None:
    budget = Budgets(reserve=2, per_second=10)
    assert [budget.take("d", 0) for _ in range(3)] == [True, True, False]
    assert budget.take("d", 100)
    assert not budget.take("d", 100)
    assert [budget.take("d", 60_000) for _ in range(3)] == [True, True, False]


def test_targets_are_bounded() -> None:
    budget = Budgets()
    for number in range(budgets.TARGETS_MAX + 5):
        budget.take(f"d{number}", 0)
    assert len(budget) == budgets.TARGETS_MAX
