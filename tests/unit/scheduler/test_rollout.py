"""Turns of a rollout by example and by property: bounds hold whatever happens in which order."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from lattice.model.scheduling import Canary, Update
from scheduler.rollout import Group, Progress, Seen, Trial, Turn, turn

ROLLING = Update()
RECREATE = Update(strategy="recreate")
CANARY = Update(strategy="canary", canary=Canary(weight_percent=20, hold_s=30.0))


def group(assigned: int, ready: int | None = None, useless: int = 0) -> Group:
    return Group(assigned=assigned, ready=assigned if ready is None else ready, useless=useless)


def counts(made: Turn) -> tuple[int, int]:
    return made.new, made.old_withdrawn


def begun(phase: str = "rolling", moved_s: float = 0.0) -> Progress:
    made = Progress(generation=2, phase="rolling", moved_s=moved_s)
    return replace(made, phase=phase)  # type: ignore[arg-type]  # one of its literals


def test_new_replicas_come_up_to_the_surge_and_old_ones_stay_until_they_are_ready() -> None:
    seen = Seen(wanted=3, old=group(3))
    assert counts(turn(0.0, 2, ROLLING, seen, None)) == (1, 0)
    assert counts(turn(0.0, 2, ROLLING, replace(seen, new=group(1, 0)), None)) == (1, 0)
    assert counts(turn(0.0, 2, ROLLING, replace(seen, new=group(1)), None)) == (1, 1)


def test_old_replicas_leave_first_where_some_may_be_unavailable() -> None:
    update = Update(unavailable_max=2, surge_max=0)
    assert counts(turn(0.0, 2, update, Seen(wanted=3, old=group(3)), None)) == (0, 2)
    seen = Seen(wanted=3, new=group(0), old=group(1))
    assert counts(turn(0.0, 2, update, seen, None)) == (2, 0)


def test_replicas_that_are_lost_count_as_unavailable() -> None:
    update = Update(unavailable_max=1, surge_max=0)
    seen = Seen(wanted=4, old=group(3))  # a host with one of them is gone
    assert counts(turn(0.0, 2, update, seen, None)) == (1, 0)


def test_old_replicas_that_do_not_run_leave_without_being_counted() -> None:
    seen = Seen(wanted=3, new=group(1), old=group(3, ready=0, useless=3))
    assert counts(turn(0.0, 2, ROLLING, seen, None)) == (1, 1)
    reboot = Seen(wanted=3, new=group(1, 0), old=group(3, ready=2, useless=1))
    assert counts(turn(0.0, 2, ROLLING, reboot, None)) == (1, 0), "it may come back"


def test_scaling_down_in_the_middle_counts_what_is_dropped_as_ready() -> None:
    seen = Seen(wanted=2, new=group(3), old=group(1))
    assert counts(turn(0.0, 2, ROLLING, seen, None)) == (2, 1)
    seen = Seen(wanted=2, new=group(3, ready=1), old=group(1))
    assert counts(turn(0.0, 2, ROLLING, seen, None)) == (2, 0)


def test_recreate_waits_until_no_host_runs_an_old_one() -> None:
    seen = Seen(wanted=2, old=group(2))
    assert counts(turn(0.0, 2, RECREATE, seen, None)) == (0, 2)
    assert counts(turn(0.0, 2, RECREATE, Seen(wanted=2, lingering=1), None)) == (0, 0)
    assert counts(turn(0.0, 2, RECREATE, Seen(wanted=2), None)) == (2, 0)


def test_emptied_hosts_keep_theirs_until_replacements_are_ready() -> None:
    steady = begun("steady")
    seen = Seen(wanted=2, new=group(1), leaving=group(1))
    made = turn(0.0, 2, ROLLING, seen, steady)
    assert (made.new, made.leaving_withdrawn) == (2, 0)
    made = turn(0.0, 2, ROLLING, replace(seen, new=group(2)), steady)
    assert (made.new, made.leaving_withdrawn) == (2, 1)


def test_first_canary_replica_is_held_and_then_the_others_follow() -> None:
    seen = Seen(wanted=4, old=group(4))
    first = turn(0.0, 2, CANARY, seen, None)
    assert (counts(first), first.progress.phase) == ((1, 0), "canary")
    up = replace(seen, new=group(1))
    held = turn(5.0, 2, CANARY, up, first.progress)
    assert (counts(held), held.progress.canary_s, held.wake_s) == ((1, 0), 5.0, 35.0)
    assert counts(turn(34.9, 2, CANARY, up, held.progress)) == (1, 0)
    after = turn(35.0, 2, CANARY, up, held.progress)
    assert (counts(after), after.progress.phase) == ((1, 1), "rolling")


def test_hold_of_a_canary_begins_anew_when_it_was_not_ready() -> None:
    seen = Seen(wanted=4, old=group(4), new=group(1))
    held = turn(0.0, 2, CANARY, seen, None).progress
    down = turn(10.0, 2, CANARY, replace(seen, new=group(1, 0)), held).progress
    assert turn(31.0, 2, CANARY, seen, down).progress.phase == "canary"


@pytest.mark.parametrize(
    ("trial", "fault"),
    [
        (Trial(calls=20, errors=3), "canary: 15.0 % of 20 calls failed, at most 10 may"),
        (Trial(calls=20, busy_ms=20_000),
         "canary: calls took 1.000 s on average, at most 0.5 s are allowed"),
        (Trial(calls=9, errors=9), ""),
        (Trial(calls=20, errors=2), ""),
    ],
)  # fmt: skip
def test_canary_that_does_badly_is_stuck_before_the_others_follow(trial: Trial, fault: str) -> None:
    gates = Canary(errors_max_percent=10, latency_max_s=0.5)
    update = Update(strategy="canary", canary=gates)
    seen = Seen(wanted=4, old=group(4), new=group(1))
    held = turn(0.0, 2, update, seen, None).progress
    made = turn(1.0, 2, update, replace(seen, trial=trial), held)
    assert made.progress.reason == fault
    assert made.progress.phase == ("stuck" if fault else "canary")
    assert counts(made) == (1, 0)


def test_few_calls_are_judged_at_the_end_of_the_hold() -> None:
    update = Update(strategy="canary", canary=Canary(hold_s=30.0, errors_max_percent=10))
    seen = Seen(wanted=4, old=group(4), new=group(1), trial=Trial(calls=1, errors=1))
    held = turn(0.0, 2, update, seen, None).progress
    assert held.phase == "canary"
    assert turn(30.0, 2, update, seen, held).progress.phase == "stuck"


def test_canary_that_another_leader_let_pass_is_not_held_again() -> None:
    seen = Seen(wanted=4, new=group(2), old=group(3))
    made = turn(0.0, 2, CANARY, seen, None)
    assert (made.progress.phase, counts(made)) == ("rolling", (2, 1))


def test_without_surge_one_old_replica_makes_room_for_the_canary() -> None:
    update = replace(CANARY, surge_max=0, unavailable_max=1)
    assert counts(turn(0.0, 2, update, Seen(wanted=4, old=group(4)), None)) == (0, 1)
    assert counts(turn(0.0, 2, update, Seen(wanted=4, old=group(3)), None)) == (1, 0)


def test_rollout_without_progress_is_stuck_at_its_deadline() -> None:
    seen = Seen(wanted=2, new=group(1, 0), old=group(2))
    first = turn(0.0, 2, ROLLING, seen, None)
    assert first.wake_s == 120.0
    assert turn(119.0, 2, ROLLING, seen, first.progress).progress.phase == "rolling"
    stuck = turn(120.0, 2, ROLLING, seen, first.progress).progress
    assert stuck.phase == "stuck"
    assert stuck.reason == "no progress for 120 s: 0 of 2 replicas are ready"


def test_each_ready_replica_is_progress() -> None:
    seen = Seen(wanted=2, new=group(1, 0), old=group(2))
    first = turn(0.0, 2, ROLLING, seen, None).progress
    second = turn(100.0, 2, ROLLING, replace(seen, new=group(1)), first).progress
    assert turn(200.0, 2, ROLLING, replace(seen, new=group(2, 1)), second).progress.phase != "stuck"


def test_generation_that_failed_on_several_hosts_and_runs_nowhere_is_stuck_at_once() -> None:
    seen = Seen(wanted=5, new=group(1, 0), old=group(5), bad_hosts=3)
    assert turn(1.0, 2, ROLLING, seen, begun()).progress.phase == "stuck"
    seen = Seen(wanted=5, new=group(2, 1), old=group(4), bad_hosts=3)
    assert turn(1.0, 2, ROLLING, seen, begun()).progress.phase == "rolling"


def test_what_was_rolled_out_in_full_is_good_and_stays_so() -> None:
    done = turn(5.0, 2, ROLLING, Seen(wanted=2, new=group(2)), begun())
    assert (done.is_good, done.progress.phase) == (True, "steady")
    worse = turn(500.0, 2, ROLLING, Seen(wanted=2, new=group(2, 0)), done.progress)
    assert (worse.is_good, worse.progress.phase) == (False, "steady")
    assert not turn(5.0, 2, ROLLING, Seen(wanted=0), begun()).is_good, "none of it ever ran"


def test_paused_deployment_keeps_its_counts_and_has_no_deadline() -> None:
    seen = Seen(wanted=4, new=group(1), old=group(3))
    paused = turn(0.0, 2, ROLLING, seen, begun(), is_paused=True)
    assert (counts(paused), paused.progress.phase) == ((1, 0), "paused")
    later = replace(seen, new=group(0))  # its host is gone: the one is placed again
    assert counts(turn(900.0, 2, ROLLING, later, paused.progress, is_paused=True)) == (1, 0)
    resumed = turn(901.0, 2, ROLLING, seen, paused.progress)
    assert (resumed.progress.phase, resumed.progress.moved_s) == ("rolling", 901.0)


def test_new_generation_begins_its_own_rollout() -> None:
    stuck = replace(begun("stuck"), reason="no progress")
    made = turn(9.0, 3, ROLLING, Seen(wanted=2, old=group(3)), stuck)
    assert made.progress == Progress(generation=3, phase="rolling", moved_s=9.0)


@dataclass
class Crew:
    """Replicas as they really are: withdrawals and starts take effect one by one, in any order."""

    rng: random.Random
    old: int
    new: int = 0
    new_ready: int = 0
    stopping: int = 0  # listed as withdrawn, not yet gone: they count as assigned, not as ready
    coming: int = 0  # listed, not yet written

    def seen(self, wanted: int) -> Seen:
        return Seen(
            wanted=wanted,
            new=Group(assigned=self.new + self.coming, ready=self.new_ready),
            old=Group(assigned=self.old + self.stopping, ready=self.old),
        )

    def step(self) -> None:
        kind = self.rng.choice(["write", "ready", "gone"])
        if kind == "write" and self.coming:
            self.coming, self.new = self.coming - 1, self.new + 1
        elif kind == "ready" and self.new_ready < self.new:
            self.new_ready += 1
        elif kind == "gone" and self.stopping:
            self.stopping -= 1


@pytest.mark.parametrize("seed", range(200))
def test_bounds_hold_in_any_order_and_the_rollout_ends(seed: int) -> None:
    rng = random.Random(seed)
    wanted = rng.randint(1, 9)
    surge_max = rng.randint(0, 3)
    unavailable_max = rng.randint(0 if surge_max else 1, 3)
    strategy = rng.choice(["rolling", "canary"])
    update = Update(
        strategy=strategy,  # type: ignore[arg-type]  # one of its literals
        surge_max=surge_max, unavailable_max=unavailable_max, canary=Canary(hold_s=1.0),
    )  # fmt: skip
    crew, progress, now_s = Crew(rng, old=wanted), None, 0.0
    for _ in range(1000):
        now_s += 0.1
        seen = crew.seen(wanted)
        made = turn(now_s, 2, update, seen, progress)
        progress = made.progress
        crew.coming += max(0, made.new - seen.new.assigned)
        withdrawn = max(0, made.old_withdrawn - crew.stopping)
        crew.old, crew.stopping = crew.old - withdrawn, crew.stopping + withdrawn
        total = crew.old + crew.stopping + crew.new + crew.coming
        assert total <= wanted + surge_max, f"seed {seed}"
        assert crew.old + crew.new_ready >= wanted - unavailable_max, f"seed {seed}"
        crew.step()
        if made.is_good:
            break
    else:
        pytest.fail(f"seed {seed}: the rollout did not end: {crew}")
