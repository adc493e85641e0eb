"""The pool core: never over its limits, nothing lost, nothing used that should be gone."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hosts.engine.pool import Policy, Pool


def pool(**fields: Any) -> Pool:
    defaults = {"mode": "fresh", "invocations_max": 3, "idle_s": 10.0, "ready": 1, "concurrency": 2}
    return Pool(Policy(**(defaults | fields)))


def test_a_fresh_instance_is_never_used_twice() -> None:
    core = pool()
    assert core.acquire(0) is None
    number = core.made()
    assert not core.release(number, 1, is_dead=False)
    assert core.acquire(2) is None


def test_a_call_takes_the_instance_that_was_made_ahead() -> None:
    core = pool()
    core.acquire(0)
    core.release(core.made(), 0, is_dead=False)
    assert core.begin_making(1)
    assert not core.begin_making(1)
    ahead = core.ahead(1)
    assert core.acquire(2) == ahead
    assert not core.release(ahead, 3, is_dead=False)


def test_nothing_is_made_ahead_for_a_program_that_nobody_calls() -> None:
    core = pool()
    assert not core.begin_making(0)
    core.acquire(0)
    assert core.begin_making(9)
    core.failed()
    assert not core.begin_making(10)


def test_a_reused_instance_retires_after_its_calls() -> None:
    core = pool(mode="reuse", ready=0)
    core.acquire(0)
    number = core.made()
    assert core.release(number, 0, is_dead=False)
    assert core.acquire(1) == number
    assert core.release(number, 1, is_dead=False)
    assert core.acquire(2) == number
    assert not core.release(number, 2, is_dead=False)
    assert core.acquire(3) is None


def test_a_dead_instance_is_not_used_again() -> None:
    core = pool(mode="reuse")
    core.acquire(0)
    assert not core.release(core.made(), 0, is_dead=True)
    assert core.acquire(1) is None


def test_the_instance_used_last_is_used_first_and_the_others_expire() -> None:
    core = pool(mode="reuse", invocations_max=9)
    first, second = core.made(), core.made()
    core.release(first, 1, is_dead=False)
    core.release(second, 2, is_dead=False)
    assert core.next_expiry_s() == 11
    assert core.acquire(3) == second
    assert core.expired(10.9) == ()
    assert core.expired(11) == (first,)
    assert core.next_expiry_s() is None


def test_eviction_takes_all_that_idle_and_none_that_work() -> None:
    core = pool(mode="reuse")
    core.acquire(0)
    first, second = core.made(), core.made()
    core.release(first, 1, is_dead=False)
    assert core.evict() == (first,)
    assert not core.begin_making(2)
    assert core.release(second, 3, is_dead=False)


class PoolMachine(RuleBasedStateMachine):
    """Drives a pool as the shell does, with a model of which instances exist."""

    @initialize(
        mode=st.sampled_from(["fresh", "reuse"]),
        invocations_max=st.integers(1, 4),
        ready=st.integers(0, 3),
        concurrency=st.integers(1, 3),
    )
    def begin(self, **fields: Any) -> None:
        self.core = pool(**fields)
        self.now_s = 0.0
        self.alive: set[int] = set()
        self.closed: set[int] = set()
        self.busy: list[int] = []

    @precondition(lambda self: len(self.busy) < self.core.policy.concurrency)
    @rule()
    def call(self) -> None:
        number = self.core.acquire(self.now_s)
        if number is None:
            number = self.core.made()
            self.alive.add(number)
        assert number in self.alive
        self.busy.append(number)

    @precondition(lambda self: self.busy)
    @rule(which=st.integers(0, 9), is_dead=st.booleans())
    def end(self, which: int, is_dead: bool) -> None:
        number = self.busy.pop(which % len(self.busy))
        if not self.core.release(number, self.now_s, is_dead=is_dead):
            self._close(number)
        else:
            assert not is_dead

    @rule()
    def make_ahead(self) -> None:
        self.core.begin_making(self.now_s)

    @precondition(lambda self: self.core.making)
    @rule(works=st.booleans())
    def finish_making(self, works: bool) -> None:
        if works:
            self.alive.add(self.core.ahead(self.now_s))
        else:
            self.core.failed()

    @rule(passed_s=st.floats(0, 15))
    def tick(self, passed_s: float) -> None:
        self.now_s += passed_s
        for number in self.core.expired(self.now_s):
            self._close(number)
        expiry_s = self.core.next_expiry_s()
        assert expiry_s is None or expiry_s > self.now_s

    @rule()
    def evict(self) -> None:
        for number in self.core.evict():
            self._close(number)
        assert self.alive == set(self.busy)

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "core"):
            self.core.check()
            assert self.alive == set(self.core.calls)
            assert set(self.busy) == self.core.used

    def _close(self, number: int) -> None:
        assert number not in self.closed
        self.alive.remove(number)
        self.closed.add(number)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
