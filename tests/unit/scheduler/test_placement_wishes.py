"""Placement by example: wishes, neighbours, spreads, priorities, daemons, the search for room."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lattice.model.ids import DeploymentName, HostId
from lattice.model.labels import parse_selector
from lattice.model.scheduling import Placement, Preference, Spread
from scheduler.placement.book import Book
from scheduler.placement.model import Candidate, Changes, Demand, Key, Limits, Plan
from scheduler.placement.plan import State, plan, plan_anew
from scheduler.placement.scores import NORMAL, terms
from tests.unit.scheduler.builders import MIB, candidate

ZONES = {name: candidate(name, labels={"zone": name[0]}) for name in ("a1", "a2", "b1", "c1")}


def demand(name: str, count: int, *, per_host: int = 0, **asked: Any) -> Demand:
    placement = replace(Placement(cpu_milli=100), **asked)
    return Demand(deployment=DeploymentName(name), generation=1, count=count, placement=placement,
                  per_host=per_host)  # fmt: skip


def where(made: Plan, name: str) -> dict[str, int]:
    key = (DeploymentName(name), 1)
    return {host: counts[key] for host, counts in made.assignments.items() if key in counts}


def current(**counts: Mapping[str, int]) -> dict[HostId, dict[Key, int]]:
    return {
        HostId(host): {(DeploymentName(name), 1): count for name, count in each.items()}
        for host, each in counts.items()
    }


def test_a_preferred_label_draws_and_a_negative_weight_repels() -> None:
    hosts = [candidate("fast", labels={"disk": "ssd"}), candidate("slow", labels={"disk": "hdd"})]
    ssd = (parse_selector("disk = ssd"),)
    for weight, home in ((50, "fast"), (-50, "slow")):
        wish = Preference(weight=weight, labels=ssd)
        assert where(plan_anew([demand("app", 1, prefer=(wish,))], hosts, {}), "app") == {home: 1}


def test_near_and_apart_count_in_the_domain_of_their_topology() -> None:
    shop = DeploymentName("shop")
    there = current(a1={"shop": 1})
    for wish, zones in (
        (Preference(weight=100, near=shop, topology="zone"), {"a"}),
        (Preference(weight=100, apart=shop, topology="zone"), {"b", "c"}),
    ):
        made = plan_anew(
            [demand("shop", 1), demand("app", 2, prefer=(wish,))], ZONES.values(), there
        )
        assert {host[0] for host in where(made, "app")} == zones


def test_a_demand_that_would_be_near_itself_gathers_and_one_apart_from_itself_scatters() -> None:
    own = DeploymentName("app")
    near = Preference(weight=100, near=own, topology="zone")
    apart = Preference(weight=100, apart=own, topology="zone")
    hosts = [candidate(f"{zone}{n}", labels={"zone": zone}) for zone in "abc" for n in range(4)]
    gathered = where(plan_anew([demand("app", 4, prefer=(near,))], hosts, {}), "app")
    assert len({host[0] for host in gathered}) == 1
    scattered = where(plan_anew([demand("app", 3, prefer=(apart,))], hosts, {}), "app")
    assert len({host[0] for host in scattered}) == 3


def test_a_hard_spread_stops_where_the_skew_would_grow_and_a_soft_one_goes_on() -> None:
    hosts = [candidate("a", labels={"zone": "a"}), candidate("b", labels={"zone": "b"}, slots=1)]
    hard = Spread(key="zone", is_hard=True)
    made = plan_anew([demand("app", 5, spread=(hard,))], hosts, {})
    assert where(made, "app") == {"a": 2, "b": 1}
    assert made.unplaced[0].count == 2
    soft = plan_anew([demand("app", 5, spread=(Spread(key="zone"),))], hosts, {})
    assert where(soft, "app") == {"a": 4, "b": 1}


def test_a_domain_that_is_missing_counts_as_empty() -> None:
    hosts = [candidate(name, labels={"zone": name}) for name in "ab"]
    spread = Spread(key="zone", max_skew=1, is_hard=True, domains_min=3)
    made = plan_anew([demand("app", 4, spread=(spread,))], hosts, {})
    assert where(made, "app") == {"a": 1, "b": 1}


def test_a_hard_spread_leaves_hosts_without_the_label_out_and_a_soft_one_takes_them_last() -> None:
    hosts = [candidate("a", labels={"zone": "a"}, slots=2), candidate("bare")]
    hard = plan_anew([demand("app", 3, spread=(Spread(key="zone", is_hard=True),))], hosts, {})
    assert where(hard, "app") == {"a": 2}
    soft = plan_anew([demand("app", 3, spread=(Spread(key="zone"),))], hosts, {})
    assert where(soft, "app") == {"a": 2, "bare": 1}


def test_several_spreads_hold_at_once() -> None:
    hosts = [
        candidate(f"{zone}{rack}", labels={"zone": zone, "rack": rack})
        for zone in "ab"
        for rack in "xy"
    ]
    spreads = (Spread(key="zone", is_hard=True), Spread(key="rack", is_hard=True))
    placed = where(plan_anew([demand("app", 4, spread=spreads)], hosts, {}), "app")
    for at in (0, 1):
        sides = [sum(n for host, n in placed.items() if host[at] == value) for value in "abxy"]
        assert sorted(side for side in sides if side) == [2, 2]


def test_victims_come_from_the_fullest_domain_and_from_hosts_that_drain() -> None:
    there = current(a1={"app": 2}, a2={"app": 1}, b1={"app": 2})
    spread = (Spread(key="zone"),)
    made = plan_anew([demand("app", 4, spread=spread)], ZONES.values(), there)
    assert where(made, "app") == {"a1": 1, "a2": 1, "b1": 2}
    drains = [*list(ZONES.values())[:2], replace(ZONES["b1"], is_draining=True)]
    made = plan_anew([demand("app", 3, spread=spread)], drains, there)
    assert where(made, "app") == {"a1": 2, "a2": 1}


def test_what_must_be_together_follows_and_circles_start_as_one() -> None:
    hosts = [candidate(name, slots=4) for name in "abc"]
    web, cache = DeploymentName("web"), DeploymentName("cache")
    made = plan_anew([demand("web", 3, together=(cache,)), demand("cache", 1)], hosts, {})
    assert set(where(made, "web")) == set(where(made, "cache"))
    circle = [demand("web", 2, together=(cache,)), demand("cache", 2, together=(web,))]
    made = plan_anew(circle, hosts, {})
    assert not made.unplaced
    assert where(made, "web").keys() == where(made, "cache").keys()
    assert len(where(made, "web")) == 2


def test_what_must_be_together_with_nobody_is_unplaced_with_the_reason() -> None:
    made = plan_anew([demand("web", 1, together=(DeploymentName("ghost"),))], [candidate("a")], {})
    assert made.unplaced[0].text == "0/1 hosts: 1 no replica of ghost runs there"


def test_those_who_are_there_keep_the_newcomer_away_that_they_want_to_be_apart_from() -> None:
    old = demand("old", 1, apart=(DeploymentName("new"),))
    hosts = [candidate("a"), candidate("b", slots=1)]
    made = plan_anew([old, demand("new", 3)], hosts, current(a={"old": 1}))
    assert where(made, "new") == {"b": 1}
    assert "old runs there and keeps new away" in made.unplaced[0].text


def test_higher_priorities_are_placed_first() -> None:
    hosts = [candidate("only", slots=2)]
    made = plan_anew([demand("a", 2), demand("z", 1, priority=10)], hosts, {})
    assert where(made, "z") == {"only": 1}
    assert where(made, "a") == {"only": 1}


def test_a_daemon_is_on_every_host_that_can_take_it_and_misses_where_room_lacks() -> None:
    hosts = [candidate("a"), candidate("b"), candidate("full", slots=1),
             candidate("off", is_cordoned=True)]  # fmt: skip
    there = current(full={"app": 1})
    made = plan_anew([demand("agent", 0, per_host=1), demand("app", 1)], hosts, there)
    assert where(made, "agent") == {"a": 1, "b": 1}
    assert [each.count for each in made.unplaced] == [1]
    joined = plan_anew([demand("agent", 0, per_host=1)], [*hosts, candidate("c")], {})
    assert set(where(joined, "agent")) == {"a", "b", "c", "full"}


def test_another_order_is_tried_when_something_fits_nowhere() -> None:
    """Those with fewest hosts first leave no host whole; the largest first, and all fit."""
    whole: dict[str, Any] = {"cpu_milli": 1000, "memory_mib": 1000, "labels": {"disk": "ssd"}}
    hosts = [candidate("a", **whole), candidate("b", **whole), candidate("tiny", cpu_milli=1)]
    asked = {"cpu_milli": 500, "memory_bytes": 500 * MIB}
    ssd = (parse_selector("disk"),)
    small = [demand(f"a-{number}", 1, require_labels=ssd, **asked) for number in range(2)]
    large = demand("z", 1, cpu_milli=1000, memory_bytes=1000 * MIB)
    assert not plan_anew([*small, large], hosts, {}).unplaced
    assert plan_anew([*small, large], hosts, {}, Limits(variants_max=1)).unplaced


def test_free_capacity_is_used_where_it_has_the_shape_of_the_request() -> None:
    wide = candidate("wide", cpu_milli=8000, memory_mib=16 * 1024)
    deep = candidate("deep", cpu_milli=8000, memory_mib=64 * 1024)
    hungry = demand("hungry", 1, cpu_milli=100, memory_bytes=2048 * MIB)
    busy = demand("busy", 1, cpu_milli=1000, memory_bytes=64 * MIB)
    made = plan_anew([hungry, busy], [wide, deep], {})
    assert where(made, "hungry") == {"deep": 1}
    assert where(made, "busy") == {"wide": 1}


def test_the_terms_of_a_score_add_up_to_what_decides() -> None:
    wish = Preference(weight=50, labels=(parse_selector("zone = b"),))
    app = demand("app", 2, prefer=(wish,))
    state, made = plan(
        State.empty(),
        Changes(hosts={each.id: each for each in ZONES.values()}, demands={app.key: app}),
    )
    assert len(where(made, "app")) == 2
    found = terms(state.draft(), state.book.numbers[app.key], HostId("b1"), NORMAL)
    assert found.preferences == 1 << 19
    assert found.own == 1 << 20
    assert found.score == found.preferences + found.alignment - found.share_after - found.own


def test_many_deployments_of_one_replica_fill_hosts_as_replicas_of_one_would() -> None:
    hosts = [candidate(name, slots=5) for name in "abcd"]
    many = [demand(f"app-{number:02d}", 1) for number in range(22)]
    made = plan_anew(many, hosts, {})
    assert {
        host: sum(counts.values()) for host, counts in made.assignments.items()
    } == dict.fromkeys("abcd", 5)
    assert [each.deployment for each in made.unplaced] == ["app-20", "app-21"]
    assert all(count == 1 for counts in made.assignments.values() for count in counts.values())
    assert not plan_anew(many, hosts, made.assignments).changed


def test_the_hash_seed_of_the_interpreter_changes_no_plan() -> None:
    script = (
        "from bench.fleets import demands, fleet\n"
        "from scheduler.placement.plan import plan_anew\n"
        "hosts = fleet(40)\n"
        "made = plan_anew(demands(60, 12, hosts, 1.1), hosts, {})\n"
        "print(sorted((h, sorted(c.items())) for h, c in made.assignments.items()), made.unplaced)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True, check=True, text=True,
        ).stdout
        for seed in ("0", "1", "7")
    }  # fmt: skip
    assert len(outputs) == 1


def test_numbers_of_demands_that_are_gone_are_given_out_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scheduler.placement.book.COMPACTED_MIN", 2)
    hosts: list[Candidate] = [candidate("a"), candidate("b")]
    state, _ = plan(State.empty(), Changes(hosts={each.id: each for each in hosts}))
    stays = demand("stays", 1)
    for number in range(12):
        new = demand(f"app-{number}", 1)
        gone = (DeploymentName(f"app-{number - 1}"), 1)
        state, made = plan(state, Changes(demands={new.key: new, stays.key: stays, gone: None}))
        assert sum(where(made, "stays").values()) == 1
        assert sum(where(made, f"app-{number}").values()) == 1
    assert len(state.book.demands) < 10
    assert isinstance(state.book, Book)
