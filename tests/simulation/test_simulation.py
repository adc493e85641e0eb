"""Seeds in `make test`: the cores survive all that the world does to them, and every planted bug is
caught. Longer runs: `python -m tests.simulation --seeds N`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.simulation.invariants import Lattice
from tests.simulation.mutants import MUTANTS
from tests.simulation.playing import caught, play
from tests.simulation.regressions import MUTANT_SEEDS


def test_every_invariant_holds_for_even_seeds(
    record_property: Callable[[str, object], None],
) -> None:
    play(0, record_property)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_planted_bug_is_caught(mutant: str) -> None:
    assert caught(mutant) is not None, f"{mutant!r} survived"


def test_hint_of_every_mutant_names_a_mutant() -> None:
    assert {*MUTANT_SEEDS} == {*MUTANTS}


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
