"""The memory of failures by example."""

from __future__ import annotations

from lattice.model.ids import DeploymentName, HostId
from scheduler.backoff import BACKOFF_MAX_S, MEMORY_S, FailureMemory

KEY = (DeploymentName("app"), 1)
A = HostId("a")


def test_avoidance_doubles_with_each_failure_up_to_its_maximum() -> None:
    memory, now_s = FailureMemory(), 0.0
    lengths = []
    for _ in range(9):
        assert memory.note(now_s, KEY, A, "trap")
        end_s = memory.next_end_s(now_s)
        assert end_s is not None
        lengths.append(end_s - now_s)
        now_s = end_s
    assert lengths[:4] == [5.0, 10.0, 20.0, 40.0]
    assert lengths[-1] == BACKOFF_MAX_S


def test_repeated_reports_of_one_failure_count_once() -> None:
    memory = FailureMemory()
    memory.note(0.0, KEY, A, "trap")
    assert not memory.note(2.0, KEY, A, "trap")
    assert memory.failures(KEY)[A].times == 1
    assert memory.avoided(4.9, KEY) == {A: "trap"}
    assert memory.avoided(5.0, KEY) == {}


def test_failures_are_forgotten_in_time_and_with_their_generation() -> None:
    memory = FailureMemory()
    memory.note(0.0, KEY, A, "trap")
    memory.forget(5.0 + MEMORY_S, frozenset({KEY}))
    assert memory.failures(KEY) != {}
    memory.forget(5.1 + MEMORY_S, frozenset({KEY}))
    assert memory.failures(KEY) == {}
    memory.note(0.0, KEY, A, "trap")
    memory.forget(1.0, frozenset())
    assert memory.failures(KEY) == {}
