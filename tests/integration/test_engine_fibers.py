"""Guests of the real engine on the event loop: many at once, spinning, dying, leaking nothing."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hosts.engine.base import World
from hosts.engine.fiber import BACKTRACE_LINES_MAX
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import (
    DeadlineExceededError,
    GuestTrapError,
    IncompatibleError,
    InvalidError,
)
from tests.contract.engine.building import ECHO, GATE, HELLO, RUN, VALUES, WELCOME, part, start
from tests.guests import components

pytestmark = pytest.mark.wasm

DEADLINE_S = 20.0
MEMORY_OF_THIS_PROCESS = Path("/proc/self/statm")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


async def test_two_hundred_guests_wait_at_once(engine: WasmtimeEngine) -> None:
    asked = 0
    all_asked, opened = anyio.Event(), anyio.Event()

    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        nonlocal asked
        asked += 1
        if asked == 200:
            all_asked.set()
        await opened.wait()
        return args[0]

    program = await engine.load([part("a", components.waiter())], [])
    instances = [await program.instantiate({GATE: gate}, World()) for _ in range(200)]
    results: list[Any] = []

    async def run(index: int) -> None:
        results.append(await instances[index].call(RUN, "run", [], deadline_s=DEADLINE_S))

    async with anyio.create_task_group() as tasks:
        for index in range(200):
            tasks.start_soon(run, index)
        await all_asked.wait()
        assert results == []
        opened.set()
    assert results == [6] * 200
    for instance in instances:
        instance.close()


async def test_guest_that_computes_for_many_ticks_still_answers(engine: WasmtimeEngine) -> None:
    echo = await start(engine, components.echo())
    text = "x" * 1_000_000
    for _ in range(20):
        assert await echo.call(ECHO, "echo", [text], deadline_s=DEADLINE_S) == text
    echo.close()


async def test_arguments_of_an_import_outlive_its_suspension(engine: WasmtimeEngine) -> None:
    async def greet(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        name = args[0]
        await anyio.lowlevel.checkpoint()
        gc.collect()
        bytearray(1_000_000)  # reuse what may have been freed
        await anyio.lowlevel.checkpoint()
        return f"<{name}>"

    instance = await start(engine, components.greeter(), imports={HELLO: greet})
    for size in (0, 1, 50, 10_000):
        name = "ä" * size
        answer = await instance.call(WELCOME, "welcome", [name], deadline_s=DEADLINE_S)
        assert answer == f"<{name}>"
    instance.close()


@pytest.mark.skipif(not MEMORY_OF_THIS_PROCESS.exists(), reason="memory is read in /proc")
async def test_twenty_thousand_calls_leak_nothing(engine: WasmtimeEngine) -> None:
    async def greet(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        return args[0]

    values = await start(engine, components.values())
    greeter = await start(engine, components.greeter(), imports={HELLO: greet})
    record = {"x": 1, "y": 2.0, "name": "n" * 100}
    options = [None, [None], ["z" * 200]]
    name = "g" * 2000

    async def calls(count: int) -> None:
        for _ in range(count):
            assert await values.call(VALUES, "record", [record], deadline_s=DEADLINE_S) == record
            got = await values.call(VALUES, "options", [options], deadline_s=DEADLINE_S)
            assert got == options
            with pytest.raises(InvalidError):
                await values.call(VALUES, "options", [["z", ["z" * 999, 1]]], deadline_s=1.0)
            assert await greeter.call(WELCOME, "welcome", [name], deadline_s=DEADLINE_S) == name

    await calls(500)
    before = _resident_bytes()
    await calls(5_000)
    # 4 MB are 200 bytes for each call: any value that was forgotten would be more.
    assert _resident_bytes() - before < 4_000_000
    values.close()
    greeter.close()


@pytest.mark.skipif(not MEMORY_OF_THIS_PROCESS.exists(), reason="memory is read in /proc")
async def test_instances_that_die_in_every_way_leak_nothing(engine: WasmtimeEngine) -> None:
    async def cancelled(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        await anyio.sleep_forever()

    async def wrong(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        return "ten"

    waiter = await engine.load([part("a", components.waiter())], [])
    trap = await engine.load([part("a", components.hostile()["trap"])], [])
    birth = await engine.load([part("a", components.hostile()["trap-at-birth"])], [])

    async def die() -> None:
        instance = await waiter.instantiate({GATE: cancelled}, World())
        with pytest.raises(DeadlineExceededError):
            await instance.call(RUN, "run", [], deadline_s=0.0001)
        instance = await waiter.instantiate({GATE: wrong}, World())
        with pytest.raises(IncompatibleError):
            await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
        instance = await trap.instantiate({}, World())
        with pytest.raises(GuestTrapError):
            await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
        with pytest.raises(GuestTrapError):
            await birth.instantiate({}, World())

    for _ in range(200):
        await die()
    before = _resident_bytes()
    for _ in range(1000):
        await die()
    assert _resident_bytes() - before < 4_000_000  # a store alone takes 10 kB


def _resident_bytes() -> int:
    gc.collect()
    return int(MEMORY_OF_THIS_PROCESS.read_text().split()[1]) * 4096


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("trap", "unreachable"),
        ("divide-by-zero", "integer divide by zero"),
        ("out-of-bounds", "out of bounds"),
        ("recurse", "call stack exhausted"),
        ("grow-trap", "unreachable"),
    ],
)
async def test_trap_tells_its_cause_and_a_bounded_backtrace(
    engine: WasmtimeEngine, name: str, cause: str
) -> None:
    world = World(memory_bytes_max=16 * 1024 * 1024)
    instance = await start(engine, components.hostile()[name], world=world)
    with pytest.raises(GuestTrapError, match=cause) as caught:
        await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert len(caught.value.message.splitlines()) <= BACKTRACE_LINES_MAX + 1
    assert instance.is_dead


async def test_broken_results_of_a_guest_are_traps(engine: WasmtimeEngine) -> None:
    for function in ("invalid-utf8", "out-of-bounds", "bad-char", "bad-case"):
        instance = await start(engine, components.hostile()["bad-results"])
        with pytest.raises(GuestTrapError):
            await instance.call("test:guest/results@0.1.0", function, [], deadline_s=DEADLINE_S)


async def test_memory_stops_growing_at_its_limit(engine: WasmtimeEngine) -> None:
    world = World(memory_bytes_max=16 * 1024 * 1024)
    instance = await start(engine, components.hostile()["grow"], world=world)
    assert await instance.call(RUN, "run", [], deadline_s=DEADLINE_S) in (14, 15)
    instance.close()


async def test_memory_that_never_fits_is_refused_at_instantiation(engine: WasmtimeEngine) -> None:
    with pytest.raises(InvalidError, match="memory"):
        await start(engine, components.hostile()["huge-memory"])


async def test_close_during_a_call_lets_it_end(engine: WasmtimeEngine) -> None:
    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        instance.close()
        await anyio.lowlevel.checkpoint()
        return args[0]

    instance = await start(engine, components.waiter(), imports={GATE: gate})
    assert await instance.call(RUN, "run", [], deadline_s=DEADLINE_S) == 6
    assert instance.is_dead


async def test_concurrent_loads_compile_once(
    engine: WasmtimeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="hosts.engine")
    parts = [part("a", components.add())]

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(engine.load, parts, [])
    compiled = [each for each in caplog.messages if "compiled in" in each]
    assert len(compiled) == 1


SCRIPT = """
import asyncio, sys
from pathlib import Path
import anyio
import anyio.lowlevel
from hosts.engine.base import World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from tests.contract.engine.building import GATE, RUN, part
from tests.guests import components

async def main() -> None:
    engine = WasmtimeEngine(Path(sys.argv[1]))
    program = await engine.load([part("a", components.waiter())], [])
    spin = await engine.load([part("a", components.hostile()["spin"])], [])

    async def gate(interface, function, args):
        await anyio.lowlevel.checkpoint()
        return args[0]

    async def never(interface, function, args):
        await anyio.sleep_forever()

    instance = await program.instantiate({GATE: gate}, World())
    assert await instance.call(RUN, "run", [], deadline_s=5) == 6
    waiting = await program.instantiate({GATE: never}, World())
    spinning = await spin.instantiate({}, World())
    tasks = [asyncio.ensure_future(each.call(RUN, "run", [], deadline_s=60))
             for each in (waiting, spinning)]
    await asyncio.wait(tasks, timeout=0.05)
    print("suspended", flush=True)
    END

RUNNER(main())
"""


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
@pytest.mark.parametrize("end", ["return", "raise SystemExit(0)"])
def test_process_with_suspended_guests_ends_cleanly(tmp_path: Path, runner: str, end: str) -> None:
    run = "asyncio.run" if runner == "asyncio" else "__import__('uvloop').run"
    script = textwrap.dedent(SCRIPT).replace("RUNNER", run).replace("END", end)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "suspended\n", "")
