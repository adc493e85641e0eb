"""The host's core, one rule at a time."""

from __future__ import annotations

import pytest

from hosts.lifecycle import (
    CRASH_LOOP_FAILURES,
    RESTART_DELAY_MAX_S,
    RESTART_DELAY_MIN_S,
    STABLE_S,
    Acked,
    Announce,
    HeartbeatDue,
    Lifecycle,
    ReadTarget,
    ReplicaFailed,
    ReplicaFigures,
    ReplicaReady,
    ReplicaStopped,
    ReportNow,
    SendReport,
    StartReplica,
    StopReplica,
    TargetSeen,
    TargetUnreadable,
    Ticked,
)
from lattice.model.host import Load, Revision
from lattice.model.ids import HostId, replica_id
from lattice.wire.messages import Target, TargetItem

HOST = HostId("UHOST")
FIRST = replica_id("search", 1, HOST, 7, 0)


def target(sequence, *items, needs=(), incarnation="i"):
    return TargetSeen(
        revision=Revision(incarnation, sequence),
        target=Target(epoch=1, incarnation=incarnation, needs=list(needs), items=list(items)),
    )


def item(count=1, generation=1, assignment=7):
    return TargetItem(
        deployment="search", generation=generation, count=count, assignment=assignment
    )


def start(replica, revision=1):
    return StartReplica(
        replica=replica, deployment="search", generation=1, epoch=1, revision=revision
    )


@pytest.fixture
def core():
    machine = Lifecycle(host=HOST, boot="b")
    yield machine
    machine.check()


def started(core, now_s=0.0):
    core.handle(now_s, target(1, item()))
    core.handle(now_s, ReplicaReady(replica=FIRST))
    return core


def test_a_target_starts_what_it_lists_and_reports_at_once(core):
    commands = core.handle(0.0, target(1, item(count=2)))
    assert commands == (
        start(FIRST),
        start(replica_id("search", 1, HOST, 7, 1)),
        ReportNow(),
    )
    assert core.adopted == Revision("i", 1)


def test_an_older_or_equal_revision_changes_nothing(core):
    core.handle(0.0, target(5, item()))
    assert core.handle(1.0, target(5)) == ()
    assert core.handle(1.0, target(4)) == ()
    assert list(core.slots) == [FIRST]


def test_another_incarnation_is_adopted_whatever_its_sequence(core):
    core.handle(0.0, target(5, item()))
    commands = core.handle(1.0, target(1, incarnation="restored"))
    assert commands[0] == StopReplica(replica=FIRST)
    assert core.adopted == Revision("restored", 1)


def test_a_target_with_unknown_needs_is_refused_once_and_what_runs_goes_on(core):
    started(core)
    commands = core.handle(1.0, target(2, needs=("teleport@1",)))
    assert [type(c) for c in commands] == [Announce]
    assert "teleport@1" in commands[0].reason
    assert core.handle(1.0, target(2, needs=("teleport@1",))) == ()
    assert core.slots[FIRST].state == "running"


def test_a_document_that_is_no_target_is_refused_once_a_revision_and_what_runs_goes_on(core):
    started(core)
    slots = dict(core.slots)
    unreadable = TargetUnreadable(sequence=2, reason="epoch: expected an integer")
    refused = Announce(kind="target-refused", reason="epoch: expected an integer")
    assert core.handle(1.0, unreadable) == (refused,)
    assert core.handle(2.0, unreadable) == ()
    assert (core.slots, core.adopted) == (slots, Revision("i", 1))
    assert core.handle(3.0, TargetUnreadable(sequence=3, reason=refused.reason)) == (refused,)
    core.handle(4.0, target(4))
    assert core.adopted == Revision("i", 4), "the next one that can be read counts"


def test_restarts_are_failures_of_the_replica_and_restarts_of_its_services(core):
    started(core)

    def reported(**counts):
        figures = {FIRST: ReplicaFigures(**counts)}
        (sent,) = core.handle(9.0, HeartbeatDue(load=Load(), figures=figures))
        return [(each.state, each.restarts) for each in sent.report.replicas]

    assert reported(restarts=2) == [("running", 2)]
    core.handle(1.0, ReplicaFailed(replica=FIRST, reason="its service failed too often"))
    assert reported() == [("failed", 1)]
    core.handle(100.0, Ticked())
    core.handle(100.0, ReplicaReady(replica=FIRST))
    assert reported(restarts=2) == [("running", 3)]


def test_a_target_that_is_meant_for_another_host_is_refused(core):
    started(core)
    copied = Target(epoch=1, incarnation="i", host="UOTHER")
    (refused,) = core.handle(1.0, TargetSeen(revision=Revision("i", 2), target=copied))
    assert refused.kind == "target-refused"
    assert "UOTHER" in refused.reason
    assert core.adopted == Revision("i", 1)


def test_a_withdrawn_replica_stops_and_is_forgotten_when_it_is_gone(core):
    started(core)
    assert core.handle(1.0, target(2)) == (StopReplica(replica=FIRST), ReportNow())
    assert core.slots[FIRST].state == "stopping"
    core.handle(2.0, ReplicaStopped(replica=FIRST))
    assert core.slots == {}


def test_a_replica_wanted_again_while_it_stops_starts_after_it_is_gone(core):
    started(core)
    core.handle(1.0, target(2))
    assert core.handle(2.0, target(3, item())) == (ReportNow(),)
    commands = core.handle(3.0, ReplicaStopped(replica=FIRST))
    assert start(FIRST, revision=3) in commands


def test_a_failed_start_is_told_with_its_reason_and_retried_after_the_delay(core):
    core.handle(0.0, target(1, item()))
    commands = core.handle(1.0, ReplicaFailed(replica=FIRST, reason="no such image"))
    assert commands == (
        Announce(kind="replica-failed", replica=FIRST, reason="no such image"),
        ReportNow(),
    )
    assert core.next_due_s() == 1.0 + RESTART_DELAY_MIN_S
    assert core.handle(1.0, Ticked()) == ()
    assert core.handle(1.0 + RESTART_DELAY_MIN_S, Ticked()) == (start(FIRST),)


def test_delays_double_up_to_the_limit_and_the_state_becomes_crash_loop(core):
    core.handle(0.0, target(1, item()))
    now_s, delays = 0.0, []
    for _ in range(CRASH_LOOP_FAILURES + 5):
        core.handle(now_s, ReplicaFailed(replica=FIRST, reason="trap"))
        delays.append(core.next_due_s() - now_s)
        now_s = core.next_due_s()
        core.handle(now_s, Ticked())
    assert delays[:3] == [0.5, 1.0, 2.0]
    assert max(delays) == RESTART_DELAY_MAX_S
    core.handle(now_s, ReplicaFailed(replica=FIRST, reason="trap"))
    assert core.slots[FIRST].state == "crash-loop"


def test_a_replica_that_ran_long_starts_with_a_clean_record(core):
    started(core)
    core.handle(1.0, ReplicaFailed(replica=FIRST, reason="once"))
    core.handle(2.0, Ticked())
    core.handle(2.0, ReplicaReady(replica=FIRST))
    core.handle(2.0 + STABLE_S, ReplicaFailed(replica=FIRST, reason="much later"))
    assert core.slots[FIRST].failures == 1


def test_a_failed_replica_that_is_withdrawn_leaves_without_a_stop(core):
    core.handle(0.0, target(1, item()))
    core.handle(1.0, ReplicaFailed(replica=FIRST, reason="trap"))
    assert core.handle(2.0, target(2)) == (
        Announce(kind="replica-stopped", replica=FIRST),
        ReportNow(),
    )
    assert core.slots == {}


def test_reports_are_numbered_and_tell_everything(core):
    started(core)
    (first,) = core.handle(1.0, HeartbeatDue(load=Load(), figures={FIRST: ReplicaFigures(calls=3)}))
    (second,) = core.handle(3.0, HeartbeatDue(load=Load()))
    assert isinstance(first, SendReport)
    assert (first.report.sequence, second.report.sequence) == (1, 2)
    assert [(r.replica, r.state, r.calls) for r in first.report.replicas] == [(FIRST, "running", 3)]


def test_the_lease_counts_from_the_sending_of_the_report(core):
    started(core)
    core.handle(10.0, HeartbeatDue(load=Load()))
    core.handle(14.0, Acked(sequence=1, required=Revision("i", 1), lease_s=6.0))
    assert core.has_lease(15.9)
    assert not core.has_lease(16.0)


def test_an_ack_that_requires_more_grants_nothing_and_makes_the_host_read(core):
    started(core)
    core.handle(10.0, HeartbeatDue(load=Load()))
    commands = core.handle(10.1, Acked(sequence=1, required=Revision("i", 2), lease_s=6.0))
    assert commands == (ReadTarget(),)
    assert not core.has_lease(10.2)


def test_an_ack_for_a_report_that_was_never_sent_grants_nothing(core):
    core.handle(0.0, Acked(sequence=99, required=Revision(), lease_s=6.0))
    assert not core.has_lease(0.1)


def test_outcomes_of_unknown_replicas_are_ignored(core):
    assert core.handle(0.0, ReplicaReady(replica=FIRST)) == ()
    assert core.handle(0.0, ReplicaFailed(replica=FIRST, reason="x")) == ()
    assert core.handle(0.0, ReplicaStopped(replica=FIRST)) == ()


def test_a_running_replica_with_a_service_in_a_crash_loop_is_reported_and_announced_once(core):
    started(core)
    figures = ReplicaFigures(trouble="service index failed", is_looping=True)
    looping = HeartbeatDue(load=Load(), figures={FIRST: figures})
    announced, sent = core.handle(2.0, looping)
    assert announced == Announce(
        kind="replica-crash-loop", replica=FIRST, reason="service index failed"
    )
    (told,) = sent.report.replicas
    assert (told.state, told.reason) == ("crash-loop", "service index failed")
    (again,) = core.handle(4.0, looping)
    assert isinstance(again, SendReport)
    (calm,) = core.handle(6.0, HeartbeatDue(load=Load()))
    assert [each.state for each in calm.report.replicas] == ["running"]
