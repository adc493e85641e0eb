"""Guests that take all they can get cost their neighbours little, and give back what they had."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from wasmtime import wat2wasm

from bench.asker import ask_often
from bench.guests import ALLOCATING, FLOODING, RECURSING, SPINNING
from hosts.engine.base import Program, World
from hosts.engine.turns import TICK_S
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import GuestTrapError, LatticeError
from tests.contract.engine.building import ADD, part, start
from tests.guests import components

pytestmark = pytest.mark.wasm

DEADLINE_S = 60.0
WAIT_S = 20.0
MEMORY_BYTES = 64 * 1024 * 1024
MEMORY_OF_THIS_PROCESS = Path("/proc/self/statm")
QUESTIONS = 60


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


async def load(engine: WasmtimeEngine, text: str) -> Program:
    return await engine.load([part("a", bytes(wat2wasm(text)))], [])


@asynccontextmanager
async def busy(program: Program) -> AsyncIterator[None]:
    """Run a guest again and again while the block runs."""

    async def again() -> None:
        while True:
            instance = await program.instantiate({}, World(memory_bytes_max=MEMORY_BYTES))
            with contextlib.suppress(LatticeError):
                await instance.call("", "run", [], deadline_s=DEADLINE_S)
            instance.close()
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(again)
        yield
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "text", [SPINNING, RECURSING, FLOODING], ids=["spins", "recurses", "floods"]
)
async def test_a_neighbour_is_answered_within_a_tick(engine: WasmtimeEngine, text: str) -> None:
    neighbour = await start(engine, components.add())

    async def answer() -> None:
        assert await neighbour.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3

    with anyio.fail_after(WAIT_S):
        async with busy(await load(engine, text)):
            told = await ask_often(answer, questions=QUESTIONS, rate=200, seed=1)
    # Without being interrupted a guest keeps each turn of the loop for a tick or two.
    assert told["p50_s"] < TICK_S, told
    neighbour.close()


async def test_who_dies_goes_on_when_nobody_else_has_work(engine: WasmtimeEngine) -> None:
    program = await load(engine, RECURSING)
    loop, passes, is_over = asyncio.get_running_loop(), 0, False

    def work() -> None:
        nonlocal passes
        passes += 1
        if not is_over:
            loop.call_soon(work)

    work()
    instance = await program.instantiate({}, World())
    before = passes
    with pytest.raises(GuestTrapError, match="call stack exhausted"):
        await instance.call("", "run", [], deadline_s=DEADLINE_S)
    assert passes == before
    again = await program.instantiate({}, World())
    assert passes > before + 3, "others went first"
    before = passes
    another = await program.instantiate({}, World())
    assert passes == before, "and once is enough"
    is_over = True
    again.close()
    another.close()


@pytest.mark.skipif(not MEMORY_OF_THIS_PROCESS.exists(), reason="memory is read in /proc")
async def test_memory_is_given_back_before_more_of_it_is_taken(engine: WasmtimeEngine) -> None:
    program = await load(engine, ALLOCATING)
    world = World(memory_bytes_max=MEMORY_BYTES)
    gc.collect()
    before = _resident_bytes()
    for _ in range(6):
        instance = await program.instantiate({}, world)
        assert _resident_bytes() - before < MEMORY_BYTES
        pages = await instance.call("", "run", [], deadline_s=DEADLINE_S)
        assert MEMORY_BYTES // 65536 - 16 <= pages <= MEMORY_BYTES // 65536
        instance.close()


def _resident_bytes() -> int:
    return int(MEMORY_OF_THIS_PROCESS.read_text().split()[1]) * 4096
