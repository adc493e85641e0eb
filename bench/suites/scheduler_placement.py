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
from dataclasses import replace

from bench.case import Case
from bench.fleets import demands, fleet
from bench.greedy import Greedy
from bench.placing import DEPLOYMENTS, UTILISATION, Situation
from lattice.model.host import Capacity, Device
from lattice.model.ids import DeploymentName, HostId
from lattice.model.scheduling import DeviceRequest, Placement
from scheduler.placement.model import Candidate, Changes, Demand
from scheduler.placement.plan import State, plan
from scheduler.placement.scores import NORMAL

CASES = (
    "place_100k_1k",
    "place_1m_10k",
    "noop_replan_1m",
    "replan_one_host_lost_1m",
    "replan_10pct_lost_1m",
    "versus_loop",
    "place_devices_1k",
    "preempt_500_10k",
)

REPEATED = 5
"""Samples of a plan; each lasts long enough to be one."""

PRIORITY = 9
"""Of those who drive out others."""

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
    if "place_devices_1k" in wanted:
        found.append(_devices())
    if "preempt_500_10k" in wanted:
        found.append(_preempting())
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


def _devices() -> Case:
    """Return the case beside `place_100k_1k` in which every fourth host has eight devices."""
    gpus = tuple(Device(id=f"gpu{n}", memory_bytes=80 << 30) for n in range(8))
    hosts = [replace(host, devices=gpus if at % 4 == 0 else ())
             for at, host in enumerate(fleet(1000))]  # fmt: skip
    asked = [
        DeviceRequest(kind="gpu", count=1), DeviceRequest(kind="gpu", count=2),
        DeviceRequest(kind="gpu", share_milli=500), DeviceRequest(kind="gpu", share_milli=250),
    ]  # fmt: skip
    wanted = demands(DEPLOYMENTS, 100, hosts, UTILISATION)
    wanted += [
        Demand(deployment=DeploymentName(f"model-{n}"), generation=1, count=35,
               placement=Placement(cpu_milli=100, devices=(asked[n % 4],)))
        for n in range(40)
    ]  # fmt: skip
    everything = Changes(
        hosts={host.id: host for host in hosts}, demands={each.key: each for each in wanted}
    )
    granted: list[tuple[int, int]] = []

    async def place() -> float:
        gc.collect()
        began_s = time.perf_counter()
        _, made = plan(State.empty(), everything)
        elapsed_s = time.perf_counter() - began_s
        held = sum(len(each) for grants in made.grants.values() for each in grants.values())
        granted.append((held, sum(each.count for each in made.unplaced)))
        return elapsed_s

    return Case(
        name="place_devices_1k",
        what="place_100k_1k, and 1,400 replicas that ask for devices, which 250 of the hosts have",
        ours=place,
        peer_name="none",
        unit="s",
        is_clocked=True,
        warm_up=0,
        repetitions=REPEATED,
        figures=lambda: {"grants": granted[-1][0], "unplaced_replicas": granted[-1][1]},
    )


def _preempting() -> Case:
    """Return the case in which 500 replicas of a high priority come to a full fleet."""
    room = Capacity(cpu_milli=4000, memory_bytes=8 << 30, slots=64)
    hosts = {
        (host := HostId(f"host-{n:05}")): Candidate(
            id=host, labels={}, interfaces=(), capacity=room
        )
        for n in range(10_000)
    }

    def asking(name: str, count: int, cpu_milli: int, priority: int) -> Demand:
        placement = Placement(
            cpu_milli=cpu_milli, memory_bytes=256 << 20, priority=priority,
            preempt="lower" if priority == PRIORITY else "never",
        )  # fmt: skip
        return Demand(deployment=DeploymentName(name), generation=1, count=count,
                      placement=placement)  # fmt: skip

    low = [asking(f"low-{n}", 400, 1000, n % 5) for n in range(100)]
    full, _ = plan(State.empty(), Changes(hosts=hosts, demands={each.key: each for each in low}))
    high = asking("high", 500, 1500, PRIORITY)

    async def preempt() -> float:
        began_s = time.perf_counter()
        _, made = plan(full, Changes(demands={high.key: high}))
        elapsed_s = time.perf_counter() - began_s
        assert len({each.host for each in made.evictions}) == high.count
        return elapsed_s

    return Case(
        name="preempt_500_10k",
        what="a plan in which 500 replicas drive out lower priorities, on 10,000 full hosts",
        ours=preempt,
        peer_name="none",
        unit="ms",
        is_clocked=True,
        warm_up=1,
        limit=200.0,
    )


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
