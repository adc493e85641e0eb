"""Rollouts through the reconciler: canaries, reverts, pauses, drains, daemons, patience."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.model.host import Taint
from lattice.model.ids import HostId
from lattice.model.labels import parse_selector
from lattice.model.scheduling import Canary, Daemon, Update
from lattice.wire.messages import DeploymentRoute, DeploymentStatus
from scheduler import states
from scheduler.collecting import HistoryRead
from scheduler.reconciler import DesiredRead, InventoryRead
from scheduler.records import Revert
from tests.unit.scheduler.builders import document, inventory, item, wanted
from tests.unit.scheduler.term import APP, EPOCH, Term

CANARY = Update(strategy="canary", canary=Canary(weight_percent=20, hold_s=10.0))


def facts(term: Term, name: str, **fields: Any) -> None:
    term.feed(InventoryRead(host=HostId(name), inventory=inventory(name, **fields)))


def routes(term: Term) -> list[DeploymentRoute | None]:
    return [k.value for k in term.kept if k.kind is DeploymentRoute]  # type: ignore[misc]  # by kind


def status(term: Term) -> dict[str, Any]:
    return dict(states.status(term.core, "app"))


def rolled_out(hosts: str = "abc", **fields: Any) -> Term:
    """A deployment whose first generation runs on all hosts."""
    term = Term(hosts=hosts)
    term.want(wanted(replicas=len(hosts), **fields))
    term.settle()
    return term


def test_generation_that_is_rolled_out_is_remembered_as_good() -> None:
    term = rolled_out()
    assert [k.value for k in term.kept] == [
        DeploymentStatus(name="app", good_generation=1, generation=1)
    ]
    term.settle()
    assert len(term.kept) == 1, "once"


def test_status_that_is_not_kept_is_written_again() -> None:
    term = Term(hosts="a")
    term.is_kept = False
    term.want(wanted())
    term.settle()
    assert len(term.kept) == 1
    term.is_kept = True
    term.tick(2.0)
    assert [k.value for k in term.kept] == [
        DeploymentStatus(name="app", good_generation=1, generation=1)
    ] * 2


def test_rollout_ends_with_the_new_generation_alone_and_is_told_once() -> None:
    term = rolled_out()
    term.want(wanted(generation=2, replicas=3), revision=120)
    term.settle()
    assert term.counts() == {"a": {2: 1}, "b": {2: 1}, "c": {2: 1}}
    told = [(emit.kind, emit.id) for emit in term.emitted if emit.kind.startswith("rollout-")]
    assert told == [
        ("rollout-completed", "90.rollout-completed"),
        ("rollout-started", "120.rollout-started"),
        ("rollout-completed", "120.rollout-completed"),
    ]
    assert status(term)["state"] == "ready"


def test_canary_takes_its_part_of_the_calls_and_the_route_goes_when_it_passed() -> None:
    term = rolled_out(update=CANARY)
    term.want(wanted(generation=2, replicas=3, update=CANARY))
    term.settle()
    assert sum(each.get(2, 0) for each in term.counts().values()) == 1
    (first, *_, last) = routes(term)
    assert first is not None
    assert last is not None
    assert [(g.generation, g.weight) for g in first.generations] == [(1, 100)]
    assert [(g.generation, g.weight, len(g.hosts)) for g in last.generations] == [
        (1, 80, 3), (2, 20, 1),
    ]  # fmt: skip
    assert status(term)["progress"] == "canary takes 20 % of the calls"
    term.advance(10.0)
    term.settle()
    assert term.counts() == {"a": {2: 1}, "b": {2: 1}, "c": {2: 1}}
    assert routes(term)[-1] is None
    assert [k for k in term.kinds() if "canary" in k] == ["rollout-canary", "canary-passed"]


def test_canary_with_too_many_errors_is_reverted_and_takes_no_calls_meanwhile() -> None:
    gates = Update(strategy="canary", canary=Canary(hold_s=60.0, errors_max_percent=5))
    term = rolled_out(update=gates)
    term.want(wanted(generation=2, replicas=3, update=gates), revision=120)
    term.settle(times=3)
    term.advance(1.0)
    term.run_all(calls=100, errors=50)
    assert term.asked == [
        Revert(
            name=APP, to=1, given_up=2, revision=120, epoch=EPOCH,
            reason="canary: 50.0 % of 100 calls failed, at most 5 may",
        )
    ]  # fmt: skip
    last = routes(term)[-1]
    assert last is not None
    assert [(g.generation, g.weight) for g in last.generations] == [(1, 100), (2, 0)]
    term.want(wanted(generation=1, replicas=3, update=gates, reverted=2, reason="too many errors"))
    term.settle()
    assert term.counts() == {"a": {1: 1}, "b": {1: 1}, "c": {1: 1}}
    shown = status(term)
    assert (shown["state"], shown["reverted"]) == ("reverted", 2)
    assert shown["reasons"] == ["generation 2 was given up: too many errors"]
    assert routes(term)[-1] is None


def test_generation_that_gets_nowhere_is_reverted_at_its_deadline_and_asked_for_again() -> None:
    term = rolled_out()
    term.want(wanted(generation=2, replicas=3), revision=120)
    for _ in range(30):
        term.advance(4.0)
        term.run_all(("app", 2, "starting"))
    (first,) = term.asked
    assert isinstance(first, Revert)
    assert (first.to, first.given_up, first.revision) == (1, 2, 120)
    for _ in range(3):
        term.advance(2.0)
        term.run_all(("app", 2, "starting"))
    assert len(term.asked) == 2, "it may not have been written"
    assert "rollout-stuck" in term.kinds()
    assert sum(each.get(1, 0) for each in term.counts().values()) == 3, "nothing was taken away"


@pytest.mark.parametrize(
    "fields",
    [{"update": Update(reverts=False)}, {"reverted": 3}, {"is_paused": True}],
    ids=["where it is off", "of a revert", "while paused"],
)
def test_nothing_is_reverted(fields: dict[str, Any]) -> None:
    term = rolled_out()
    term.want(wanted(generation=2, replicas=3, **fields), revision=120)
    for _ in range(40):
        term.advance(4.0)
        term.run_all(("app", 2, "starting"))
    assert term.asked == []


def test_new_leader_knows_what_was_good_and_never_reverts_to_the_same() -> None:
    good = DeploymentStatus(name="app", good_generation=1, generation=1)
    term = Term(document("a", 7, item(count=1)), hosts="a", statuses=(good,))
    term.want(wanted(replicas=2, cpu_milli=3000))
    for _ in range(40):
        term.advance(4.0)
        term.run_all()
    assert term.asked == []
    assert term.kept == []


def test_paused_deployment_stays_as_it_is_whatever_is_desired() -> None:
    term = rolled_out()
    term.want(wanted(generation=2, replicas=3))
    term.run_all()
    before = term.counts()
    term.want(wanted(generation=2, replicas=9, is_paused=True))
    term.settle()
    assert term.counts() == before
    assert status(term)["state"] == "paused"
    term.want(wanted(generation=2, replicas=3))
    term.settle()
    assert term.counts() == {"a": {2: 1}, "b": {2: 1}, "c": {2: 1}}
    kinds = term.kinds()
    assert (kinds.count("rollout-paused"), kinds.count("rollout-resumed")) == (1, 1)


def test_drained_host_ends_empty_after_replacements_are_ready() -> None:
    term = rolled_out()
    facts(term, "a", is_cordoned=True, is_draining=True)
    term.tick()
    assert term.placed()["a"] == 1, "its replica stays until another one is ready"
    assert sum(term.placed().values()) == 4
    term.settle(("app", 1, "running"))
    assert "a" not in term.placed()
    assert sum(term.placed().values()) == 3


def test_drain_without_room_elsewhere_takes_nothing_away_and_is_explained() -> None:
    term = rolled_out("ab", cpu_milli=3000)
    facts(term, "a", is_cordoned=True, is_draining=True)
    term.settle()
    assert term.placed() == {"a": 1, "b": 1}
    assert "cpu 1000m free, needs 3000m" in " ".join(status(term)["reasons"])


def test_taint_that_evicts_moves_only_what_does_not_tolerate_it() -> None:
    term = Term(hosts="ab")
    tolerant = (parse_selector("maintenance"),)
    term.want(wanted("app", replicas=2))
    term.want(wanted("other", replicas=2, tolerate=tolerant))
    term.settle()
    facts(term, "a", taints=(Taint(key="maintenance", value="", evicts=True),))
    term.settle()
    assert term.placed("app") == {"b": 2}
    assert term.placed("other") == {"a": 1, "b": 1}


def test_replicas_leave_a_host_whose_labels_no_longer_fit_only_where_that_is_asked() -> None:
    term = Term()
    for name in "ab":
        facts(term, name, labels={"disk": "ssd"})
        term.beat(name)
    placed = (parse_selector("disk = ssd"),)
    term.want(wanted("app", replicas=2, require_labels=placed, on_label_change="evict"))
    term.want(wanted("other", replicas=2, require_labels=placed))
    term.settle()
    facts(term, "a", labels={"disk": "hdd"})
    term.settle()
    assert term.placed("app") == {"b": 2}
    assert term.placed("other") == {"a": 1, "b": 1}


def test_daemon_runs_on_every_host_and_on_those_that_join() -> None:
    term = Term(hosts="ab")
    term.want(wanted(daemon=Daemon(per_host=2)))
    assert term.placed() == {"a": 2, "b": 2}
    facts(term, "c")
    term.beat("c")
    term.settle()
    assert term.placed() == {"a": 2, "b": 2, "c": 2}
    assert status(term)["state"] == "ready"
    facts(term, "a", is_cordoned=True, is_draining=True)
    term.settle()
    assert term.placed() == {"b": 2, "c": 2}


def test_daemon_is_replaced_host_by_host() -> None:
    term = Term(hosts="abc")
    term.want(wanted(daemon=Daemon()))
    term.settle()
    term.want(wanted(generation=2, daemon=Daemon()))
    both = [host for host, counts in term.counts().items() if len(counts) > 1]
    assert len(both) == 1
    for _ in range(8):
        term.run_all()
        without = [host for host, counts in term.counts().items() if not counts]
        assert without == []
    assert term.counts() == {"a": {2: 1}, "b": {2: 1}, "c": {2: 1}}


def test_daemon_gives_way_on_hosts_without_room_for_both() -> None:
    term = Term(hosts="ab")
    term.want(wanted(daemon=Daemon(), cpu_milli=3000))
    term.settle()
    term.want(wanted(generation=2, daemon=Daemon(), cpu_milli=3000))
    for _ in range(8):
        term.run_all()
        assert sum(term.placed().values()) >= 1
    assert term.counts() == {"a": {2: 1}, "b": {2: 1}}


def test_daemon_of_an_older_generation_leaves_a_drained_host() -> None:
    term = Term(hosts="ab")
    term.want(wanted(daemon=Daemon()))
    term.settle()
    facts(term, "a", is_cordoned=True, is_draining=True)
    term.want(wanted(generation=2, daemon=Daemon()))
    term.settle()
    assert term.counts() == {"a": {}, "b": {2: 1}}


def test_patient_deployment_waits_for_a_lost_host_and_an_impatient_one_does_not() -> None:
    term = Term(hosts="ab")
    term.want(wanted("patient", replicas=2, lost_after_s=60.0))
    term.want(wanted("hasty", replicas=2, lost_after_s=3.0))
    term.want(wanted("usual", replicas=2))
    term.settle()
    for _ in range(3):
        term.advance(1.5)
        term.run_all(but="a")
    assert term.placed("hasty") == {"b": 2}
    assert term.placed("usual") == {"a": 1, "b": 1}
    for _ in range(4):
        term.advance(1.5)
        term.run_all(but="a")
    assert term.placed("usual") == {"b": 2}
    assert term.placed("patient") == {"a": 1, "b": 1}
    for _ in range(40):
        term.advance(1.5)
        term.run_all(but="a")
    assert term.placed("patient") == {"b": 2}


def test_host_that_returns_in_time_keeps_what_was_held_for_it() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=2, lost_after_s=60.0))
    term.settle()
    before = term.items("a")
    for _ in range(8):
        term.advance(1.5)
        term.run_all(but="a")
    assert "host-lost" in term.kinds()
    term.settle()
    assert term.items("a") == before
    assert term.placed() == {"a": 1, "b": 1}


def test_records_of_a_deleted_deployment_are_removed() -> None:
    orphan = DeploymentStatus(name="gone", good_generation=4, generation=4)
    term = Term(hosts="a", statuses=(orphan,))
    assert term.kept == []
    term.feed(HistoryRead(generations=()))
    term.tick()
    assert [(k.name, k.value) for k in term.kept] == [("gone", None)]


def test_probed_deployments_need_hosts_that_can_probe() -> None:
    term = Term(hosts="a")
    term.want(wanted(has_probes=True))
    assert term.placed() == {}
    facts(term, "a")
    assert status(term)["reasons"] == ["1 its release does not understand probes@1"]


@pytest.mark.parametrize("strategy", ["rolling", "canary", "recreate"])
def test_a_deployment_made_again_after_its_deletion_is_no_update_of_what_was(strategy: Any) -> None:
    update = Update(strategy=strategy, canary=CANARY.canary)
    term = rolled_out(update=update, since=90)
    term.feed(DesiredRead(name=APP, wanted=None, revision=91))
    term.want(wanted(generation=2, replicas=3, update=update, since=92), revision=92)
    term.settle()
    assert term.counts() == {"a": {2: 1}, "b": {2: 1}, "c": {2: 1}}
    assert not any(routes(term)), "there is nothing to try it against"


def test_a_deployment_made_again_is_updated_as_any_other() -> None:
    term = rolled_out(update=CANARY, since=90)
    term.want(wanted(generation=2, replicas=3, update=CANARY, since=92), revision=92)
    term.settle()
    term.want(wanted(generation=3, replicas=3, update=CANARY, since=92), revision=93)
    term.settle()
    assert sum(counts.get(3, 0) for counts in term.counts().values()) == 1
    assert sum(counts.get(2, 0) for counts in term.counts().values()) == 3
