"""The demo is the product's main job: it must hold by itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_runs_to_its_end_and_the_search_survives_the_kill():
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "docsearch" / "demo.py")],
        capture_output=True, text=True, timeout=280, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    answered = re.search(r"answered again after ([0-9.]+) s", done.stdout)
    assert answered
    assert float(answered[1]) < 10
    assert "route local" in done.stdout
    assert "route remote" in done.stdout
    assert "host-lost" in done.stdout
