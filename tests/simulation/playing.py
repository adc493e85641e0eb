"""Plays seeds within a budget of time, and looks for the seed that catches a planted bug."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import count

from tests.conftest import FIGURES
from tests.simulation.invariants import Lattice
from tests.simulation.mutants import MUTANTS
from tests.simulation.regressions import MUTANT_SEEDS, REGRESSIONS

BUDGET_S = 35.0
"""Wall time for the seeds of one half in one test run."""

SEEDS_MIN = 100
"""Seeds of one half that are run however slow the machine is."""

MUTANT_SEEDS_MAX = 120
"""Seeds that a planted bug may survive when the known one does not catch it any more."""


def play(parity: int, record: Callable[[str, object], None]) -> None:
    """Run even or odd seeds, those that failed once first, and `record` how many."""
    began_s, ran, events = time.perf_counter(), 0, 0
    failed: dict[int, str] = {}
    first = [seed for seed in REGRESSIONS if seed % 2 == parity]
    for position, fresh in enumerate(count(parity, 2)):
        seed = first[position] if position < len(first) else fresh
        if ran >= SEEDS_MIN and time.perf_counter() - began_s > BUDGET_S:
            break
        lattice = Lattice(seed)
        if errors := lattice.run():
            failed[seed] = errors[0]
        ran, events = ran + 1, events + lattice.world.events
    record(FIGURES, f"simulation: {ran} seeds, {events} events, {len(failed)} failed")
    assert failed == {}


def caught(mutant: str) -> tuple[int, str] | None:
    """Return the seed that catches a planted bug, and what it broke."""
    for seed in (MUTANT_SEEDS.get(mutant, 0), *range(MUTANT_SEEDS_MAX)):
        if errors := Lattice(seed, mutant).run():
            return seed, errors[0]
    return None


def table() -> bool:
    """Print which seed catches which planted bug; tell whether each is caught."""
    is_all = True
    for mutant in MUTANTS:
        found = caught(mutant)
        is_all &= found is not None
        seed, what = found or ("-", "survives")
        sys.stdout.write(f"{mutant:48} {seed!s:>5}  {what[:100]}\n")
    return is_all
