"""Probes, jobs and devices in the host's core, one rule at a time."""

from __future__ import annotations

import pytest

from hosts.lifecycle import (
    Announce,
    HeartbeatDue,
    Lifecycle,
    ReplicaCompleted,
    ReplicaFailed,
    ReplicaFigures,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
    ReportNow,
    StopReplica,
    Ticked,
)
from lattice.model.host import HeldDevice, Load
from lattice.model.ids import replica_id
from lattice.wire.messages import DeviceGrant, TargetItem
from tests.unit.hosts.test_lifecycle import FIRST, HOST, item, started, target

SECOND = replica_id("search", 1, HOST, 7, 1)


@pytest.fixture
def core():
    machine = Lifecycle(host=HOST, boot="b")
    yield machine
    machine.check()


def granted(*grants, revision=1, count=2):
    item = TargetItem(
        deployment="search", generation=1, count=count, assignment=7, grants=list(grants)
    )
    return target(revision, item)


def test_a_replica_is_unready_until_its_probe_succeeds_without_an_event_of_that(core):
    core.handle(0.0, target(1, item()))
    assert core.handle(1.0, ReplicaUnready(replica=FIRST, reason="not yet")) == (ReportNow(),)
    assert (core.slots[FIRST].state, core.slots[FIRST].reason) == ("unready", "not yet")
    assert core.handle(2.0, ReplicaReady(replica=FIRST)) == (
        Announce(kind="replica-running", replica=FIRST),
        ReportNow(),
    )


def test_a_running_replica_whose_probe_fails_is_unready_and_told(core):
    started(core)
    assert core.handle(1.0, ReplicaUnready(replica=FIRST, reason="503")) == (
        Announce(kind="replica-unready", replica=FIRST, reason="503"),
        ReportNow(),
    )
    assert core.slots[FIRST].failures == 0, "it goes on running"
    assert core.handle(2.0, target(2)) == (StopReplica(replica=FIRST), ReportNow())


def test_a_completed_job_is_reported_until_its_target_withdraws_it(core):
    started(core)
    assert core.handle(1.0, ReplicaCompleted(replica=FIRST)) == (
        Announce(kind="replica-completed", replica=FIRST),
        ReportNow(),
    )
    (sent,) = core.handle(99.0, HeartbeatDue(load=Load()))
    assert [each.state for each in sent.report.replicas] == ["completed"]
    assert core.handle(100.0, Ticked()) == ()
    assert core.handle(101.0, target(2, item())) == (ReportNow(),), "it runs once"
    core.handle(102.0, target(3))
    assert core.slots == {}


def test_a_job_that_failed_is_not_started_again_by_the_host(core):
    started(core)
    failed = ReplicaFailed(replica=FIRST, reason="exit status 1", is_final=True)
    assert core.handle(1.0, failed) == (
        Announce(kind="replica-failed", replica=FIRST, reason="exit status 1"),
        ReportNow(),
    )
    assert core.next_due_s() is None
    assert core.handle(1000.0, Ticked()) == ()
    assert (core.slots[FIRST].state, core.slots[FIRST].reason) == ("failed", "exit status 1")


def test_a_job_that_ends_while_it_is_withdrawn_is_forgotten(core):
    started(core)
    core.handle(1.0, target(2))
    core.handle(2.0, ReplicaCompleted(replica=FIRST))
    assert core.slots == {}


def test_devices_go_to_the_replica_of_their_ordinal(core):
    grants = [DeviceGrant(ordinal=1, device="gpu0"), DeviceGrant(ordinal=1, device="gpu1")]
    first, second, _ = core.handle(0.0, granted(*grants))
    assert (first.replica, first.grants) == (FIRST, ())
    assert (second.replica, second.grants) == (SECOND, tuple(grants))


def test_a_replica_whose_devices_change_starts_again_with_the_new_ones(core):
    core.handle(0.0, granted(DeviceGrant(ordinal=0, device="gpu0"), count=1))
    core.handle(1.0, ReplicaReady(replica=FIRST))
    other = DeviceGrant(ordinal=0, device="gpu1")
    assert StopReplica(replica=FIRST) in core.handle(2.0, granted(other, revision=2, count=1))
    _, again, _ = core.handle(3.0, ReplicaStopped(replica=FIRST))
    assert again.grants == (other,)


def test_devices_that_replicas_hold_are_in_the_report(core):
    grants = [DeviceGrant(ordinal=1, device="gpu0", share_milli=300, memory_bytes=7)]
    core.handle(0.0, granted(*grants))
    (sent,) = core.handle(1.0, HeartbeatDue(load=Load(), figures={}))
    held = HeldDevice(replica=SECOND, device="gpu0", share_milli=300, memory_bytes=7)
    assert sent.report.held == (held,)


def test_figures_of_a_replica_are_in_its_report(core):
    started(core)
    figures = ReplicaFigures(calls=9, in_flight=2, waiting=1, errors=3, busy_ms=40)
    (sent,) = core.handle(1.0, HeartbeatDue(load=Load(), figures={FIRST: figures}))
    (told,) = sent.report.replicas
    assert (told.calls, told.in_flight, told.waiting, told.errors, told.busy_ms) == (9, 2, 1, 3, 40)
