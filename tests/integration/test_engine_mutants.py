"""A mutated component ends as a value or as an error, never with the process.

`LATTICE_MUTANTS=100000` tries as many; the seed is printed when it fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration import mutants

pytestmark = pytest.mark.wasm

COUNT = int(os.environ.get("LATTICE_MUTANTS", "500"))


@pytest.mark.timeout(60 + COUNT)
def test_mutated_components_never_end_the_process(tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    done = subprocess.run(
        [sys.executable, "-m", mutants.__name__, str(tmp_path), str(seed), str(COUNT)],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-4000:]}"
    assert "returned" in done.stdout, f"seed {seed}: {done.stdout}"
