"""The runner interleaves, calibrates and keeps cold apart from warm."""

import json
import sys

import pytest

from bench.case import Case
from bench.cost import Cost, parse_perf, summary
from bench.runner import Plan, measure, measure_cold, run_once

PLAN = Plan(repetitions=8, sample_s=1.0, cold_repetitions=5, seed=4)


class Clock:
    """A clock that only operations move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def operation(self, name: str, *takes: float) -> object:
        """Return an operation that takes the given times, the last of them from then on."""
        left = list(takes)

        def call() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]
            self.calls.append(name)

        return call


def case(clock: Clock, **fields: object) -> Case:
    return Case(
        **{
            "name": "c",
            "what": "what",
            "ours": clock.operation("ours", 7.0, 0.5),
            "peer": clock.operation("peer", 9.0, 2.0),
            "warm_up": 0,
            **fields,
        }
    )


async def test_the_first_call_is_kept_apart_from_the_samples() -> None:
    clock = Clock()
    measured = await measure(case(clock), PLAN, clock=clock)
    assert measured["ours"].first_s == 7.0
    assert measured["ours"].samples_s == [0.5] * 8
    assert measured["peer"].first_s == 9.0
    assert measured["peer"].samples_s == [2.0] * 8


async def test_samples_are_long_enough_for_the_clock() -> None:
    clock = Clock()
    fast = case(clock, ours=clock.operation("ours", 0.001))
    measured = await measure(fast, PLAN, clock=clock)
    assert measured["ours"].elapsed_s[0] >= PLAN.sample_s
    assert measured["ours"].calls >= 1000
    assert measured["peer"].calls == 1


async def test_pairs_are_taken_together_in_an_order_that_the_seed_decides() -> None:
    async def order(seed: int) -> list[str]:
        clock = Clock()
        slow = case(clock, ours=clock.operation("ours", 2.0))
        await measure(slow, Plan(repetitions=8, sample_s=1.0, seed=seed), clock=clock)
        return clock.calls[-16:]

    calls = await order(4)
    assert all(set(calls[at : at + 2]) == {"ours", "peer"} for at in range(0, 16, 2))
    assert calls == await order(4)
    assert len({tuple(await order(seed)) for seed in range(4)}) > 1


async def test_times_are_those_of_one_operation_when_a_call_does_many() -> None:
    clock = Clock()
    measured = await measure(case(clock, operations=4), PLAN, clock=clock)
    assert measured["ours"].samples_s == [0.125] * 8


async def test_an_awaitable_is_awaited_within_the_measured_time() -> None:
    clock = Clock()
    done = clock.operation("ours", 3.0)

    async def ours() -> None:
        done()

    measured = await measure(case(clock, ours=ours, peer=None), PLAN, clock=clock)
    assert measured["ours"].samples_s == [3.0] * 8
    assert set(measured) == {"ours"}


async def test_a_clocked_operation_tells_its_own_seconds_and_is_not_calibrated() -> None:
    calls = []

    async def ours() -> float:
        calls.append(1)
        return 0.25

    clocked = Case(name="c", what="w", ours=ours, is_clocked=True, warm_up=0, repetitions=5)
    measured = await measure(clocked, PLAN)
    assert measured["ours"].samples_s == [0.25] * 5
    assert len(calls) == 6


async def test_sides_that_do_different_work_are_not_measured() -> None:
    clock = Clock()

    def check() -> None:
        message = "the sides differ"
        raise AssertionError(message)

    with pytest.raises(AssertionError, match="the sides differ"):
        await measure(case(clock, check=check), PLAN, clock=clock)


async def test_cold_samples_come_from_fresh_processes() -> None:
    clock = Clock()
    reported = await run_once(case(clock), "ours", 1)
    program = f"print({json.dumps(json.dumps({**reported, 'elapsed_s': 0.5}))})"
    command = (sys.executable, "-S", "-c", program)
    measured = await measure_cold("suite", case(clock), PLAN, command=command)
    assert measured["peer"].samples_s == [0.5] * 5
    assert measured["ours"].first_s == 0.0


def test_the_cost_of_an_operation_has_the_time_in_which_nothing_ran() -> None:
    cost = Cost(
        cpu_s=0.5,
        children_cpu_s=0.25,
        servers_cpu_s=1.0,
        voluntary_switches=4,
        involuntary_switches=2,
    )
    assert summary([cost, cost], [1.0, 2.0], 2) == {
        "cpu_s": 0.5,
        "children_cpu_s": 0.25,
        "servers_cpu_s": 1.0,
        "voluntary_switches": 4.0,
        "involuntary_switches": 2.0,
        "wait_s": 0.75,
    }


def test_instructions_are_absent_where_the_machine_does_not_count_them() -> None:
    assert parse_perf("123456,,instructions:u,1000,100.00,,\n") == 123456
    assert parse_perf("<not supported>,,instructions:u,0,100.00,,\n") is None
    assert parse_perf("") is None
