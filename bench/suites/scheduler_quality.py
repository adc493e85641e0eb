"""How much of what is asked for is placed, against a bound that no plan can pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import numpy as np

from bench.case import Case, LeftOut
from bench.fleets import demands, fleet
from scheduler.placement.model import Candidate, Changes, Demand
from scheduler.placement.plan import State, plan

CASES = ("lp_share_92", "lp_share_97")

HOSTS, CLASSES, REPLICAS = 60, 80, 50
SEEDS = range(1, 6)

TARGETS = {"lp_share_92": 0.995, "lp_share_97": 0.99}


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases."""
    yield [_case(name) for name in CASES if name in wanted]


def _case(name: str) -> Case | LeftOut:
    try:
        import scipy.optimize  # noqa: F401 (only whether it is there)
    except ImportError:
        reason = "the linear program needs scipy: pip install lattice-runtime[bench]"
        return LeftOut(name=name, reason=reason, unit="share", target=TARGETS[name])
    utilisation = int(name.rpartition("_")[2]) / 100
    shares: list[float] = []

    async def ours() -> float:
        if not shares:  # the same each time: one look is enough
            shares.extend(_share(utilisation, seed) for seed in SEEDS)
        return 1 / (sum(shares) / len(shares))

    async def bound() -> float:
        return 1.0

    return Case(
        name=name,
        what=f"the part of {CLASSES} deployments of {REPLICAS} replicas that is placed on {HOSTS} "
        f"hosts, which all of them would fill to {utilisation:.0%}, by cpu and memory; mean of "
        f"{len(SEEDS)} seeds",
        ours=ours,
        peer=bound,
        peer_name="the optimum of the linear program, where replicas may be cut in pieces",
        unit="share",
        is_clocked=True,
        warm_up=0,
        repetitions=5,
        target=TARGETS[name],
        figures=lambda: {
            f"seed_{seed}_share": share for seed, share in zip(SEEDS, shares, strict=True)
        },
    )


def _share(utilisation: float, seed: int) -> float:
    """Return what a plan places, through the optimum of the linear program."""
    hosts = fleet(HOSTS, seed, is_plain=True)
    wanted = demands(CLASSES, REPLICAS, hosts, utilisation, seed, is_plain=True)
    state, made = plan(
        State.empty(),
        Changes(
            hosts={host.id: host for host in hosts}, demands={each.key: each for each in wanted}
        ),
    )
    missing = {(each.deployment, each.generation): each.count for each in made.unplaced}
    worth = [_worth(demand, hosts) for demand in wanted]
    placed = sum(
        each * (demand.count - missing.get(demand.key, 0))
        for each, demand in zip(worth, wanted, strict=True)
    )
    return placed / _optimum(state, wanted, hosts, worth)


def _worth(demand: Demand, hosts: Sequence[Candidate]) -> float:
    """Return which part of the fleet one replica takes, of cpu and of memory together."""
    cpu_milli = sum(host.capacity.cpu_milli for host in hosts)
    memory_bytes = sum(host.capacity.memory_bytes for host in hosts)
    asked = demand.placement
    return asked.cpu_milli / cpu_milli + asked.memory_bytes / memory_bytes


def _optimum(
    state: State, wanted: Sequence[Demand], hosts: Sequence[Candidate], worth: Sequence[float]
) -> float:
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    pairs = [
        (number, int(row))
        for number, demand in enumerate(wanted)
        for row in np.flatnonzero(state.fleet.standing(demand))
    ]
    rows, columns, values = [], [], []
    for column, (number, row) in enumerate(pairs):
        asked = wanted[number].placement
        host = state.fleet.candidates[row]
        rows += [number, len(wanted) + row, len(wanted) + len(hosts) + row]
        columns += [column] * 3
        # In parts of the host, so that all numbers are of one size.
        values += [
            1.0,
            asked.cpu_milli / host.capacity.cpu_milli,
            asked.memory_bytes / host.capacity.memory_bytes,
        ]
    bounds = [*(demand.count for demand in wanted), *([1.0] * (2 * len(hosts)))]
    matrix = coo_array((values, (rows, columns)), shape=(len(bounds), len(pairs)))
    cost = [-worth[number] for number, _ in pairs]
    found = linprog(cost, A_ub=matrix.tocsr(), b_ub=bounds, method="highs")
    assert found.success, found.message
    return float(-found.fun)
