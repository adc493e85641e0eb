"""The core of probes, and the asking of one question at a time."""

from __future__ import annotations

import anyio
import pytest

from hosts.prober import Prober, Question
from hosts.probes import fault_of
from hosts.probing import Probing
from lattice.component.types import Function, NamedType, ResultType
from lattice.errors import GuestTrapError, OverloadedError
from lattice.model.scheduling import Probe


def test_readiness_begins_with_no_and_one_success_makes_it_yes() -> None:
    probing = Probing(failures_max=3, is_ok=False)
    assert probing.told("probe x") == "probe x has not succeeded yet"
    assert not probing.failed("503")
    assert probing.succeeded()
    assert not probing.succeeded(), "it stays the same"


def test_only_failures_in_a_row_make_it_no() -> None:
    probing = Probing(failures_max=3, is_ok=True)
    for _ in range(5):
        assert not probing.failed("late")
        assert not probing.failed("late")
        probing.succeeded()
    assert [probing.failed("late") for _ in range(4)] == [False, False, True, False]
    assert probing.told("probe x") == "probe x failed 4 times in a row: late"


@pytest.mark.parametrize(
    ("type_", "value", "fault"),
    [
        (None, None, ""),
        ("bool", True, ""),
        ("bool", False, "it returned false"),
        ("u32", 0, ""),
        (ResultType(None, None), ["ok", None], ""),
        (ResultType(None, None), ["err", None], "it returned an error"),
        (ResultType("bool", "string"), ["ok", False], "it returned false"),
        (ResultType("bool", "string"), ["err", "no disk"], "it returned 'no disk'"),
        (NamedType("a:b/c", "answer", "bool"), False, "it returned false"),
    ],
)
def test_a_result_is_a_success_unless_it_is_false_or_an_error(
    type_: object, value: object, fault: str
) -> None:
    assert fault_of(Function(result=type_), value) == fault  # type: ignore[arg-type]  # a table


class Asked:
    """A probe whose answers a test gives, and what it was told."""

    def __init__(self, kind: str = "ready", **fields: float) -> None:
        probe = Probe(export="a:b/c#d", **{"every_s": 0.001, "timeout_s": 0.002, **fields})  # type: ignore[arg-type]  # of floats and one int
        self.prober = Prober(kind, probe, self.ask)  # type: ignore[arg-type]  # one of two words
        self.asked = 0
        self.open = 0
        self.told: list[tuple[bool, str]] = []
        self.heard = anyio.Event()
        self.answer: str | Exception | None = ""
        self.is_begun = True
        self.let_go = anyio.Event()

    async def ask(self, question: Question) -> str:
        self.asked += 1
        self.open += 1
        assert self.open == 1, "one question at a time"
        question.has_begun = self.is_begun
        try:
            await anyio.lowlevel.checkpoint()
            if self.answer is None:
                await self.let_go.wait()
                return ""
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer
        finally:
            self.open -= 1

    async def change(self, is_ok: bool, reason: str) -> None:
        self.told.append((is_ok, reason))
        self.heard.set()

    async def until_told(self, count: int) -> None:
        with anyio.fail_after(5):
            while len(self.told) < count:
                self.heard = anyio.Event()
                await self.heard.wait()


async def test_what_stays_the_same_is_told_once_and_each_failure_while_it_is_no() -> None:
    asked = Asked(failures_max=2)
    async with anyio.create_task_group() as group:
        group.start_soon(asked.prober.run, asked.change)
        await asked.until_told(1)
        asked.answer = "status 503"
        await asked.until_told(3)
        asked.answer = ""
        await asked.until_told(4)
        group.cancel_scope.cancel()
    assert asked.told[0] == (True, "")
    assert asked.told[1] == (
        False, "readiness probe a:b/c#d failed 2 times in a row: status 503",
    )  # fmt: skip
    assert asked.told[-1] == (True, "")
    assert asked.asked > len(asked.told), "successes in a row are not told"


async def test_a_trap_is_a_failure_with_its_first_line() -> None:
    asked = Asked("live", failures_max=1)
    asked.answer = GuestTrapError("unreachable\nbacktrace")
    async with anyio.create_task_group() as group:
        group.start_soon(asked.prober.run, asked.change)
        await asked.until_told(1)
        group.cancel_scope.cancel()
    assert asked.told[0] == (False, "liveness probe a:b/c#d failed once: unreachable")


async def test_a_late_answer_counts_again_and_again_and_nothing_piles_up() -> None:
    asked = Asked("live", failures_max=3)
    asked.answer = None
    async with anyio.create_task_group() as group:
        group.start_soon(asked.prober.run, asked.change)
        await asked.until_told(2)
        assert asked.asked == 1
        assert "no answer within 0.002 s" in asked.told[0][1]
        asked.answer = ""
        asked.let_go.set()
        await asked.until_told(3)
        while asked.told[-1] != (True, ""):
            await asked.until_told(len(asked.told) + 1)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("answer", [None, OverloadedError("full")])
async def test_a_replica_that_is_busy_is_neither_ready_nor_dead_for_that(
    answer: Exception | None,
) -> None:
    asked = Asked("live", failures_max=1)
    asked.answer, asked.is_begun = answer, False
    async with anyio.create_task_group() as group:
        group.start_soon(asked.prober.run, asked.change)
        rounds = 0
        while rounds < 50:  # far longer than the time-out and the pace
            await anyio.lowlevel.checkpoint()
            rounds += asked.asked > 0
        asked.answer, asked.is_begun = "at last", True
        asked.let_go.set()
        await asked.until_told(1)
        group.cancel_scope.cancel()
    assert asked.told[0] == (False, "liveness probe a:b/c#d failed once: at last")


async def test_what_is_asked_when_it_ends_is_answered_and_not_told() -> None:
    asked = Asked("live", failures_max=1)
    asked.answer = None
    ended = anyio.Event()

    async def run() -> None:
        await asked.prober.run(asked.change)
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.fail_after(5):
            while not asked.open:
                await anyio.lowlevel.checkpoint()
            told = len(asked.told)
            asked.prober.end()
            await anyio.wait_all_tasks_blocked()
            assert not ended.is_set()
            asked.let_go.set()
            await ended.wait()
    assert asked.open == 0
    assert len(asked.told) == told
