"""The reconciler by example: what one leader does about reports, losses, failures and wishes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lattice.errors import NotFoundError
from lattice.model.host import Capacity, Revision
from lattice.model.ids import HostId
from lattice.wire.messages import HeartbeatAck
from lattice.wire.requests import Listing, ReplicaListing
from scheduler import states, views
from scheduler.collecting import DropGenerations, DropInventory, HistoryRead
from scheduler.delivery import (
    DropTarget,
    ReadTarget,
    TargetDropped,
    WriteTarget,
)
from scheduler.lagging import Lags
from scheduler.profile import DEFAULT
from scheduler.reconciler import (
    Command,
    DesiredRead,
    InventoryRead,
    LeaseExtended,
    Refuse,
    Reported,
)
from tests.unit.scheduler.builders import document, inventory, item, replica, report, wanted
from tests.unit.scheduler.term import APP, EPOCH, Term, ack


def test_replicas_are_placed_and_told_once() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=2, cpu_milli=100))
    assert term.counts() == {"a": {1: 1}, "b": {1: 1}}
    assert term.items("a")[0].cpu_milli == 100
    assert term.kinds() == [
        "host-joined", "host-joined", "deployment-applied", "replica-placed", "replica-placed",
    ]  # fmt: skip
    term.tick()
    assert len(term.emitted) == 5


def test_report_is_answered_with_the_revision_required_and_a_lease() -> None:
    term = Term(hosts="a")
    assert ack(term.beat("a")) == HeartbeatAck(
        sequence=2, required=Revision("inc", 101), lease_ms=6000, heartbeat_ms=2000
    )


def test_host_whose_target_is_not_sealed_gets_no_lease() -> None:
    term = Term(hosts="a", is_written=False)
    assert ack(term.beat("a")) == HeartbeatAck(
        sequence=2, required=Revision("inc", 0), heartbeat_ms=2000
    )


def test_inventory_of_another_process_is_written_again_by_who_is_granted_the_lease() -> None:
    """A second process with one key wrote its own before it was refused."""
    term = Term(hosts="a")
    own, second = inventory("a"), inventory("a", boot="b2")
    term.feed(InventoryRead(host=HostId("a"), inventory=second))
    assert ack(term.beat("a")).is_inventory_wanted
    term.feed(InventoryRead(host=HostId("a"), inventory=own))
    assert not ack(term.beat("a")).is_inventory_wanted
    challenged = ack(term.feed(Reported(report=report("a", 1, boot="b2"))))
    assert not challenged.lease_ms
    assert not challenged.is_inventory_wanted, "the two do not take turns"


def test_nothing_is_granted_or_written_after_the_own_lease_ran_out() -> None:
    term = Term(hosts="a")
    term.feed(LeaseExtended(until_s=1.0))
    term.now_s = 1.0
    (refused,) = term.beat("a")
    assert refused == Refuse(host=HostId("a"), reason="leads no longer", is_leading=False)
    term.want(wanted())
    assert term.counts() == {"a": {}}


def test_no_plan_is_made_before_every_known_host_had_the_time_to_report() -> None:
    known = DesiredRead(name=APP, wanted=wanted(replicas=2), revision=9)
    term = Term(document("a", 7, item(count=1)), document("b", 8), hosts="ab", known=known)
    term.beat("b")
    term.tick()
    assert term.counts() == {"a": {1: 1}, "b": {}}, "a may come back any moment"
    term.advance(5.9)
    term.beat("b")
    term.tick(0.2)
    assert term.counts() == {"a": {}, "b": {1: 2}}


def test_replicas_of_a_lost_host_move_and_come_back_to_nobody() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=2))
    term.run_all()
    term.advance(5.0)
    term.beat("b", replica("b", assignment=term.items("b")[0].assignment))
    term.tick(1.5)
    assert term.counts() == {"a": {}, "b": {1: 2}}
    assert "host-lost" in term.kinds()
    term.beat("a")
    term.tick()
    assert term.counts() == {"a": {}, "b": {1: 2}}, "what was moved stays"
    assert term.kinds()[-1] == "host-returned"


def test_write_in_flight_counts_as_written() -> None:
    term = Term(hosts="ab")
    term.is_written = False
    term.feed(DesiredRead(name=APP, wanted=wanted(), revision=90))
    (first,) = [c for c in term.tick() if isinstance(c, WriteTarget)]
    term.feed(DesiredRead(name=APP, wanted=wanted(), revision=91))
    assert term.tick() == (), "no second replica while the first one is on its way"
    term.written(first)
    assert sum(sum(each.values()) for each in term.counts().values()) == 1


def test_host_with_a_newer_target_than_known_is_sealed_again() -> None:
    term = Term(hosts="a")
    commands = term.beat("a", adopted=Revision("inc", 500))
    assert [c.host for c in commands if isinstance(c, ReadTarget)] == ["a"]
    commands = term.beat("a", adopted=Revision("other", 900))
    assert not [c for c in commands if isinstance(c, ReadTarget)], "other buckets do not compare"


def test_document_that_a_host_does_not_adopt_is_written_again() -> None:
    term = Term(hosts="a")
    seen = []
    for _ in range(20):
        term.now_s += DEFAULT.heartbeat_s
        seen += [c for c in term.beat("a") if isinstance(c, ReadTarget)]
        if seen:
            break
    assert [command.host for command in seen] == ["a"]
    assert 4 * DEFAULT.heartbeat_s < term.now_s < 7 * DEFAULT.heartbeat_s


def test_host_that_adopts_is_left_alone() -> None:
    term = Term(hosts="a")
    for _ in range(20):
        term.now_s += DEFAULT.heartbeat_s
        commands = term.beat("a", adopted=Revision("inc", 101))
        assert not [c for c in commands if isinstance(c, ReadTarget)]


def test_host_that_refuses_its_target_is_written_to_ever_more_rarely() -> None:
    lags = Lags(heartbeat_s=1.0)
    due = [
        second
        for second in range(200)
        if lags.is_due(float(second), report("a", second), Revision("inc", 7))
    ]
    assert due == [5, 14, 31, 64, 129]


def test_host_that_does_not_know_the_features_of_our_targets_gets_no_replicas() -> None:
    term = Term(hosts="a")
    facts = replace(inventory("a"), features=("replicas@0",))
    term.feed(InventoryRead(host=HostId("a"), inventory=facts))
    term.want(wanted())
    assert term.counts() == {"a": {}}
    status = states.status(term.core, "app")
    assert status["reasons"] == ["1 its release does not understand replicas@1"]


def test_targets_that_list_replicas_say_what_they_need() -> None:
    term = Term(hosts="a")
    term.is_written = False
    term.feed(DesiredRead(name=APP, wanted=wanted(), revision=90))
    (write,) = [c for c in term.tick() if isinstance(c, WriteTarget)]
    assert write.target.needs == ["replicas@1"]


def test_what_is_left_of_a_host_that_was_killed_is_removed_in_steps() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=2))
    looks = 0
    removed: list[Command] = []
    while looks < 24:
        looks += 1
        term.tick(1800.0)
        term.beat("b", adopted=Revision("inc", term.revision))
        term.tick()
        for command in term.feed(HistoryRead(generations=())):
            removed.append(command)
            if isinstance(command, DropInventory):
                term.feed(InventoryRead(host=command.host, inventory=None))
            elif isinstance(command, DropTarget):
                term.feed(TargetDropped(host=command.host, ticket=command.ticket))
    assert [type(command) for command in removed] == [DropInventory, DropTarget]
    assert removed[0] == DropInventory(host=HostId("a"), boot="b1")
    assert term.counts() == {"b": {1: 2}}


def test_nothing_is_removed_after_the_own_lease_ran_out() -> None:
    term = Term(hosts="a")
    old = HistoryRead(generations=tuple((APP, number) for number in range(1, 40)))
    term.want(wanted(generation=39))
    assert term.feed(old) == (
        DropGenerations(generations=tuple((APP, n) for n in range(1, 20)), epoch=EPOCH),
    )
    term.feed(LeaseExtended(until_s=term.now_s))
    assert term.feed(old) == ()


def test_old_generation_stays_until_the_new_one_runs() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=2))
    term.run_all()
    term.want(wanted(generation=2, replicas=2))
    assert sum(sum(each.values()) for each in term.counts().values()) == 3, "one more at a time"
    for _ in range(4):
        term.run_all()
    assert term.counts() == {"a": {2: 1}, "b": {2: 1}}


def test_one_old_replica_gives_way_at_a_time_when_there_is_no_room_for_two_generations() -> None:
    term = Term()
    capacity = Capacity(cpu_milli=1000, memory_bytes=0)
    for name in "ab":
        facts = inventory(name, capacity=capacity)
        term.feed(InventoryRead(host=HostId(name), inventory=facts))
        term.beat(name)
    term.want(wanted(replicas=2, cpu_milli=800))
    term.run_all()
    term.want(wanted(generation=2, replicas=2, cpu_milli=800))
    seen = [term.counts()]
    for _ in range(6):
        term.run_all()
        seen.append(term.counts())
    totals = [sum(sum(each.values()) for each in counts.values()) for counts in seen]
    assert min(totals) >= 1
    assert seen[-1] == {"a": {2: 1}, "b": {2: 1}}


def test_last_old_replica_stays_when_the_new_one_has_no_room() -> None:
    term = Term()
    facts = inventory("a", capacity=Capacity(cpu_milli=1000, memory_bytes=0))
    term.feed(InventoryRead(host=HostId("a"), inventory=facts))
    term.beat("a")
    term.want(wanted(cpu_milli=800))
    term.run_all()
    term.want(wanted(generation=2, cpu_milli=800))
    term.run_all()
    assert term.counts() == {"a": {1: 1}}
    status = states.status(term.core, "app")
    assert (status["state"], status["reasons"]) == ("degraded", ["1 cpu 200m free, needs 800m"])


def test_scaling_keeps_the_assignments_that_stand() -> None:
    term = Term(hosts="a")
    term.want(wanted(replicas=1))
    (before,) = term.items("a")
    term.want(wanted(replicas=3))
    (after,) = term.items("a")
    assert (after.count, after.assignment) == (3, before.assignment)


def test_replica_placed_again_on_a_host_has_a_new_assignment() -> None:
    term = Term(hosts="a")
    term.want(wanted())
    (first,) = term.items("a")
    term.want(wanted(replicas=0))
    term.want(wanted())
    (second,) = term.items("a")
    assert second.assignment > first.assignment


def test_failing_replica_moves_and_its_host_is_avoided_for_a_while() -> None:
    term = Term(hosts="ab")
    term.want(wanted())
    (home,) = [host for host, counts in term.counts().items() if counts]
    other = "b" if home == "a" else "a"
    term.beat(home, replica(home, state="failed", restarts=1, reason="trap"))
    term.tick()
    assert term.counts()[home] == {1: 1}, "the host repeats the first start itself"
    term.beat(home, replica(home, state="failed", restarts=2, reason="trap"))
    term.tick()
    assert term.counts() == {home: {}, other: {1: 1}}
    term.beat(other, replica(other, state="crash-loop", restarts=5, reason="trap too"))
    term.tick()
    status = states.status(term.core, "app")
    assert status["state"] == "failed"
    assert f"name-{home}: trap" in str(status["reasons"])
    term.advance(4.9)
    for name in "ab":
        term.beat(name)
    term.tick(0.2)
    assert sum(sum(each.values()) for each in term.counts().values()) == 1, "tried again"


def test_malformed_record_leaves_what_runs_alone() -> None:
    malformed = DesiredRead(name=APP, wanted=None, revision=9, is_malformed=True)
    term = Term(document("a", 7, item(count=2)), hosts="a", known=malformed)
    term.beat("a")
    term.tick()
    assert term.counts() == {"a": {1: 2}}
    assert states.status(term.core, "app")["state"] == "degraded"


def test_deleted_deployment_is_withdrawn() -> None:
    term = Term(hosts="a")
    term.want(wanted())
    term.feed(DesiredRead(name=APP, wanted=None, revision=99))
    term.tick()
    assert term.counts() == {"a": {}}
    assert term.kinds()[-2:] == ["deployment-deleted", "replica-withdrawn"]
    with pytest.raises(NotFoundError):
        states.status(term.core, "app")


def test_changes_older_than_the_term_are_not_told_again() -> None:
    term = Term(hosts="a")
    term.want(wanted(), revision=EPOCH - 1)
    assert "deployment-applied" not in term.kinds()
    term.want(wanted(generation=2), revision=EPOCH + 1)
    (applied,) = [emit for emit in term.emitted if emit.kind == "deployment-applied"]
    assert (applied.id, applied.entity) == ("51.0", "app")


def test_unplaced_replicas_are_told_when_the_reason_is_news() -> None:
    term = Term(hosts="a")
    term.want(wanted(replicas=3, cpu_milli=3000))
    (unplaced,) = [emit for emit in term.emitted if emit.kind == "deployment-unplaced"]
    assert unplaced.data["count"] == 2
    term.feed(InventoryRead(host=HostId("a"), inventory=inventory("a")))
    term.tick()
    assert term.kinds().count("deployment-unplaced") == 1


def test_event_ids_never_repeat_within_a_term() -> None:
    term = Term(hosts="abc")
    for generation in (1, 2, 3):
        term.want(wanted(generation=generation, replicas=3), revision=90 + generation)
        term.run_all()
    ids = [emit.id for emit in term.emitted]
    assert len(ids) == len(set(ids))


def test_views_show_hosts_and_replicas() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=1, cpu_milli=500))
    term.now_s = 1.5
    shown: Any = views.hosts(term.core, term.now_s, Listing())["hosts"]
    assert [host["name"] for host in shown] == ["name-a", "name-b"]
    assert sorted(host["free"]["cpu_milli"] for host in shown) == [3500, 4000]
    assert {host["last_seen_s"] for host in shown} == {1.5}
    listed: Any = views.replicas(term.core, ReplicaListing(deployment="app"))["replicas"]
    assert [(view["state"], view["deployment"]) for view in listed] == [("assigned", "app")]
    term.run_all()
    listed = views.replicas(term.core, ReplicaListing())["replicas"]
    assert [view["state"] for view in listed] == ["running"]
    assert views.replicas(term.core, ReplicaListing(deployment="other")) == {
        "replicas": [],
        "unplaced": [],
    }
    assert states.status(term.core, "app")["state"] == "ready"


def test_long_lists_come_in_pages_without_gaps_or_repetitions() -> None:
    term = Term(hosts="abcde")
    term.want(wanted(replicas=5))
    term.want(wanted("other", replicas=1, interfaces=("a:b/c",)))
    names: list[str] = []
    after = ""
    for _ in range(5):
        found: Any = views.hosts(term.core, term.now_s, Listing(after=after, limit=2))
        names += [view["id"] for view in found["hosts"]]
        after = found.get("next", "")
        if not after:
            break
    assert names == ["a", "b", "c", "d", "e"]
    first: Any = views.replicas(term.core, ReplicaListing(limit=5))
    assert (len(first["replicas"]), first["unplaced"]) == (5, [])
    rest: Any = views.replicas(term.core, ReplicaListing(after=first["next"]))
    assert rest["replicas"] == []
    assert [view["deployment"] for view in rest["unplaced"]] == ["other"]
    assert "next" not in rest
