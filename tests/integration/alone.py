"""An engine for a test, and processes of its own for what might end one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.engine.wasmtime_engine import WasmtimeEngine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


PREAMBLE = """
import asyncio, faulthandler, gc, os, sys
from pathlib import Path
import anyio, anyio.lowlevel
from hosts.engine.base import Direct, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from tests.contract.engine.building import GATE, RUN, part
from tests.guests import components
from tests.integration.strains import DIVE, after_a_turn, at_once, churn, diver, nested
faulthandler.enable()
"""


def run_alone(script: str, *arguments: object) -> str:
    """Run a script in a process of its own; return what it wrote, after it ended in peace."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        check=False,
        cwd=ROOT,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-4000:]
    return done.stdout
