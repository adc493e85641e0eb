"""Runs a case: calibrated samples of both sides, interleaved in random order, costs beside times.

A pair of samples (one of each side) is taken back to back, in an order drawn from the seed, so that
a slow minute of the machine hits both sides. The collector of garbage rests during a sample.
"""

from __future__ import annotations

import gc
import inspect
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import anyio

from bench.case import Case, Clocked, Operation, Reading, Sampler, SideName
from bench.cost import Cost, count_instructions, read_cost, summary

Clock = Callable[[], float]

CALLS_MAX = 10_000_000
"""Calls in one sample; an operation that does nothing would else calibrate for ever."""

_CHILD_LIMIT_S = 120
"""Seconds for one measurement in a fresh process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    repetitions: int = 21  # samples of each side, at least 5
    sample_s: float = 0.05  # shortest sample, so that the clock's steps do not show
    cold_repetitions: int = 9  # fresh processes for each side
    has_instructions: bool = True  # count them where the machine can
    seed: int = 1
    effort: float = 1.0  # of operations that take their samples themselves
    is_smoke: bool = False  # each side runs once, to see that it runs: its figures mean nothing

    def __post_init__(self) -> None:
        enough = min(self.repetitions, self.cold_repetitions) >= 5
        assert enough or self.is_smoke, "too few for an interval"


QUICK = Plan(repetitions=7, sample_s=0.005, cold_repetitions=5, has_instructions=False, effort=0.5)
"""A look that takes a second or two for each case."""

SMOKE = Plan(
    repetitions=1, sample_s=0, cold_repetitions=1, has_instructions=False, effort=0.01,
    is_smoke=True,
)  # fmt: skip
"""Shows that a case runs, nothing else."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """The samples of one side, in seconds of one operation, in the order of measuring."""

    first_s: float  # the very first call, before any warm-up
    calls: int = 1  # in each sample
    samples_s: list[float] = field(default_factory=list)
    elapsed_s: list[float] = field(default_factory=list)  # of whole samples
    costs: list[Cost] = field(default_factory=list)
    instructions: float | None = None  # of one operation
    readings: list[Reading] = field(default_factory=list)  # of an operation that samples itself

    def cost(self, case: Case) -> dict[str, float]:
        """Return the mean cost of one operation."""
        operations: float = self.calls * case.operations * len(self.samples_s)
        if self.readings:
            operations = sum(each.operations for each in self.readings)
        mean = summary(self.costs, self.elapsed_s, operations)
        return mean if self.instructions is None else mean | {"instructions": self.instructions}


def sides(case: Case) -> dict[SideName, Operation | Clocked | Sampler]:
    """Return the operations of a case by side."""
    found: dict[SideName, Operation | Clocked | Sampler] = {"ours": case.ours}
    if case.peer is not None:
        found["peer"] = case.peer
    return found


async def measure(
    case: Case, plan: Plan, *, clock: Clock = time.perf_counter
) -> dict[SideName, Measured]:
    """Return the samples of every side of a case.

    Raises:
        AssertionError: the sides of the case do not do the same work.
    """
    async with case.around(plan.effort):
        if case.is_sampled:
            return await _read(case, plan, clock)
        return await _measured(case, plan, clock)


async def _measured(case: Case, plan: Plan, clock: Clock) -> dict[SideName, Measured]:
    order = random.Random(f"{plan.seed} {case.name}")
    operations = {name: cast("Operation | Clocked", each) for name, each in sides(case).items()}
    measured: dict[SideName, Measured] = {}
    if plan.is_smoke:
        return {name: await _once(each, case, clock) for name, each in operations.items()}
    for name, operation in operations.items():
        measured[name] = Measured(first_s=await _timed(operation, 1, case, clock) / case.operations)
        for _ in range(case.warm_up):
            await _timed(operation, 1, case, clock)
        measured[name].calls = await _calibrate(operation, case, plan.sample_s, clock)
    case.check()
    gc.collect()
    for _ in range(case.repetitions or plan.repetitions):
        pair = list(operations.items())
        order.shuffle(pair)
        for name, operation in pair:
            servers = case.servers if name == "ours" else case.peer_servers
            await _sample(operation, case, servers, measured[name], clock)
    return measured


async def _read(case: Case, plan: Plan, clock: Clock) -> dict[SideName, Measured]:
    """Take the samples of operations that sample themselves, in the order ABBA."""
    samplers = {name: cast("Sampler", each) for name, each in sides(case).items()}
    measured = {name: Measured(first_s=0.0) for name in samplers}
    case.check()
    if not plan.is_smoke:
        for sampler in samplers.values():
            for _ in range(case.warm_up):
                await sampler(plan.effort)
    order = list(samplers)
    random.Random(f"{plan.seed} {case.name}").shuffle(order)
    repetitions = 1 if plan.is_smoke else min(case.repetitions or 1000, plan.repetitions)
    for _ in range(repetitions):
        for name in order:
            servers = case.servers if name == "ours" else case.peer_servers
            side = measured[name]
            before, began_s = read_cost(servers), clock()
            reading = await samplers[name](plan.effort)
            side.elapsed_s.append(clock() - began_s)
            side.costs.append(read_cost(servers).since(before))
            side.samples_s.append(reading.elapsed_s / reading.operations)
            side.readings.append(reading)
        order.reverse()
    return measured


async def measure_cold(
    suite: str, case: Case, plan: Plan, *, command: tuple[str, ...] = ()
) -> dict[SideName, Measured]:
    """Return the times of first calls in fresh processes, interleaved like warm samples.

    `command` stands in for `child_command` in tests.

    Raises:
        subprocess.CalledProcessError: a child failed; what it said is on standard error.
        TimeoutError: a child took longer than its limit.
    """
    order = random.Random(f"{plan.seed} {case.name} cold")
    measured = {name: Measured(first_s=0.0) for name in sides(case)}
    for _ in range(plan.cold_repetitions):
        pair = list(measured.items())
        order.shuffle(pair)
        for name, side in pair:
            asked = command or child_command(suite, case.name, name, 1)
            with anyio.fail_after(_CHILD_LIMIT_S):
                done = await anyio.run_process(asked, stderr=None)
            reported = json.loads(done.stdout)
            side.samples_s.append(reported["elapsed_s"] / case.operations)
            side.elapsed_s.append(reported["elapsed_s"])
            side.costs.append(Cost(**reported["cost"]))
    return measured


def add_instructions(suite: str, case: Case, measured: Mapping[SideName, Measured]) -> None:
    """Add instruction counts where the machine tells them.

    A child that does `calls` more operations than another differs only by these: what starting
    Python takes cancels out.
    """
    for name, side in measured.items():
        calls = max(10, min(side.calls, 1000))
        counts = [
            count_instructions(child_command(suite, case.name, name, number))
            for number in (1, 1 + calls)
        ]
        if counts[0] is None or counts[1] is None:
            return
        side.instructions = max(0, counts[1] - counts[0]) / calls / case.operations


def child_command(suite: str, case: str, side: SideName, calls: int) -> tuple[str, ...]:
    """Return the command that runs one side of a case in a process of its own."""
    return (sys.executable, "-m", "bench", "once", suite, case, side, str(calls))


async def run_once(case: Case, side: SideName, calls: int) -> dict[str, object]:
    """Return time and cost of some calls, for the process that asked for them."""
    operation = cast("Operation | Clocked", sides(case)[side])
    before = read_cost(case.servers)
    elapsed_s = await _timed(operation, calls, case, time.perf_counter)
    cost = read_cost(case.servers).since(before)
    return {
        "elapsed_s": elapsed_s,
        "cost": {name: getattr(cost, name) for name in Cost.__dataclass_fields__},
    }


async def _once(operation: Operation | Clocked, case: Case, clock: Clock) -> Measured:
    """Return one sample of one call, which is also the first call."""
    measured = Measured(first_s=0.0)
    await _sample(operation, case, {}, measured, clock)
    measured.first_s = measured.samples_s[0]
    return measured


async def _sample(
    operation: Operation | Clocked,
    case: Case,
    servers: Mapping[str, int],
    measured: Measured,
    clock: Clock,
) -> None:
    gc.collect(0)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        before, began_s = read_cost(servers), clock()
        elapsed_s = await _timed(operation, measured.calls, case, clock)
        measured.elapsed_s.append(clock() - began_s)  # preparations included, as in the cost
        measured.costs.append(read_cost(servers).since(before))
    finally:
        if was_enabled:
            gc.enable()
    measured.samples_s.append(elapsed_s / (measured.calls * case.operations))


async def _calibrate(
    operation: Operation | Clocked, case: Case, sample_s: float, clock: Clock
) -> int:
    """Return how many calls make a sample that lasts at least `sample_s`."""
    if case.is_clocked:
        return 1
    calls = 1
    while calls < CALLS_MAX:
        elapsed_s = await _timed(operation, calls, case, clock)
        if elapsed_s >= sample_s:
            break
        # Aim a little above, but never trust one short reading for more than a factor of ten.
        growth = 1.2 * sample_s / max(elapsed_s, 1e-9)
        calls = min(CALLS_MAX, max(calls + 1, int(calls * min(growth, 10.0))))
    return calls


async def _timed(operation: Operation | Clocked, calls: int, case: Case, clock: Clock) -> float:
    """Return the seconds of some calls in a row."""
    if case.is_clocked:
        clocked = cast("Clocked", operation)
        return sum([await clocked() for _ in range(calls)])
    rounds = range(calls)
    started = clock()
    result = operation()
    if inspect.isawaitable(result):
        await result
        asynchronous = cast("Callable[[], Awaitable[object]]", operation)
        for _ in rounds[1:]:
            await asynchronous()
    else:
        for _ in rounds[1:]:
            operation()
    return clock() - started
