"""Explanations and dry runs of one leader: what is told of its last plan."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.errors import NoRouteError, NotFoundError
from lattice.model.ids import HostId
from lattice.model.labels import parse_selector
from lattice.model.scheduling import Daemon, Job, Scale, Update
from scheduler.explaining import explain, relaxation_text, why_not
from scheduler.generations import Wanted
from scheduler.placement.filters import Kind
from scheduler.placement.relaxing import FIXED_KINDS, Relaxation
from scheduler.reconciler import DesiredRead
from scheduler.rehearsing import Proposed, demand_of, rehearse
from tests.unit.scheduler.builders import demand, wanted
from tests.unit.scheduler.term import APP, Term

EU = (parse_selector("zone = eu"),)


def told(term: Term, *given: Wanted, is_changed: bool = True) -> dict[str, Any]:
    proposed = [Proposed(wanted=each, is_changed=is_changed) for each in given]
    return dict(rehearse(term.core, term.now_s, proposed))


def test_nothing_is_explained_before_the_first_plan() -> None:
    term = Term()
    term.core.planned_at_s = None
    term.feed(DesiredRead(name=APP, wanted=wanted(), revision=90))
    for ask in (
        lambda: explain(term.core, 0.0, "app"),
        lambda: why_not(term.core, 0.0, "app", "a"),
        lambda: told(term, wanted()),
    ):
        with pytest.raises(NoRouteError, match="made no plan yet"):
            ask()


def test_unknown_deployments_and_hosts_are_named() -> None:
    term = Term(hosts="a")
    with pytest.raises(NotFoundError, match="no deployment app"):
        explain(term.core, 0.0, "app")
    term.want(wanted())
    term.settle()
    with pytest.raises(NotFoundError, match="no host z"):
        why_not(term.core, 0.0, "app", "z")


def test_explanation_counts_hosts_and_tells_how_old_it_is() -> None:
    term = Term(hosts="abc")
    term.want(wanted(replicas=2, require_labels=EU))
    term.settle()
    term.advance(1.0)
    found: Any = explain(term.core, term.now_s, "app")
    assert (found["wanted"], found["placed"], found["unplaced"]) == (2, 0, 2)
    assert (found["hosts"], found["feasible"]) == (3, 0)
    assert [(each["kind"], each["hosts"]) for each in found["reasons"]] == [("label", 3)]
    assert [(each["kind"], each["hosts"]) for each in found["relaxations"]] == [("label", 3)]
    assert found["oldest_heartbeat_s"] == 1.0
    assert found["planned_s"] >= 1.0


def test_dry_run_of_a_new_generation_stops_the_old_one() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=2))
    term.settle()
    before = term.counts()
    found = told(term, wanted(generation=2, replicas=3))
    (app,) = found["deployments"]
    assert (app["starts"], app["stops"], app["stays"], app["unplaced"]) == (3, 2, 0, 0)
    same = told(term, wanted(replicas=2), is_changed=False)
    (app,) = same["deployments"]
    assert (app["starts"], app["stops"], app["stays"]) == (0, 0, 2)
    term.settle()
    assert term.counts() == before


def test_dry_run_of_a_paused_deployment_moves_nothing() -> None:
    term = Term(hosts="ab")
    term.want(wanted(replicas=2))
    term.settle()
    (app,) = told(term, wanted(generation=2, replicas=3, is_paused=True))["deployments"]
    assert (app["paused"], app["starts"], app["stops"], app["stays"]) == (True, 0, 0, 2)


def test_dry_run_tells_who_else_would_move() -> None:
    term = Term(hosts="a")
    term.want(wanted("low", cpu_milli=3000))
    term.settle()
    high = wanted("high", cpu_milli=3000, priority=5, preempt="lower")
    found = told(term, high)
    assert [(each["name"], each["stops"]) for each in found["others"]] == [("low", 1)]
    assert found["others"][0]["reasons"] == ["1 cpu 1000m free, needs 3000m"]
    (gone,) = found["evictions"]
    assert (gone["deployment"], gone["by"], gone["host"]) == ("low", "high", "a")


@pytest.mark.parametrize(
    ("fields", "count", "per_host"),
    [
        ({"replicas": 4}, 4, 0),
        ({"is_singleton": True}, 1, 0),
        ({"daemon": Daemon(per_host=2)}, 1, 2),
        ({"job": Job(completions=5, parallelism=3)}, 3, 0),
        ({"scale": Scale(minimum=2, maximum=6)}, 2, 0),
    ],
)
def test_each_way_of_wanting_replicas_comes_to_a_demand(
    fields: dict[str, Any], count: int, per_host: int
) -> None:
    found = demand_of(wanted(**fields), None)
    assert (found.count, found.per_host) == (count, per_host)


def test_what_is_known_of_a_generation_counts_in_a_dry_run() -> None:
    standing = demand(count=5, avoid={HostId("a"): "trap"})
    scaled = wanted(scale=Scale(minimum=1, maximum=4), update=Update(unavailable_max=2))
    found = demand_of(scaled, standing)
    assert (found.count, found.avoid, found.unavailable_max) == (4, standing.avoid, 2)


def test_every_constraint_that_can_be_dropped_has_words() -> None:
    for kind in Kind.__args__:
        if kind not in FIXED_KINDS:
            text = relaxation_text(Relaxation(kind=kind, subject="x", hosts=1, free=1))
            assert text.startswith(("if ", "once ", "without the ", "without x"))
    apart = Relaxation(kind="apart", subject="of db", hosts=1)
    assert relaxation_text(apart) == "if db did not keep it away"
