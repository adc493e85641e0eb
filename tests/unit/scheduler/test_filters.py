"""Each rule of placement by example: what it refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.model.host import Device, Taint
from lattice.model.ids import DeploymentName, HostId
from lattice.model.labels import parse_selector
from lattice.model.scheduling import DeviceRequest, Spread
from scheduler.placement.filters import refusal, refusals
from scheduler.placement.model import Demand
from scheduler.placement.rooms import Domains, Room, Surroundings
from scheduler.placement.surroundings import refusing_of, surroundings_of
from tests.unit.scheduler.builders import MIB, candidate, demand

DB, WEB = DeploymentName("db"), DeploymentName("web")


def room(*there: tuple[str, int], **fields: Any) -> Room:
    made = Room(candidate("a", **fields))
    for name, count in there:
        made.take(demand(name), count)
    return made


def words(need: Demand, where: Room, around: Surroundings | None = None) -> list[str]:
    return [each.text for each in refusals(need, where, around or Surroundings())]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": "lost"}, "lost: no heartbeat"),
        ({"state": "silent"}, "not heard of since the scheduler took over"),
        ({"features": ()}, "its release does not understand replicas@1"),
        ({"is_cordoned": True}, "cordoned"),
        ({"is_draining": True}, "draining"),
        ({"is_frozen": True}, "target is being written"),
        ({"taints": (Taint(key="gpu"),)}, "taint gpu is not tolerated"),
        ({"taints": (Taint(key="for", value="db"),)}, "taint for=db is not tolerated"),
        ({"slots": 0}, "slots 0 free, needs 1"),
    ],
)
def test_a_host_that_is_so_refuses(fields: dict[str, Any], text: str) -> None:
    assert words(demand(), room(**fields)) == [text]


def test_a_taint_is_tolerated_by_a_selector_of_its_key_only() -> None:
    tainted = room(taints=(Taint(key="for", value="db"),))
    for text in ("for", "for = db", "for in (db, web)"):
        assert words(demand(tolerate=(parse_selector(text),)), tainted) == []
    for text in ("for = web", "!gpu", "other", "other != db"):
        assert words(demand(tolerate=(parse_selector(text),)), tainted) != []


def test_every_unmet_label_and_interface_is_a_reason_of_its_own() -> None:
    need = demand(
        require_labels=(parse_selector("zone = eu"), parse_selector("!spot")),
        interfaces=("a:b/c@1.2.0", "d:e/f@0.2.0"),
    )
    host = room(labels={"zone": "us", "spot": "yes"}, interfaces=("a:b/c@1.0.0", "d:e/f@0.3.0"))
    assert words(need, host) == [
        "label zone=us, needs zone = eu",
        "label spot=yes, needs !spot",
        "does not offer d:e/f@0.2.0",
    ]


def test_together_needs_each_deployment_on_the_host_in_any_generation() -> None:
    need = demand(together=(DB, WEB))
    assert words(need, room(("db", 1))) == ["no replica of web runs there"]
    assert words(need, room(("db", 1), ("web", 1))) == []


def test_apart_holds_in_both_directions() -> None:
    assert words(demand(apart=(DB,)), room(("db", 1))) == ["db runs there, to be kept apart from"]
    others = (demand("db", apart=(DeploymentName("app"),)),)
    around = surroundings_of(demand(), [], refusing_of(others))
    assert words(demand(), room(("db", 1)), around) == ["db runs there and keeps app away"]
    assert words(demand("other"), room(("db", 1))) == []


def test_a_host_takes_no_more_of_a_generation_than_its_maximum() -> None:
    need = demand(per_host_max=2)
    assert words(need, room(("app", 1))) == []
    assert words(need, room(("app", 2))) == ["has 2 of it, at most 2 on one host"]
    assert words(demand(per_host_max=2, generation=2), room(("app", 2))) == []


def test_a_hard_spread_refuses_what_makes_the_skew_too_large() -> None:
    need = demand(spread=(Spread(key="zone", is_hard=True),))
    around = Surroundings(spread={"zone": Domains(counts={"eu": 2, "us": 1}, fewest=1)})
    text = "zone=eu would have 3, the emptiest zone has 1, skew at most 1"
    assert words(need, room(labels={"zone": "eu"}), around) == [text]
    assert words(need, room(labels={"zone": "us"}), around) == []
    assert words(need, room(), around) == ["no label zone to spread over"]
    soft = demand(spread=(Spread(key="zone"),))
    assert words(soft, room(), around) == []


def test_a_full_domain_counts_and_one_of_lost_or_cordoned_hosts_does_not() -> None:
    need = demand(spread=(Spread(key="zone", is_hard=True),))
    eu, us = Room(candidate("a", labels={"zone": "eu"})), candidate("b", labels={"zone": "us"})
    eu.take(need, 1)
    for fields, fewest in (
        ({"slots": 0}, 0),
        ({"is_frozen": True}, 0),
        ({"is_cordoned": True}, 1),
        ({"state": "lost"}, 1),
    ):
        other = Room(candidate("b", labels=us.labels, **fields))
        around = surroundings_of(need, [eu, other], {})
        assert around.spread["zone"].fewest == fewest


def test_too_few_domains_count_as_having_an_empty_one() -> None:
    need = demand(spread=(Spread(key="zone", is_hard=True, domains_min=2),))
    eu = Room(candidate("a", labels={"zone": "eu"}))
    eu.take(need, 1)
    around = surroundings_of(need, [eu], {})
    assert around.spread["zone"].fewest == 0
    assert refusal(need, eu, around) is not None


def test_lacks_of_capacity_tell_what_is_left_and_what_is_needed() -> None:
    need = demand(cpu_milli=500, memory_bytes=128 * MIB, slots=3)
    host = room(("db", 1), cpu_milli=400, memory_mib=64, slots=3)
    assert words(need, host) == [
        "slots 2 free, needs 3",
        "cpu 400m free, needs 500m",
        "memory 64 MiB free, needs 128 MiB",
    ]


def test_devices_that_are_not_there_or_taken_refuse() -> None:
    need = demand(devices=(DeviceRequest(count=1),))
    assert words(need, room()) == ["devices: no device of class gpu"]
    assert words(need, room(devices=(Device(id="gpu0"),))) == []


def test_the_first_refusal_is_by_what_the_host_is_before_what_it_has_left() -> None:
    need = demand(cpu_milli=500, avoid={HostId("a"): "trap: unreachable\nbacktrace"})
    host = room(cpu_milli=100, is_cordoned=True)
    assert words(need, host) == [
        "cordoned",
        "failed there, waits before it is tried again: trap: unreachable",
        "cpu 100m free, needs 500m",
    ]
    first = refusal(need, host)
    assert first is not None
    assert first.kind == "cordoned"
