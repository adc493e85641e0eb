"""How fast the simulation of the scheduler's and the hosts' cores runs, with all its invariants."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

from bench.case import Case, LeftOut

CASES = ("events_per_second",)

SEEDS = range(18)
"""The worlds that are played, one for each sample: small ones, in all timings."""


@asynccontextmanager
async def cases(wanted: Collection[str]) -> AsyncIterator[Sequence[Case | LeftOut]]:
    """Yield the wanted cases."""
    yield [_case()] if "events_per_second" in wanted else []


def _case() -> Case:
    # The simulation is a part of the tests, which need pytest and hypothesis: only when it runs.
    from tests.simulation.invariants import Lattice

    seeds = cycle(SEEDS)
    played: list[Any] = []
    real_s: list[float] = []

    async def play() -> float:
        lattice = Lattice(next(seeds))
        gc.collect()
        began_s = time.perf_counter()
        errors = lattice.run()
        elapsed_s = time.perf_counter() - began_s
        assert not errors, f"seed {lattice.world.seed}: {errors[0]}"
        played.append(lattice.world)
        real_s.append(elapsed_s)
        return elapsed_s / lattice.world.events

    return Case(
        name="events_per_second",
        what="one event of a simulated lattice of five hosts and two schedulers with faults, the "
        "invariants checked after it",
        ours=play,
        peer_name="none",
        unit="op/s",
        is_clocked=True,
        warm_up=1,
        repetitions=len(SEEDS),
        figures=lambda: {
            "virtual_s_per_s": sum(world.now_s for world in played) / sum(real_s),
            "events_per_seed": sum(world.events for world in played) / len(played),
        },
    )
