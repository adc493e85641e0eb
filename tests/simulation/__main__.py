"""`python -m tests.simulation --seeds N [--first SEED] [--mutant NAME]`: long runs from a terminal.

Ends non-zero when a seed fails; failing seeds are listed and can be run again alone.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.invariants import Lattice
from tests.simulation.mutants import MUTANTS
from tests.simulation.playing import table

PROGRESS_S = 10.0
"""Seconds after which a line of progress is printed."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--mutant", choices=MUTANTS, default="")
    parser.add_argument("--mutants", action="store_true", help="which seed catches which bug")
    options = parser.parse_args()
    if options.mutants:
        return 0 if table() else 1
    began_s, events, failed = time.perf_counter(), 0, {}
    told_s = began_s
    for seed in range(options.first, options.first + options.seeds):
        lattice = Lattice(seed, options.mutant)
        if errors := lattice.run():
            failed[seed] = errors[0]
            sys.stdout.write(f"seed {seed}: {errors[0]}\n")
            sys.stdout.flush()
        events += lattice.world.events
        if time.perf_counter() - told_s >= PROGRESS_S:
            told_s, done = time.perf_counter(), seed + 1 - options.first
            sys.stdout.write(f"{done} of {options.seeds} seeds, {len(failed)} failed\n")
            sys.stdout.flush()
    took_s = time.perf_counter() - began_s
    sys.stdout.write(
        f"{options.seeds} seeds from {options.first}, {len(failed)} failed "
        f"{sorted(failed)}, {events} events, {events / took_s:.0f} events/s, {took_s:.1f} s\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
