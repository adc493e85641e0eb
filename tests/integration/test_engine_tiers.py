"""A large component starts with baseline code and goes on with optimised code, unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from hosts.engine import create_engine
from hosts.engine.base import World
from hosts.engine.cache import CODE_SUFFIX
from hosts.engine.program import WasmtimeProgram
from hosts.engine.tiers import HAS_BASELINE
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import InvalidError
from lattice.testing import eventually
from tests.contract.engine.building import ADD, ECHO, GATE, RUN, part
from tests.guests import components

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.skipif(not HAS_BASELINE, reason="this processor has one tier"),
]

DEADLINE_S = 20.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


async def test_running_instances_keep_their_code_and_new_ones_get_the_better(
    engine: WasmtimeEngine, tmp_path: Path
) -> None:
    asked, opened = anyio.Event(), anyio.Event()

    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        asked.set()
        await opened.wait()
        return args[0]

    program = await engine.load([part("a", components.padded(components.waiter()))], [])
    assert program.tier == "baseline"
    results: list[Any] = []

    async def run() -> None:
        instance = await program.instantiate({GATE: gate}, World())
        results.append(await instance.call(RUN, "run", [], deadline_s=DEADLINE_S))
        instance.close()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await asked.wait()
        # The one above is suspended in the middle of baseline code meanwhile.
        await eventually(lambda: program.tier == "optimised", timeout_s=DEADLINE_S)
        group.start_soon(run)
        opened.set()
    assert results == [6, 6]
    assert len(list((tmp_path / "cache").glob(f"*{CODE_SUFFIX}"))) == 1, "the baseline is removed"
    again = await engine.load([part("a", components.padded(components.waiter()))], [])
    assert again.tier == "optimised"


async def test_small_components_need_no_baseline(engine: WasmtimeEngine) -> None:
    assert (await engine.load([part("a", components.add())], [])).tier == "optimised"


async def test_without_a_baseline_a_large_component_waits_for_the_best_code(
    tmp_path: Path,
) -> None:
    engine = WasmtimeEngine(tmp_path, has_baseline=False)
    program = await engine.load([part("a", components.padded(components.add()))], [])
    assert program.tier == "optimised"
    engine.close()


async def test_a_large_file_that_is_no_component_is_refused_once(engine: WasmtimeEngine) -> None:
    bad = components.padded(components.add()) + b"\x01\x00"
    with pytest.raises(InvalidError):
        await engine.load([part("bad", bad)], [])


async def test_an_engine_that_closes_ends_its_compilers(tmp_path: Path) -> None:
    engine = WasmtimeEngine(tmp_path)
    await engine.load([part("a", components.padded(components.bulky()))], [])
    engine.close()
    optimising = [each for each in threading.enumerate() if each.name == "lattice-optimise"]
    with anyio.fail_after(DEADLINE_S):
        for thread in optimising:
            await to_thread.run_sync(thread.join)


@pytest.mark.parametrize(
    ("body", "interface", "function", "args", "result"),
    [
        (components.add(), ADD, "add", [40, 2], 42),
        (components.echo(), ECHO, "echo", ["å" * 1000], "å" * 1000),
    ],
)
async def test_baseline_code_gives_the_same_results(
    engine: WasmtimeEngine,
    body: bytes,
    interface: str,
    function: str,
    args: list[Any],
    result: Any,
) -> None:
    program = await engine.load([part("a", components.padded(body))], [])
    instance = await program.instantiate({}, World())
    assert await instance.call(interface, function, args, deadline_s=DEADLINE_S) == result
    instance.close()


async def test_the_engine_of_a_host_compiles_nothing_in_its_own_process(tmp_path: Path) -> None:
    engine = create_engine(tmp_path)
    program = await engine.load([part("a", components.add())], [])
    instance = await program.instantiate({}, World())
    assert await instance.call(ADD, "add", [40, 2], deadline_s=DEADLINE_S) == 42
    instance.close()
    engine.close()
    with pytest.raises(InvalidError, match="the engine is closed"):
        await engine.load([part("b", components.echo())], [])


async def test_an_engine_for_one_instance_begins_quickly_and_compiles_nothing_behind_it(
    tmp_path: Path,
) -> None:
    body = components.padded(components.add())
    engine = create_engine(tmp_path, optimises_later=False)
    program = await engine.load([part("a", body)], [])
    assert isinstance(program, WasmtimeProgram)
    assert program.tier == "baseline"
    assert "lattice-optimise" not in {thread.name for thread in threading.enumerate()}
    engine.close()


async def test_an_engine_that_optimises_first_leaves_the_best_code_to_the_next(
    tmp_path: Path,
) -> None:
    body = components.padded(components.add())
    for choice in ({"optimises_first": True}, {"optimises_later": False}):
        engine = create_engine(tmp_path, **choice)
        program = await engine.load([part("a", body)], [])
        assert isinstance(program, WasmtimeProgram)
        assert program.tier == "optimised"
        engine.close()
