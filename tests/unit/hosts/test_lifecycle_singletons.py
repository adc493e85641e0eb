"""Strict singletons in the host's core: they live only under a lease, and are fenced before its
end."""

from __future__ import annotations

import pytest

from hosts.lifecycle import (
    FENCE_SHARE,
    NO_LEASE,
    Acked,
    Announce,
    HeartbeatDue,
    Lifecycle,
    ReadTarget,
    ReplicaFailed,
    ReplicaReady,
    ReplicaStopped,
    ReportNow,
    SingletonFound,
    StopReplica,
    Ticked,
)
from lattice.model.host import Load, Revision
from tests.unit.hosts.test_lifecycle import FIRST, HOST, item, start, target

LEASE_S = 6.0
FENCE_S = LEASE_S * (1 - FENCE_SHARE)
"""When the fencing begins, after the sending of the report that was acked."""


@pytest.fixture
def core():
    machine = Lifecycle(host=HOST, boot="b")
    yield machine
    machine.check()


def leased(core, sent_s, required=1):
    (*_, sent) = core.handle(sent_s, HeartbeatDue(load=Load()))
    return core.handle(
        sent_s + 0.1,
        Acked(sequence=sent.report.sequence, required=Revision("i", required), lease_s=LEASE_S),
    )


def running(core):
    """A strict singleton that runs under a lease which began at 0 s."""
    core.handle(0.0, target(1, item()))
    leased(core, 0.0)
    assert core.handle(0.2, SingletonFound(replica=FIRST)) == ()
    core.handle(0.3, ReplicaReady(replica=FIRST))
    assert core.slots[FIRST].state == "running"


def fenced(core):
    running(core)
    core.handle(FENCE_S, Ticked())
    core.handle(FENCE_S + 0.1, ReplicaStopped(replica=FIRST))


def test_without_a_lease_it_is_held_before_anything_of_it_runs(core):
    core.handle(0.0, target(1, item()))
    assert core.handle(0.1, SingletonFound(replica=FIRST)) == (
        StopReplica(replica=FIRST, at_once=True),
    )
    core.handle(0.2, ReplicaStopped(replica=FIRST))
    assert (core.slots[FIRST].state, core.slots[FIRST].reason) == ("unready", NO_LEASE)
    assert core.handle(9.0, Ticked()) == (), "it waits for a lease, not for a time"


def test_it_is_fenced_before_the_lease_ends_and_is_not_called_from_then_on(core):
    running(core)
    assert core.next_due_s() == FENCE_S < core.lease_until_s
    assert core.handle(FENCE_S - 0.01, Ticked()) == ()
    assert core.may_call(FIRST, FENCE_S - 0.01)
    assert not core.may_call(FIRST, FENCE_S), "even before anybody ticked"
    assert core.handle(FENCE_S, Ticked()) == (StopReplica(replica=FIRST, at_once=True),)
    assert core.handle(FENCE_S, Ticked()) == (), "once"
    assert core.handle(FENCE_S + 0.1, ReplicaStopped(replica=FIRST)) == (
        Announce(kind="replica-stopped", replica=FIRST, reason=NO_LEASE),
        ReportNow(),
    )


def test_a_renewed_lease_moves_the_fence(core):
    running(core)
    leased(core, 4.0)
    assert core.handle(FENCE_S, Ticked()) == ()
    assert core.next_due_s() == 4.0 + FENCE_S


def test_it_starts_again_when_an_ack_renews_the_lease(core):
    fenced(core)
    assert leased(core, 20.0) == (start(FIRST),)
    assert core.slots[FIRST].state == "starting"


def test_an_ack_that_requires_a_newer_target_starts_nothing(core):
    fenced(core)
    assert leased(core, 20.0, required=2) == (ReadTarget(),)
    assert not core.may_call(FIRST, 20.2)
    core.handle(20.3, target(2))
    assert core.slots == {}, "what the newer target does not list is forgotten"
    assert leased(core, 21.0, required=2) == ()


def test_it_starts_with_the_revision_adopted_by_then(core):
    fenced(core)
    core.handle(19.0, target(5, item()))
    assert leased(core, 20.0, required=5) == (start(FIRST, revision=5),)


def test_a_lease_that_is_back_before_it_was_gone_starts_it_once_it_is(core):
    running(core)
    core.handle(FENCE_S, Ticked())
    assert leased(core, 5.6) == (), "it still stops"
    assert not core.may_call(FIRST, 5.8)
    assert start(FIRST) in core.handle(5.9, ReplicaStopped(replica=FIRST))


def test_one_that_is_withdrawn_and_finishes_its_calls_is_ended_with_the_lease(core):
    running(core)
    core.handle(4.0, target(2))
    assert core.next_due_s() == FENCE_S
    assert core.handle(FENCE_S, Ticked()) == (StopReplica(replica=FIRST, at_once=True),)
    core.handle(6.0, ReplicaStopped(replica=FIRST))
    assert core.slots == {}


def test_one_that_is_withdrawn_has_no_use_of_a_lease_that_comes_after(core):
    running(core)
    core.handle(4.0, target(2))
    leased(core, 4.1, required=2)
    assert core.may_call(FIRST, FENCE_S - 0.01)
    assert not core.may_call(FIRST, FENCE_S), "it may be at work elsewhere by then"
    assert core.handle(FENCE_S, Ticked()) == (StopReplica(replica=FIRST, at_once=True),)


def test_one_that_is_withdrawn_after_the_lease_ended_is_ended_at_once(core):
    running(core)
    commands = core.handle(9.0, target(2))
    assert StopReplica(replica=FIRST, at_once=True) in commands
    leased(core, 9.1, required=2)
    assert not core.may_call(FIRST, 9.2)


def test_one_that_failed_is_not_fenced_and_held_when_it_is_retried_without_a_lease(core):
    running(core)
    core.handle(1.0, ReplicaFailed(replica=FIRST, reason="trap"))
    assert core.handle(FENCE_S, Ticked()) == (start(FIRST),), "its retry alone"
    assert core.handle(FENCE_S + 0.1, SingletonFound(replica=FIRST)) == (
        StopReplica(replica=FIRST, at_once=True),
    )


def test_other_replicas_run_on_without_a_lease(core):
    core.handle(0.0, target(1, item()))
    core.handle(0.1, ReplicaReady(replica=FIRST))
    assert core.next_due_s() is None
    assert core.handle(100.0, Ticked()) == ()
    assert core.may_call(FIRST, 100.0)


def test_what_is_told_late_of_a_held_one_changes_nothing(core):
    fenced(core)
    before = core.slots[FIRST]
    assert core.handle(7.0, ReplicaFailed(replica=FIRST, reason="late")) == ()
    assert core.handle(7.0, ReplicaReady(replica=FIRST)) == ()
    assert core.slots[FIRST] == before
