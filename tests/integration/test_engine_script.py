"""An unmodified guest in JavaScript (QuickJS) on the WASI adapter; its builder comes from npm."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hosts.engine.base import Instance, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from tests.contract.engine.building import start
from tests.guests.interpreter import BUILD

BUILDER = "componentize-qjs@0.4.5"
SCRIPT = "test:script/script@0.1.0"
DEADLINE_S = 20.0

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.timeout(300),  # the first run fetches the builder and compiles the guest
]

_WIT = """
package test:script@0.1.0;
interface script { run: func(source: string) -> string; }
world guest { export script; }
"""

_JAVASCRIPT = """
export const script = { run(source) { return String((0, eval)(source)); } };
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A component that evaluates the JavaScript it is given, kept under `.build/`."""
    key = hashlib.sha256(f"{BUILDER}{_WIT}{_JAVASCRIPT}".encode()).hexdigest()[:16]
    path = BUILD / f"script-{key}.wasm"
    if not path.exists():
        folder = tmp_path_factory.mktemp("script")
        (folder / "guest.wit").write_text(_WIT)
        (folder / "app.js").write_text(_JAVASCRIPT)
        _build(folder)
        BUILD.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "guest.wasm", path.with_suffix(f".{os.getpid()}"))
        path.with_suffix(f".{os.getpid()}").replace(path)
    return path.read_bytes()


def _build(folder: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs npm, which builds guests in JavaScript")
    install = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", BUILDER]
    if subprocess.run(install, capture_output=True, check=False).returncode:
        pytest.skip(f"npm cannot fetch {BUILDER}")
    tool = folder / "node_modules" / ".bin" / "componentize-qjs"
    options = ["--world", "guest", "--sync", "--opt-size"]
    subprocess.run(
        [tool, "--wit", "guest.wit", "--js", "app.js", "--output", "guest.wasm", *options],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


@pytest.fixture
async def script(engine: WasmtimeEngine, guest: bytes) -> AsyncIterator[Instance]:
    instance = await start(engine, guest, world=World())
    yield instance
    instance.close()


async def test_javascript_runs_with_clock_and_chance(script: Instance) -> None:
    assert await script.call(SCRIPT, "run", ["[1, 2].map(x => x * 2)"], deadline_s=DEADLINE_S) == (
        "2,4"
    )
    before_ms = time.time() * 1000
    now_ms = float(await script.call(SCRIPT, "run", ["Date.now()"], deadline_s=DEADLINE_S))
    assert before_ms - 1 <= now_ms <= time.time() * 1000 + 1
    chance = await script.call(SCRIPT, "run", ["Math.random()"], deadline_s=DEADLINE_S)
    assert 0 <= float(chance) < 1
