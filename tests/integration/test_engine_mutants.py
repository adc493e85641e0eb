"""A mutated component ends as a value or as an error, and never ends a host.

`make mutants COUNT=100000` tries as many. They are tried in a child process that also compiles,
which is fifty times faster than the child for each that a host uses. Wasmtime's validator ends the
process on some: each of those is tried again by an engine that is set up like a host's, and that
must refuse it and live.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.integration import mutants

pytestmark = pytest.mark.wasm

COUNT = int(os.environ.get("LATTICE_MUTANTS", "500"))


def start(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    directory.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", mutants.__name__, str(directory), *map(str, arguments)],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
        text=True,
    )


@pytest.mark.timeout(120 + COUNT)
def test_mutated_components_never_end_a_host(tmp_path: Path, seed: int) -> None:
    outcomes: Counter[str] = Counter()
    while (first := outcomes.total()) < COUNT:
        done = start(tmp_path / f"{first}", seed, first, COUNT)
        outcomes.update(done.stdout.splitlines())
        if done.returncode == 0:
            break
        ended = outcomes.total()
        told = f"seed {seed}, mutant {ended}"
        # By a signal: any exception but those of ours is a fault of ours.
        assert done.returncode < 0, f"{told}: {done.stderr[-4000:]}"
        host = start(tmp_path / "host", seed, ended, ended + 1, "host")
        assert host.returncode == 0, f"{told}: {host.stderr[-4000:]}"
        assert host.stdout == "refused: InvalidError\n", told
        outcomes["ended its process: a host refused it"] += 1
        shutil.rmtree(tmp_path / f"{first}")
    sys.stdout.write(f"seed {seed}: {dict(outcomes.most_common())}\n")
    assert outcomes.total() == COUNT
    assert outcomes["returned"] > COUNT // 20, f"seed {seed}: {outcomes}"
