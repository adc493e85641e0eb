"""Seeds in `make test`: the cores survive all that the world does to them, and every planted bug is
caught. Longer runs: `python -m tests.simulation --seeds N`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.simulation.invariants import Lattice
from tests.simulation.mutants import MUTANTS

BUDGET_S = 12.0
"""Wall time for seeds in one test run."""

SEEDS_MIN = 20
"""Seeds that are run however slow the machine is."""

REGRESSIONS: tuple[int, ...] = ()
"""Seeds that failed once; they are run first."""

MUTANT_SEEDS_MAX = 300

MUTANT_SEEDS = {
    "counts the lease from the answer": 14,
    "forgets unknown writes and trusts its memory": 9,
    "host goes back": 3,
    "never repeats a failed write": 5,
    "writes without a fence": 14,
}
"""Seeds that are known to catch a mutant, tried first."""


@pytest.mark.slow
def test_every_invariant_holds_for_every_seed(capsys: pytest.CaptureFixture[str]) -> None:
    began_s, ran, events = time.perf_counter(), 0, 0
    failed: dict[int, str] = {}
    seeds = iter([*REGRESSIONS, *range(100_000)])
    while ran < SEEDS_MIN or time.perf_counter() - began_s < BUDGET_S:
        seed = next(seeds)
        lattice = Lattice(seed)
        if errors := lattice.run():
            failed[seed] = errors[0]
        ran += 1
        events += lattice.world.events
    with capsys.disabled():
        sys.stdout.write(f"\nsimulation: {ran} seeds, {events} events, {len(failed)} failed\n")
    assert failed == {}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_planted_bug_is_caught(mutant: str) -> None:
    hint = MUTANT_SEEDS.get(mutant, 0)
    for seed in (hint, *range(MUTANT_SEEDS_MAX)):
        if Lattice(seed, mutant).run():
            return
    pytest.fail(f"{mutant!r} survived {MUTANT_SEEDS_MAX} seeds")


def test_one_seed_gives_one_trace_whatever_the_hash_seed() -> None:
    script = (
        "from tests.simulation.invariants import Lattice\n"
        "for seed in (7, 8):\n"
        "    lattice = Lattice(seed); lattice.run(); print(lattice.world.trace)"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    assert len(traces) == 1
    assert len(set(traces.pop().split())) == 2


def test_calm_world_places_once_and_never_moves() -> None:
    lattice = Lattice(1, chaos_s=0.0)
    assert lattice.run() == []
