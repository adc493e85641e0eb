"""What follows when a service ends, and what is told of it."""

from __future__ import annotations

import pytest

from hosts.restarts import CRASH_LOOP_FAILURES, STABLE_FACTOR, Ending, Restarts
from lattice.model.deployment import Restart, RestartPolicy

POLICY = Restart(backoff_min_s=1.0, backoff_max_s=8.0, attempts=7)
STABLE_S = STABLE_FACTOR * POLICY.backoff_max_s + 1


def life(policy: RestartPolicy = "on-failure") -> Restarts:
    return Restarts(
        "index", Restart(policy=policy, backoff_min_s=1.0, backoff_max_s=8.0, attempts=7)
    )


def lived(restarts: Restarts, now_s: float, error: str = "", *, for_s: float = 0.0) -> Ending:
    restarts.begin(now_s)
    restarts.up()
    return restarts.end(now_s + for_s, error)


def test_waits_double_up_to_the_longest_and_then_the_replica_fails() -> None:
    restarts = life()
    endings = [lived(restarts, 0.0, "trap") for _ in range(8)]
    assert [each.delay_s for each in endings[:-1]] == [1, 2, 4, 8, 8, 8, 8]
    assert [each.verdict for each in endings] == ["restart"] * 7 + ["given-up"]
    assert restarts.total == 7


@pytest.mark.parametrize(
    ("policy", "after_ok", "after_failure"),
    [
        ("always", "restart", "restart"),
        ("on-failure", "finished", "restart"),
        ("never", "finished", "failed"),
    ],
)
def test_the_policy_decides_what_follows_an_end(
    policy: RestartPolicy, after_ok: str, after_failure: str
) -> None:
    assert lived(life(policy), 0.0).verdict == after_ok
    assert lived(life(policy), 0.0, "trap").verdict == after_failure


def test_ends_without_failure_wait_longer_each_time_but_never_give_up() -> None:
    restarts = life("always")
    delays = [lived(restarts, 0.0).delay_s for _ in range(100)]
    assert delays[:5] == [1, 2, 4, 8, 8]
    assert restarts.failures == 0
    assert lived(restarts, 0.0, for_s=STABLE_S).delay_s == 1


def test_a_crash_loop_is_told_until_the_service_has_run_well_for_a_while() -> None:
    restarts = life()
    for number in range(1, CRASH_LOOP_FAILURES):
        lived(restarts, 0.0, f"trap {number}")
    assert not restarts.is_looping(0.0)
    lived(restarts, 0.0, "trap at last")
    assert restarts.is_looping(0.0)
    assert restarts.trouble(0.0) == (
        "service index failed 5 times in a row (crash loop) and is restarting: trap at last"
    )
    restarts.begin(10.0)
    restarts.up()
    assert restarts.is_looping(11.0)
    assert "and runs again: trap at last" in restarts.trouble(11.0)
    assert not restarts.is_looping(10.0 + STABLE_S)
    assert restarts.trouble(10.0 + STABLE_S) == ""
    assert restarts.end(10.0 + STABLE_S, "trap") == Ending("restart", 1.0)
    assert restarts.failures == 1


def test_what_never_came_up_is_not_stable_however_long_it_took_to_start() -> None:
    restarts = life()
    for _ in range(3):
        restarts.begin(0.0)
        restarts.end(1000.0, "no memory")
    assert restarts.failures == 3


def test_a_service_that_is_not_restarted_says_so() -> None:
    restarts = life("never")
    lived(restarts, 0.0, "trap")
    assert restarts.trouble(0.0).endswith("is not restarted (restart.policy: never): trap")


def test_failures_of_a_service_that_answers_calls_in_between_are_no_crash_loop() -> None:
    restarts = life()
    for _ in range(CRASH_LOOP_FAILURES + 1):
        restarts.begin(0.0)
        restarts.up()
        restarts.useful()
        restarts.end(0.0, "trap")
    assert not restarts.is_looping(0.0)
    assert restarts.trouble(0.0) == (
        "service index failed 6 times in a row and is restarting: trap"
    )
