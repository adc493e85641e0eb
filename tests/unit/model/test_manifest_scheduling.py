"""What a deployment asks of the scheduler is read in full; wishes nobody can meet are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice.errors import InvalidError
from lattice.model.labels import Selector, parse_selector
from lattice.model.manifest import parse_deployment, to_document
from lattice.model.manifest_scheduling_checks import contradiction
from lattice.model.scheduling import Daemon, DeviceRequest, Job, Preference, Scale
from tests.unit.model.builders import minimal
from tests.unit.model.scheduling_builders import KEYS, SELECTORS

SERVICE = {"name": "s", "image": "s.wasm"}


def faults(**fields: object) -> list[str]:
    with pytest.raises(InvalidError) as caught:
        parse_deployment(minimal(**fields))
    return list(caught.value.faults)


def placement_faults(**fields: object) -> list[str]:
    return faults(placement=fields)


def devices(*entries: dict[str, object]) -> tuple[DeviceRequest, ...]:
    placement = {"require": {"devices": list(entries)}}
    return parse_deployment(minimal(placement=placement)).placement.devices


def test_each_way_to_say_how_many_arrives_in_the_model() -> None:
    assert parse_deployment(minimal(daemon={})).daemon == Daemon(per_host=1)
    assert parse_deployment(minimal(singleton=True)).is_singleton
    scale = {"min": 1, "max": 9, "on": "concurrency", "target": 5, "idle": "1m"}
    assert parse_deployment(minimal(scale=scale)).scale == Scale(
        minimum=1, maximum=9, target=5, idle_s=60.0
    )
    job = {"completions": 8, "parallelism": 4, "attempts": 2, "ttl": "2h"}
    assert parse_deployment(minimal(job=job, services=[SERVICE])).job == Job(
        completions=8, parallelism=4, attempts=2, ttl_s=7200.0
    )


def test_of_the_ways_to_say_how_many_at_most_one_is_given() -> None:
    found = faults(replicas=2, daemon={}, singleton=True, scale={"max": 2})
    assert [line.split(";")[0] for line in found] == [
        "daemon: stands beside `replicas`",
        "singleton: stands beside `replicas`",
        "scale: stands beside `replicas`",
    ]
    assert parse_deployment(minimal(replicas=2, singleton=False)).replicas == 2


def test_devices_are_whole_ones_or_a_share_of_one() -> None:
    assert devices({}) == (DeviceRequest(count=1),)
    assert devices({"share": 0.25}) == (DeviceRequest(share_milli=250),)
    assert devices({"share": "250m"}) == (DeviceRequest(share_milli=250),)
    require = {"devices": [{"count": 1, "share": "1"}, {"share": "1001m"}, {"count": 0}]}
    found = placement_faults(require=require)
    assert [line.partition(",")[0].partition(";")[0] for line in found] == [
        "placement.require.devices[1].share: expected 1m to 1",
        "placement.require.devices[2].count: expected 1 to 16",
        "placement.require.devices[0].share: stands beside `count`",
    ]


@pytest.mark.parametrize("field", ["require", "prefer"])
def test_an_expression_over_devices_that_cannot_be_read_is_told_with_its_place(field: str) -> None:
    text: object = ["memory >="] if field == "prefer" else "memory >="
    (found,) = placement_faults(require={"devices": [{field: text}]})
    assert found.startswith(f"placement.require.devices[0].{field}")
    assert "expected" in found


def test_one_selector_of_a_preference_is_a_text_and_several_are_a_list() -> None:
    one = {"labels": "disk = ssd", "weight": 50}
    two = {"labels": ["disk = ssd", "gpu"], "weight": 50}
    document = minimal(placement={"prefer": [one, two]})
    ssd, gpu = Selector("disk", "in", ("ssd",)), Selector("gpu", "exists")
    deployment = parse_deployment(document)
    assert deployment.placement.prefer == (
        Preference(weight=50, labels=(ssd,)),
        Preference(weight=50, labels=(ssd, gpu)),
    )
    assert to_document(deployment) == document


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"scale": {"min": 3, "max": 2}}, "scale.min: is 3, more than max 2"),
        ({"scale": {}}, "scale.max: is missing (replicas at most)"),
        (
            {"scale": {"max": 2, "on": "gpu_busy"}},
            "scale.on: expected concurrency or queue, found 'gpu_busy'",
        ),
        (
            {"daemon": {"perHost": 3}, "placement": {"maxPerHost": 2}},
            "daemon.perHost: is 3, more than placement.maxPerHost 2",
        ),
        ({"singleton": "yes"}, "singleton: expected true or false, found 'yes'"),
        (
            {"job": {}},
            "job: needs a service that runs by itself and ends (it exports wasi:cli/run)",
        ),
        (
            {"job": {}, "services": [SERVICE], "ready": {"http": "/"}},
            "ready: a job takes no calls, it has no probes",
        ),
        (
            {"job": {}, "services": [{**SERVICE, "restart": {"policy": "always"}}]},
            "services[0].restart.policy: a service of a job must end, expected on-failure or never",
        ),
        ({"ready": {}}, "ready: expected one of export, http, found none of them"),
        (
            {"live": {"export": "#a", "http": "/"}},
            "live: expected one of export, http, found export and http",
        ),
        (
            {"ready": {"export": "ping"}},
            (
                "ready.export: 'ping' names no function, expected interface#function, "
                "or #function at the root"
            ),
        ),
        (
            {"ready": {"http": "healthz"}},
            "ready.http: 'healthz' is no path of a request, expected for example /healthz",
        ),
        (
            {"update": {"maxSurge": 0}},
            "update.maxSurge: is 0 as maxUnavailable is, so nothing could be replaced",
        ),
        (
            {"update": {"canary": {}}},
            "update.canary: goes with the strategy canary, found rolling",
        ),
        (
            {"update": {"minReady": "2m"}},
            "update.minReady: leaves no time of progressDeadline: 2m of 2m",
        ),
        (
            {"update": {"strategy": "blue-green"}},
            "update.strategy: expected rolling, canary or recreate, found 'blue-green'",
        ),
        ({"lostAfter": "100ms"}, "lostAfter: expected 500ms to 168h, found '100ms'"),
    ],
)
def test_a_wish_about_numbers_and_times_that_cannot_be_met_is_refused(
    fields: dict[str, object], fault: str
) -> None:
    assert faults(**fields) == [fault]


@pytest.mark.parametrize(
    ("placement", "fault"),
    [
        (
            {"require": {"labels": ["zone in (eu, us)", "zone notin (eu, us)"]}},
            "require.labels: no host can meet 'zone in (eu, us)' and 'zone notin (eu, us)'",
        ),
        (
            {"require": {"labels": ["cores > 4", "cores < 6", "cores < 5"]}},
            "require.labels: no host can meet 'cores > 4' and 'cores < 6' and 'cores < 5'",
        ),
        (
            {"prefer": [{"labels": ["gpu", "!gpu"], "weight": 1}]},
            "prefer[0].labels: no host can meet 'gpu' and '!gpu'",
        ),
        (
            {"prefer": [{"labels": "gpu", "weight": 0}]},
            "prefer[0].weight: a weight of 0 counts nothing",
        ),
        (
            {"prefer": [{"labels": "gpu", "weight": 101}]},
            "prefer[0].weight: expected -100 to 100, found 101",
        ),
        (
            {"prefer": [{"weight": 1}]},
            "prefer[0]: expected one of labels, near, apart, found none of them",
        ),
        (
            {"prefer": [{"near": "x", "apart": "y", "weight": 1}]},
            "prefer[0]: expected one of labels, near, apart, found near and apart",
        ),
        (
            {"prefer": [{"labels": "gpu", "topology": "zone", "weight": 1}]},
            "prefer[0].topology: goes with `near` or `apart`",
        ),
        (
            {"prefer": [{"near": "d", "weight": 1}]},
            (
                "prefer[0].near: names this deployment itself, expected another; "
                "`spread` is for its own replicas"
            ),
        ),
        ({"together": ["d"]}, "together[0]: names this deployment itself, expected another"),
        (
            {"together": ["x"], "apart": ["x"]},
            "apart[0]: 'x' stands at placement.together[0] already",
        ),
        (
            {"spread": [{"key": "zone"}, {"key": "zone", "hard": True}]},
            "spread[1].key: 'zone' stands at placement.spread[0] already",
        ),
        (
            {"preempt": "lower"},
            "preempt: needs a `priority` above 0: there is nothing lower to it",
        ),
        (
            {"tolerate": ["!gpu"]},
            "tolerate[0]: '!gpu' tolerates no taint, expected a key or `key = value`",
        ),
        ({"require": {"slots": 0}}, "require.slots: expected 1 to 1000, found 0"),
    ],
)
def test_a_wish_about_hosts_that_cannot_be_met_is_refused(
    placement: dict[str, object], fault: str
) -> None:
    assert placement_faults(**placement) == [f"placement.{fault}"]


def test_faults_across_fields_are_told_beside_those_of_single_fields() -> None:
    found = faults(
        scale={"min": 2, "max": 1, "target": 0},
        placement={"preempt": "lower", "priority": "high"},
        update={"maxSurge": 0, "minReady": 3},
    )
    assert [line.partition(":")[0] for line in found] == [
        "scale.target",
        "placement.priority",
        "update.minReady",
        "scale.min",
        "update.maxSurge",
    ]


def test_an_unknown_topology_is_no_fault() -> None:
    prefer = [{"apart": "other", "topology": "no/such-label", "weight": 5}]
    assert parse_deployment(minimal(placement={"prefer": prefer})).placement.prefer


LABELS = st.dictionaries(KEYS, st.sampled_from(["0", "5", "-7", "a", "b"]), max_size=3)


@settings(max_examples=200)
@given(st.lists(SELECTORS, max_size=4), LABELS)
def test_selectors_that_some_labels_meet_are_never_called_a_contradiction(
    selectors: list[Selector], labels: dict[str, str]
) -> None:
    if all(selector.refusal(labels) is None for selector in selectors):
        assert contradiction(selectors) is None


ONE_KEY = st.sampled_from(
    [
        "k",
        "!k",
        "k > 1",
        "k < 3",
        "k < 2",
        "k > -1",
        "k in (2, x)",
        "k notin (2)",
        "k = x",
        "k != x",
    ]
)


@settings(max_examples=200)
@given(st.lists(ONE_KEY, max_size=4))
def test_selectors_that_no_labels_meet_are_a_contradiction(texts: list[str]) -> None:
    selectors = [parse_selector(text) for text in texts]
    # These are all that the texts above can tell apart, and one that none of them names.
    every = [{}, *({"k": value} for value in ("x", "y", "-1", "0", "00", "1", "2", "02", "3"))]
    is_met = any(all(each.refusal(labels) is None for each in selectors) for labels in every)
    assert (contradiction(selectors) is None) == is_met
