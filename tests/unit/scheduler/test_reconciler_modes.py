"""Strict singletons, jobs, loads, brakes and hosts that flap, through the reconciler."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from lattice.model.host import ReplicaReport, Revision
from lattice.model.ids import HostId
from lattice.model.scheduling import Daemon, Job, Scale
from lattice.wire.messages import DeploymentRoute, DeploymentStatus
from scheduler import pacing, states
from scheduler.delivery import ReadTarget, TargetRead, TargetUnknown, WriteTarget
from scheduler.jobs import listed_max
from scheduler.profile import DEFAULT, DRIFT
from scheduler.reconciler import DesiredRead, InventoryRead, Woken
from scheduler.records import DeleteEnded
from scheduler.scaling import QueueSeen
from tests.unit.scheduler.builders import document, inventory, item, replica, wanted
from tests.unit.scheduler.term import APP, EPOCH, Term

FENCE_S = DEFAULT.host_lease_s * (1 + 2 * DRIFT)


def facts(term: Term, name: str, **fields: Any) -> None:
    term.feed(InventoryRead(host=HostId(name), inventory=inventory(name, **fields)))


def status(term: Term) -> dict[str, Any]:
    return dict(states.status(term.core, "app"))


def home(term: Term) -> str:
    (found,) = term.placed()
    return found


# --- strict singletons --------------------------------------------------------------------------


def singleton(**fields: Any) -> Term:
    term = Term(hosts="ab")
    for _ in range(8):
        term.advance(1.0)
        term.run_all()
    term.want(wanted(is_singleton=True, **fields))
    term.settle()
    assert sum(term.placed().values()) == 1
    return term


def test_singleton_of_a_lost_host_moves_only_when_its_lease_must_have_ended() -> None:
    term = singleton()
    first = home(term)
    other = "b" if first == "a" else "a"
    began_s = term.now_s
    while term.now_s < began_s + 30 and term.placed() != {other: 1}:
        term.advance(0.1)
        term.run_all(but=first)
    assert FENCE_S <= term.now_s - began_s < FENCE_S + 2 * DEFAULT.tick_s
    assert status(term)["state"] == "progressing"


def test_singleton_of_a_drained_host_stops_before_it_starts_elsewhere() -> None:
    term = singleton()
    first = home(term)
    other = "b" if first == "a" else "a"
    (before,) = term.items(first)
    facts(term, first, is_cordoned=True, is_draining=True)
    term.tick()
    assert term.placed() == {}, "it is withdrawn, and placed nowhere yet"
    term.tick(DEFAULT.tick_s)
    assert term.placed() == {}
    stopping = replica(first, assignment=before.assignment, state="stopping")
    adopted = Revision("inc", term.revision)
    term.beat(first, stopping, adopted=adopted)
    term.tick(DEFAULT.tick_s)
    assert term.placed() == {}, "its host says that it is still stopping"
    term.beat(first, adopted=adopted)
    term.tick(DEFAULT.tick_s)
    assert term.placed() == {other: 1}


def test_new_generation_of_a_singleton_waits_for_the_end_of_the_old_one() -> None:
    term = singleton()
    first = home(term)
    (before,) = term.items(first)
    term.want(wanted(generation=2, is_singleton=True))
    assert term.placed() == {}
    term.beat(first, replica(first, assignment=before.assignment), adopted=Revision("inc", 1))
    term.tick(DEFAULT.tick_s)
    assert term.placed() == {}, "its host has not adopted that yet"
    term.settle()
    (found,) = [counts for counts in term.counts().values() if counts]
    assert found == {2: 1}


def test_new_leader_starts_no_singleton_while_a_host_may_run_what_it_does_not_know_of() -> None:
    term = Term(document("a", 7), document("b", 8), hosts="ab")
    facts(term, "b", is_cordoned=True)
    term.beat("a", adopted=Revision("inc", 101))
    term.beat("b", adopted=Revision("old", 8))
    term.tick()
    term.want(wanted(is_singleton=True))
    assert term.placed() == {}, "b has not adopted a target of this leader"
    term.beat("b", adopted=Revision("inc", 102))
    term.tick(DEFAULT.tick_s)
    assert term.placed() == {"a": 1}


def test_singleton_whose_write_may_still_take_place_is_started_nowhere_else() -> None:
    term = Term(hosts="ab")
    for _ in range(8):
        term.advance(1.0)
        term.run_all()
    term.is_written = False
    term.feed(DesiredRead(name=APP, wanted=wanted(is_singleton=True), revision=90))
    (write,) = [c for c in term.tick() if isinstance(c, WriteTarget)]
    term.feed(TargetUnknown(host=write.host, ticket=write.ticket))
    (read,) = [c for c in term.tick(DEFAULT.tick_s) if isinstance(c, ReadTarget)]
    empty = document(write.host, write.expect)
    (seal,) = term.feed(TargetRead(ticket=read.ticket, document=empty))
    assert isinstance(seal, WriteTarget)
    assert seal.target.items == []
    for _ in range(3):
        later = [c for c in term.tick(DEFAULT.tick_s) if isinstance(c, WriteTarget)]
        assert later == [], "the first write may take place before this one"
    term.is_written = True
    term.written(seal)
    term.settle()
    assert sum(term.placed().values()) == 1


# --- jobs ---------------------------------------------------------------------------------------


def report_job(term: Term, *states_: str) -> None:
    """Each host says of the replicas in order of id which state they are in; the rest runs."""
    left = list(states_)
    for host, found in list(term.core.delivery.documents.items()):
        told: list[ReplicaReport] = []
        for each in found.items:
            for n in range(each.count):
                state = left.pop(0) if left else "running"
                reason = "exit status 3" if state == "failed" else ""
                told.append(
                    replica(host, generation=each.generation, assignment=each.assignment,
                            ordinal=n, state=state, reason=reason)
                )  # fmt: skip
        term.beat(host, *told, adopted=Revision("inc", found.revision))
    term.tick()


def job(**fields: Any) -> Term:
    term = Term(hosts="a")
    term.want(wanted(job=Job(**fields)))
    return term


def test_job_runs_as_many_at_a_time_as_it_may_and_ends_when_enough_succeeded() -> None:
    term = job(completions=3, parallelism=2)
    assert term.placed() == {"a": 2}
    report_job(term)
    report_job(term, "completed")
    assert term.placed() == {"a": 3}, "the one that ended stays listed beside two at work"
    report_job(term, "completed", "completed")
    assert term.core.decider.wishes.memory.kept_status(APP).completed == 2
    report_job(term, "completed", "completed", "completed")
    report_job(term)
    assert term.placed() == {}
    assert (status(term)["state"], status(term)["completed"]) == ("completed", 3)
    assert term.kinds().count("job-completed") == 1


def test_replica_of_a_job_stays_listed_until_it_is_counted_for_good() -> None:
    term = job(completions=1)
    report_job(term)
    term.is_kept = False
    report_job(term, "completed")
    assert term.placed() == {"a": 1}
    report_job(term, "completed")
    assert term.placed() == {"a": 1}
    term.is_kept = True
    term.tick(3.0)
    report_job(term, "completed")
    assert term.placed() == {}
    assert status(term)["completed"] == 1


def test_new_leader_goes_on_counting() -> None:
    listed = item(count=3, assignment=40)
    counted = [f"app/1/a/40.{n}" for n in range(2)]
    kept = DeploymentStatus(name="app", generation=1, completed=7, counted=counted)
    known = DesiredRead(name=APP, wanted=wanted(job=Job(completions=9, parallelism=1)), revision=9)
    term = Term(document("a", 41, listed), hosts="a", known=known, statuses=(kept,))
    term.beat("a", adopted=Revision("inc", 101))
    report_job(term, "completed", "completed", "completed")
    report_job(term, "completed", "completed", "completed")
    assert status(term)["completed"] == 8
    report_job(term, "completed", "completed", "completed", "completed")
    report_job(term)
    assert (status(term)["completed"], status(term)["state"]) == (9, "completed")


def test_job_that_ended_before_its_host_reported_it_at_work_is_counted() -> None:
    term = job(completions=2)
    report_job(term, "completed")
    report_job(term, "completed", "completed")
    report_job(term, "completed", "completed")
    assert status(term)["state"] == "completed"


@pytest.mark.parametrize("parallelism", [1, 3, 12])
def test_job_that_is_never_at_rest_lists_a_bounded_number_of_replicas(parallelism: int) -> None:
    runs = 250
    term = job(completions=runs, parallelism=parallelism)
    ended: set[tuple[int, int]] = set()
    listed = steps = 0
    while status(term)["state"] != "completed":
        (found,) = term.items("a")
        at_work = [n for n in range(found.count) if (found.assignment, n) not in ended]
        assert len(at_work) <= parallelism
        ended |= {(found.assignment, n) for n in at_work[:1]}  # never all of them at once
        report_job(term, *(
            "completed" if (found.assignment, n) in ended else "running"
            for n in range(found.count)
        ))  # fmt: skip
        listed, steps = max(listed, found.count), steps + 1
        assert steps < 4 * runs, "it goes on"
    assert listed <= listed_max(parallelism)
    assert (status(term)["completed"], len(ended)) == (runs, runs)
    assert len(term.core.decider.wishes.memory.kept_status(APP).counted) <= 2 * listed_max(12)


def test_job_fails_after_its_attempts_and_says_what_its_process_said() -> None:
    term = job(completions=1, attempts=2)
    report_job(term, "failed")
    assert term.placed() == {"a": 2}, "another one beside the one that failed"
    report_job(term, "failed", "failed")
    report_job(term)
    shown = status(term)
    assert (shown["state"], shown["failed_runs"]) == ("failed", 2)
    assert "exit status 3" in shown["reasons"]
    assert term.placed() == {}
    assert "job-failed" in term.kinds()


def test_job_that_ended_is_deleted_after_a_time() -> None:
    term = job(completions=1, ttl_s=100.0)
    report_job(term, "completed")
    report_job(term)
    term.advance(99.0)
    term.run_all()
    assert term.asked == []
    term.advance(2.0)
    term.run_all()
    assert term.asked == [DeleteEnded(name=APP, revision=90, epoch=EPOCH)]


def test_new_generation_of_a_job_counts_from_the_beginning() -> None:
    term = job(completions=1)
    report_job(term, "completed")
    report_job(term)
    report_job(term)
    term.want(wanted(generation=2, job=Job(completions=2)))
    assert term.placed() == {"a": 1}
    assert (status(term)["state"], status(term)["completed"]) == ("progressing", 0)


def test_replica_of_a_job_on_a_lost_host_runs_again_elsewhere() -> None:
    term = Term(hosts="ab")
    term.want(wanted(job=Job(completions=1)))
    term.settle()
    first = home(term)
    for _ in range(6):
        term.advance(1.5)
        term.run_all(but=first)
    assert term.placed() == {"b" if first == "a" else "a": 1}


# --- load ---------------------------------------------------------------------------------------


def scaled(**fields: Any) -> Term:
    term = Term(hosts="ab")
    given = {"minimum": 0, "maximum": 4, "target": 10, "idle_s": 30.0, **fields}
    term.want(wanted(scale=Scale(**given)))
    return term


def load(term: Term, in_flight: int, calls: int = 0, waiting: int = 0) -> None:
    """Let every replica report as much, and time pass until that is looked at."""
    term.advance(1.0)
    term.run_all(in_flight=in_flight, calls=calls, waiting=waiting)
    term.advance(1.0)
    term.tick()


def test_deployment_at_zero_wakes_when_asked_and_its_route_says_so() -> None:
    term = scaled()
    assert term.placed() == {}
    assert status(term)["state"] == "scaled-to-zero"
    assert [k.value for k in term.kept] == [DeploymentRoute(name="app", wakes=True)]
    assert term.core.decider.wakes(APP) == (False, False)
    for _ in range(3):
        term.feed(Woken(name=APP))
    assert term.core.decider.wakes(APP) == (True, False)
    term.tick()
    assert sum(term.placed().values()) == 1, "concurrent calls wake one replica"
    term.settle()
    assert term.core.decider.wakes(APP) == (True, True)


def test_unknown_and_paused_deployments_do_not_wake() -> None:
    term = Term(hosts="a")
    term.feed(Woken(name=APP))
    assert term.core.decider.wakes(APP) == (False, False)
    term.want(wanted(scale=Scale(), is_paused=True))
    term.feed(Woken(name=APP))
    assert term.core.decider.wakes(APP) == (False, False)


def test_replicas_come_with_the_load_at_once_and_go_when_fewer_were_enough_for_a_while() -> None:
    term = scaled(minimum=1, idle_s=300.0)
    term.settle()
    load(term, in_flight=25, waiting=5)
    assert sum(term.placed().values()) == 3
    term.settle(times=2)
    load(term, in_flight=100)
    assert sum(term.placed().values()) == 4, "never above the maximum"
    for _ in range(20):
        load(term, in_flight=1, calls=1)
    assert sum(term.placed().values()) == 4, "the gap may be short"
    for _ in range(20):
        load(term, in_flight=1, calls=1)
    assert sum(term.placed().values()) == 1
    assert "deployment-scaled" in term.kinds()


def test_replicas_follow_the_jobs_that_wait_and_none_goes_before_they_are_counted() -> None:
    term = scaled(on="queue")
    assert term.core.decider.wishes.queued() == (APP,)
    for depth, expected in ((1, 1), (25, 3), (1000, 4)):
        term.feed(QueueSeen(name=APP, depth=depth))
        load(term, in_flight=0)
        assert sum(term.placed().values()) == expected
    documents = tuple(term.core.delivery.documents.values())
    for _ in range(40):
        term.feed(QueueSeen(name=APP, depth=0))
        load(term, in_flight=9)
    assert term.placed() == {}, "calls do not count"
    new = Term(*documents, hosts="ab")
    new.want(wanted(scale=Scale(on="queue", minimum=0, maximum=4, target=10, idle_s=30.0)))
    for _ in range(40):
        load(new, in_flight=0)
    assert sum(new.placed().values()) == 4, "a new leader counts before it takes any away"
    new.feed(QueueSeen(name=APP, depth=0))
    for _ in range(40):
        load(new, in_flight=0)
    assert new.placed() == {}


def test_deployment_without_a_call_falls_to_its_minimum() -> None:
    term = scaled()
    term.feed(Woken(name=APP))
    term.tick()
    for calls in range(1, 30):
        load(term, in_flight=0, calls=calls)
    assert sum(term.placed().values()) == 1, "there are calls, if short ones"
    for _ in range(16):
        load(term, in_flight=0, calls=29)
    assert term.placed() == {}


# --- brake and flapping ---------------------------------------------------------------------------


def test_mass_failure_is_replaced_slowly_what_matters_most_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pacing, "BRAKE_STARTS_PER_S", 2.0)
    monkeypatch.setattr(pacing, "BRAKE_WHOLE_S", 1e6)
    hosts = "abcdefghij"
    term = Term(hosts=hosts)
    term.want(wanted("later", replicas=20, priority=0))
    term.want(wanted("first", replicas=10, priority=500))
    term.settle()
    gone = "abcdef"
    for _ in range(10):
        term.advance(0.7)
        term.run_all(but=gone)
    assert "mass-failure" in term.kinds()
    missing = [30 - sum(sum(term.placed(n).values()) for n in ("first", "later"))]
    while missing[-1] and len(missing) < 60:
        term.advance(0.5)
        term.run_all(but=gone)
        missing.append(30 - sum(sum(term.placed(n).values()) for n in ("first", "later")))
        if sum(term.placed("first").values()) < 10:
            assert sum(term.placed("later").values()) <= 8
    assert missing[-1] == 0
    steps = [before - after for before, after in pairwise(missing)]
    assert max(steps) <= 2, "two a second"
    for _ in range(40):
        term.advance(1.0)
        term.run_all(but=gone)
    assert term.kinds().count("mass-failure") == 1
    assert not term.core.decider.brake.is_on


def test_host_that_flaps_takes_nothing_new_for_ever_longer() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=2))
    term.settle()
    for _ in range(3):
        for _ in range(5):
            term.advance(1.5)
            term.run_all(but="a")
        term.run_all()
    assert term.kinds().count("host-held-off") == 2
    term.want(wanted(replicas=4))
    term.settle()
    assert term.placed() == {"b": 4}
    term.want(wanted("big", replicas=1, cpu_milli=9000))
    assert "taint lattice/flapping=3 is not tolerated" in " ".join(
        str(r)
        for r in states.status(term.core, "big")["reasons"]  # type: ignore[attr-defined]  # a list
    )
    for _ in range(40):
        term.advance(1.0)
        term.run_all()
    term.want(wanted(replicas=6))
    assert term.placed().get("a", 0) > 0


def test_host_that_flaps_is_used_when_there_is_room_nowhere_else_and_by_daemons() -> None:
    term = Term(hosts="ab")
    term.want(wanted("each", daemon=Daemon()))
    term.settle()
    for _ in range(3):
        for _ in range(5):
            term.advance(1.5)
            term.run_all(but="a")
        term.run_all()
    term.settle()
    assert term.placed("each") == {"a": 1, "b": 1}
    term.want(wanted("big", replicas=2, cpu_milli=3000))
    assert term.placed("big") == {"a": 1, "b": 1}


def test_host_at_the_edge_of_its_time_out_moves_nothing() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=4))
    term.settle()
    before = term.counts()
    for _ in range(20):
        for _ in range(3):
            term.advance(1.6)
            term.run_all(but="a")
        term.run_all()
    assert term.counts() == before
    assert "host-lost" not in term.kinds()
