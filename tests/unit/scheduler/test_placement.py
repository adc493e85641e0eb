"""Placement by example: where replicas go, what stays, and what an explanation says."""

from __future__ import annotations

from lattice.model.ids import DeploymentName, HostId
from lattice.model.labels import parse_selector
from scheduler.placement.model import Changes, Plan
from scheduler.placement.plan import plan, plan_anew
from scheduler.placement.state import State
from tests.unit.scheduler.builders import MIB, candidate, demand

APP = (DeploymentName("app"), 1)
EU = (parse_selector("zone = eu"),)


def counts(made: Plan) -> dict[str, int]:
    return {host: sum(each.values()) for host, each in made.assignments.items()}


def test_replicas_spread_over_hosts_before_they_share_one() -> None:
    hosts = [candidate(name) for name in "abc"]
    assert counts(plan_anew([demand(count=3)], hosts, {})) == {"a": 1, "b": 1, "c": 1}
    assert sorted(counts(plan_anew([demand(count=5)], hosts, {})).values()) == [1, 2, 2]


def test_single_replicas_of_many_deployments_do_not_all_take_the_first_host() -> None:
    hosts = [candidate(name) for name in "abcd"]
    made = plan_anew([demand(f"app-{n}", cpu_milli=10) for n in range(8)], hosts, {})
    assert list(counts(made).values()) == [2, 2, 2, 2]
    homes = {
        host
        for n in range(20)
        for host, number in counts(plan_anew([demand(f"solo-{n}")], hosts, {})).items()
        if number
    }
    assert homes == set("abcd")


def test_freer_host_is_preferred() -> None:
    hosts = [candidate("small", cpu_milli=1000), candidate("large", cpu_milli=8000)]
    assert counts(plan_anew([demand(cpu_milli=500)], hosts, {})) == {"small": 0, "large": 1}


def test_placed_replicas_stay_although_another_host_is_emptier() -> None:
    hosts = [candidate("a"), candidate("b")]
    made = plan_anew([demand(count=3)], hosts, {HostId("a"): {APP: 3}})
    assert counts(made) == {"a": 3, "b": 0}


def test_surplus_leaves_the_fullest_host_first() -> None:
    hosts = [candidate("a"), candidate("b")]
    made = plan_anew([demand(count=2)], hosts, {HostId("a"): {APP: 3}, HostId("b"): {APP: 1}})
    assert counts(made) == {"a": 1, "b": 1}


def test_replica_stays_when_its_host_is_cordoned_or_relabelled_but_not_when_lost() -> None:
    current = {HostId("a"): {APP: 1}}
    need = demand(require_labels=EU)
    spare = candidate("b", labels={"zone": "eu"})
    for host in (candidate("a", is_cordoned=True), candidate("a", labels={"zone": "us"})):
        assert counts(plan_anew([need], [host, spare], current)) == {"a": 1, "b": 0}
    assert counts(plan_anew([need], [candidate("a", state="lost"), spare], current)) == {
        "a": 0,
        "b": 1,
    }


def test_replica_leaves_a_host_on_which_it_failed() -> None:
    need = demand(avoid={HostId("a"): "trap"})
    made = plan_anew([need], [candidate("a"), candidate("b")], {HostId("a"): {APP: 1}})
    assert counts(made) == {"a": 0, "b": 1}


def test_replica_leaves_a_host_that_no_longer_offers_the_interface() -> None:
    need = demand(interfaces=("wasi:keyvalue/store@0.2.1",))
    offers = candidate("b", interfaces=("wasi:keyvalue/store@0.2.0",))
    made = plan_anew([need], [candidate("a"), offers], {HostId("a"): {APP: 1}})
    assert counts(made) == {"a": 0, "b": 1}, "versions of one semver track stand for each other"


def test_explanation_counts_hosts_by_first_failing_reason() -> None:
    hosts = [
        candidate("a", labels={"zone": "us"}),
        candidate("b", labels={"zone": "us"}),
        candidate("c", labels={"zone": "eu"}, memory_mib=64),
    ]
    (unplaced,) = plan_anew([demand(memory_bytes=128 * MIB, require_labels=EU)], hosts, {}).unplaced
    assert unplaced.text == (
        "0/3 hosts: 2 label zone=us, needs zone = eu; 1 memory 64 MiB free, needs 128 MiB"
    )


def test_lack_of_capacity_shows_the_host_that_comes_closest() -> None:
    hosts = [candidate("a", cpu_milli=100), candidate("b", cpu_milli=300)]
    (unplaced,) = plan_anew([demand(cpu_milli=500)], hosts, {}).unplaced
    assert unplaced.text == "0/2 hosts: 2 cpu 300m free, needs 500m"
    assert unplaced.kinds == ("cpu",)


def test_explanation_names_every_other_kind_of_refusal() -> None:
    hosts = [
        candidate("a", state="lost"),
        candidate("b", state="silent"),
        candidate("c", is_cordoned=True),
        candidate("d", is_frozen=True),
        candidate("e", slots=0, interfaces=("x:y/z",)),
        candidate("f"),
        candidate("g"),
    ]
    need = demand(interfaces=("x:y/z",), avoid={HostId("g"): "bad image"})
    (unplaced,) = plan_anew([need], hosts, {}).unplaced
    assert set(unplaced.reasons) == {
        "1 lost: no heartbeat",
        "1 not heard of since the scheduler took over",
        "1 cordoned",
        "1 target is being written",
        "1 slots 0 free, needs 1",
        "1 does not offer x:y/z",
        "1 failed there, waits before it is tried again: bad image",
    }


def test_no_hosts_at_all_is_said() -> None:
    (unplaced,) = plan_anew([demand(count=2)], [], {}).unplaced
    assert (unplaced.count, unplaced.text) == (2, "no host has joined")


def test_many_distinct_reasons_are_summed_up() -> None:
    hosts = [candidate(f"h{n}") for n in range(12)]
    need = demand(avoid={HostId(f"h{n}"): f"trap {n}" for n in range(12)})
    (unplaced,) = plan_anew([need], hosts, {}).unplaced
    assert len(unplaced.reasons) == 9
    assert unplaced.reasons[-1] == "4 for 4 other reasons"


def test_values_of_one_label_are_one_reason() -> None:
    hosts = [candidate(f"h{n}", labels={"zone": f"z{n}"}) for n in range(3)]
    (unplaced,) = plan_anew([demand(require_labels=EU)], hosts, {}).unplaced
    assert unplaced.reasons == ("3 label zone=z2, needs zone = eu (2 more like it)",)


def test_kept_only_demand_keeps_and_never_places() -> None:
    old = demand(count=2, is_kept_only=True)
    made = plan_anew([old], [candidate("a"), candidate("b")], {HostId("a"): {APP: 1}})
    assert counts(made) == {"a": 1, "b": 0}
    assert made.unplaced == ()


def test_frozen_host_keeps_all_it_has_and_counts() -> None:
    hosts = [candidate("a", is_frozen=True), candidate("b")]
    made = plan_anew([demand(count=3)], hosts, {HostId("a"): {APP: 2}})
    assert counts(made) == {"a": 2, "b": 1}


def test_new_leader_of_two_thousand_hosts_leaves_everything_where_it_is() -> None:
    # Taken in one by one they would take minutes: each would look through those before.
    hosts = {HostId(name): candidate(name) for name in (f"host-{n:04d}" for n in range(2000))}
    asked = [demand(f"app-{number}", count=2000, cpu_milli=10) for number in range(10)]
    assigned = {host: {each.key: 1 for each in asked} for host in hosts}
    changes = Changes(hosts=hosts, demands={d.key: d for d in asked}, assigned=assigned)
    _, made = plan(State.empty(), changes)
    assert {host: dict(counts) for host, counts in made.assignments.items()} == assigned
    assert not made.changed
