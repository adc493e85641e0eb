"""Plans of many replicas on many hosts: from nothing, without a change, and after losses."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from bench.case import Case
from bench.fleets import demands, fleet
from bench.greedy import Greedy
from bench.placing import DEPLOYMENTS, UTILISATION, Situation
from scheduler.placement.model import Changes
from scheduler.placement.plan import State, plan
from scheduler.placement.scores import NORMAL

CASES = (
    "place_100k_1k",
    "place_1m_10k",
    "noop_replan_1m",
    "replan_one_host_lost_1m",
    "replan_10pct_lost_1m",
    "versus_loop",
)

REPEATED = 5
"""Samples of a plan; each lasts long enough to be one."""

LOOPED = 12
"""Demands of which a loop places the replicas, out of as many as the fleet is made for."""


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case]]:
    """Yield the wanted cases; the large situation is made once for all of them."""
    found: list[Case] = []
    if "place_100k_1k" in wanted:
        found.append(_placing("place_100k_1k", 100_000, 1000, None))
    if "place_1m_10k" in wanted:
        found.append(_placing("place_1m_10k", 1_000_000, 10_000, 3.0))
    replans: Mapping[str, Callable[[Situation], Case]] = {
        "noop_replan_1m": _noop,
        "replan_one_host_lost_1m": _one_lost,
        "replan_10pct_lost_1m": _tenth_lost,
    }
    if any(name in wanted for name in replans):
        situation = Situation.of(1_000_000, 10_000)
        situation.place()
        found += [make(situation) for name, make in replans.items() if name in wanted]
    if "versus_loop" in wanted:
        found.append(_versus_loop())
    yield found


def _placing(name: str, replicas: int, hosts: int, limit: float | None) -> Case:
    situation = Situation.of(replicas, hosts)
    unplaced: list[int] = []

    async def place() -> float:
        everything = situation.everything()
        gc.collect()
        began_s = time.perf_counter()
        _, made = plan(State.empty(), everything)
        elapsed_s = time.perf_counter() - began_s
        unplaced.append(sum(each.count for each in made.unplaced))
        return elapsed_s

    def figures() -> Mapping[str, float]:
        command = (sys.executable, "-m", "bench.placing", str(replicas), str(hosts))
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return {**json.loads(done.stdout), "unplaced_replicas": max(unplaced)}

    return Case(
        name=name,
        what=f"a plan from nothing of {replicas} replicas of {DEPLOYMENTS} deployments with all "
        f"constraints on {hosts} hosts, which they fill to {UTILISATION:.0%}",
        ours=place,
        peer_name="see versus_loop",
        unit="s",
        is_clocked=True,
        warm_up=0,
        repetitions=REPEATED,
        limit=limit,
        figures=figures,
    )


def _noop(situation: Situation) -> Case:
    async def again() -> float:
        changes = situation.again()
        began_s = time.perf_counter()
        _, made = plan(situation.state, changes)
        elapsed_s = time.perf_counter() - began_s
        assert not made.changed
        return elapsed_s

    return Case(
        name="noop_replan_1m",
        what="a plan after all demands and hosts of place_1m_10k were announced again, unchanged",
        ours=again,
        peer_name="none",
        unit="ms",
        is_clocked=True,
        warm_up=1,
        limit=20.0,
    )


def _one_lost(situation: Situation) -> Case:
    draw = random.Random(3)
    churn: list[tuple[int, int]] = []

    async def lose() -> float:
        gone = [draw.choice(situation.hosts).id]
        began_s = time.perf_counter()
        made = situation.lose(gone)
        elapsed_s = time.perf_counter() - began_s
        churn.append(_minimal(situation.churn(made, gone)))
        return elapsed_s

    return Case(
        name="replan_one_host_lost_1m",
        what="a plan of place_1m_10k after a host is lost; only what it ran moves",
        ours=lose,
        peer_name="none",
        unit="ms",
        is_clocked=True,
        warm_up=1,
        limit=150.0,
        figures=lambda: _churned(churn),
    )


def _tenth_lost(situation: Situation) -> Case:
    draw = random.Random(3)
    churn: list[tuple[int, int]] = []

    async def lose() -> float:
        gone = [host.id for host in draw.sample(situation.hosts, len(situation.hosts) // 10)]
        began_s = time.perf_counter()
        made = situation.lose(gone)
        elapsed_s = time.perf_counter() - began_s
        churn.append(_minimal(situation.churn(made, gone)))
        return elapsed_s

    return Case(
        name="replan_10pct_lost_1m",
        what="a plan of place_1m_10k after every tenth host is lost; only what they ran moves",
        ours=lose,
        peer_name="none",
        unit="s",
        is_clocked=True,
        warm_up=0,
        repetitions=REPEATED,
        figures=lambda: _churned(churn),
    )


def _minimal(churn: tuple[int, int]) -> tuple[int, int]:
    lost, moved = churn
    assert lost == moved, f"{lost} replicas were lost, {moved} moved"
    return churn


def _churned(churn: Sequence[tuple[int, int]]) -> Mapping[str, float]:
    return {
        "lost_replicas": sum(lost for lost, _ in churn) / len(churn),
        "moved_replicas": sum(moved for _, moved in churn) / len(churn),
    }


def _versus_loop() -> Case:
    """Return the comparison: a sample of the demands of a fleet, on all of its hosts."""
    hosts = fleet(1000)
    made_for = demands(DEPLOYMENTS, 100, hosts, UTILISATION)
    # Equal priorities and no other deployments near: the loop places them in the order given.
    sample = sorted(
        (d for d in made_for if not d.placement.priority and not d.placement.together),
        key=lambda demand: demand.key,
    )[:: DEPLOYMENTS // LOOPED // 2][:LOOPED]
    empty, _ = plan(State.empty(), Changes(hosts={host.id: host for host in hosts}))
    results: dict[str, object] = {}

    def ours() -> None:
        state = empty
        for demand in sample:
            state, made = plan(state, Changes(demands={demand.key: demand}))
        results["ours"] = {host: dict(counts) for host, counts in made.assignments.items()}

    def peer() -> None:
        loop = Greedy(hosts)
        loop.place_all(sample, {demand.key: demand.count for demand in sample}, NORMAL)
        results["peer"] = loop.counts()

    def check() -> None:
        ours()
        peer()
        assert results["ours"] == results["peer"], "the loop places otherwise"

    return Case(
        name="versus_loop",
        what=f"a replica of {LOOPED} of the demands of place_100k_1k, on its 1,000 hosts",
        ours=ours,
        peer=peer,
        peer_name="a loop in Python over replicas and hosts, with the same rules, scores, answers",
        operations=sum(demand.count for demand in sample),
        warm_up=0,
        repetitions=REPEATED,
        target=300.0,
        check=check,
    )
