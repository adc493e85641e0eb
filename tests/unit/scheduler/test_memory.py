"""A bucket that was lost: what hosts run goes on, until a restore or a new beginning."""

from __future__ import annotations

from dataclasses import replace

from lattice.model.host import HeldDevice, ReplicaReport, Report, Revision
from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.wire.messages import DeviceGrant, TargetItem
from scheduler.memory import Memory, RestoreSeen, running_items

HOST = HostId("a")
PATIENCE_S = 6.0


def replica(name: str, generation: int, assignment: int, ordinal: int, state: str = "running"
            ) -> ReplicaReport:  # fmt: skip
    return ReplicaReport(
        replica=ReplicaId(f"{name}/{generation}/a/{assignment}.{ordinal}"),
        deployment=DeploymentName(name), generation=generation,
        state=state,  # type: ignore[arg-type]  # one of the states
    )  # fmt: skip


def report(incarnation: str, *replicas: ReplicaReport) -> Report:
    adopted = Revision(incarnation, 7)
    return Report(host=HOST, boot="b", sequence=1, adopted=adopted, replicas=replicas)


RUNNING = report("lost", replica("app", 3, 17, 0))


def test_host_of_this_bucket_gets_an_empty_document() -> None:
    memory = Memory("inc", PATIENCE_S)
    assert memory.verdict(report(""), is_wanted=False) == "empty"
    assert memory.verdict(report("inc", replica("app", 1, 2, 0)), is_wanted=False) == "empty"
    assert memory.verdict(report("lost"), is_wanted=False) == "empty", "it runs nothing"


def test_what_a_lost_bucket_started_goes_on_until_somebody_wants_something() -> None:
    memory = Memory("inc", PATIENCE_S)
    assert memory.verdict(RUNNING, is_wanted=False) == "wait"
    assert memory.verdict(RUNNING, is_wanted=True) == "empty", "the lattice begins anew"


def test_nothing_is_planned_during_a_restore_and_hosts_keep_what_they_run_after_it() -> None:
    memory = Memory("inc", PATIENCE_S)
    memory.restore_seen(10.0, RestoreSeen(is_running=True))
    assert memory.is_waiting(1000.0, [], [])
    assert memory.verdict(RUNNING, is_wanted=True) == "wait"
    memory.restore_seen(20.0, RestoreSeen(is_running=False))
    assert memory.verdict(RUNNING, is_wanted=True) == "adopt"
    assert memory.is_waiting(20.1, [RUNNING], []), "its document does not stand yet"
    assert not memory.is_waiting(20.2, [RUNNING], [HOST])
    assert not memory.is_waiting(20.1 + PATIENCE_S, [RUNNING], []), "not for ever"


def test_target_of_what_runs_keeps_the_ids_of_its_replicas() -> None:
    found = running_items(
        report(
            "lost",
            replica("app", 3, 17, 0), replica("app", 3, 17, 1), replica("app", 2, 9, 0),
            replica("old", 1, 4, 0, "stopping"), replica("two", 1, 5, 0), replica("two", 1, 8, 2),
        )
    )  # fmt: skip
    assert found == (
        TargetItem(deployment="app", generation=2, count=1, assignment=9),
        TargetItem(deployment="app", generation=3, count=2, assignment=17),
        TargetItem(deployment="two", generation=1, count=3, assignment=8),
    )


def test_target_of_what_runs_grants_the_devices_that_its_replicas_hold() -> None:
    given = report("lost", replica("app", 3, 17, 0), replica("app", 3, 17, 1))
    held = [
        HeldDevice(replica=given.replicas[1].replica, device="gpu1", share_milli=300),
        HeldDevice(replica=given.replicas[0].replica, device="gpu0", memory_bytes=1 << 30),
        HeldDevice(replica=given.replicas[0].replica, device="gpu2"),
        HeldDevice(replica=ReplicaId("app/3/a/16.0"), device="gpu1"),  # that is stopping
    ]
    (item,) = running_items(replace(given, held=tuple(held)))
    assert item.grants == [
        DeviceGrant(ordinal=0, device="gpu0", memory_bytes=1 << 30),
        DeviceGrant(ordinal=0, device="gpu2"),
        DeviceGrant(ordinal=1, device="gpu1", share_milli=300),
    ]
