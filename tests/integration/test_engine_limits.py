"""Each limit holds against a guest that wants more: a typed error, and a neighbour unharmed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hosts.engine.base import Program, World
from hosts.engine.fiber import BACKTRACE_LINES_MAX
from hosts.engine.store import CORE_INSTANCES_MAX, TABLE_ELEMENTS_MAX
from hosts.engine.tiers import HAS_BASELINE, Tier
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import DeadlineExceededError, GuestTrapError, InvalidError, LatticeError
from tests.contract.engine.building import ADD, RUN, part
from tests.guests import components

pytestmark = pytest.mark.wasm

MEMORY_BYTES = 8 * 1024 * 1024
DEADLINE_S = 20.0
TIERS: list[Tier] = ["optimised", *(["baseline"] if HAS_BASELINE else [])]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path_factory.mktemp("cache"))
    yield made
    made.close()


async def load(engine: WasmtimeEngine, body: bytes, tier: Tier) -> Program:
    """Return a program in the given tier: what is new and large begins with the baseline."""
    chosen = components.padded(body) if tier == "baseline" else body
    return await engine.load([part("a", chosen)], [])


@asynccontextmanager
async def neighbour(engine: WasmtimeEngine) -> AsyncIterator[None]:
    """Hold an instance while the block runs, and see that it and new ones work afterwards."""
    program = await engine.load([part("n", components.add())], [])
    held = await program.instantiate({}, World())
    assert await held.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
    yield
    fresh = await program.instantiate({}, World())
    for instance in (held, fresh):
        assert await instance.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
        instance.close()


async def run(engine: WasmtimeEngine, body: bytes, tier: Tier, deadline_s: float) -> Any:
    program = await load(engine, body, tier)
    instance = await program.instantiate({}, World(memory_bytes_max=MEMORY_BYTES))
    try:
        return await instance.call(RUN, "run", [], deadline_s=deadline_s)
    finally:
        instance.close()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("name", "answer"),
    [("grow", MEMORY_BYTES // 2**20 - 1), ("grow-table", TABLE_ELEMENTS_MAX // 1000 - 1)],
)
async def test_memory_and_tables_stop_growing(
    engine: WasmtimeEngine, tier: Tier, name: str, answer: int
) -> None:
    async with neighbour(engine):
        got = await run(engine, components.hostile()[name], tier, DEADLINE_S)
    assert got == answer


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("name", "expected", "words"),
    [
        ("grow-trap", GuestTrapError, "unreachable"),
        ("huge-memory", InvalidError, "memory"),
        ("recurse", GuestTrapError, "call stack exhausted"),
        ("spin", DeadlineExceededError, "did not return within"),
        ("trap", GuestTrapError, "unreachable"),
        ("trap-at-birth", GuestTrapError, "unreachable"),
        ("out-of-bounds", GuestTrapError, "out of bounds"),
        ("divide-by-zero", GuestTrapError, "divide by zero"),
    ],
)
async def test_a_limit_and_a_trap_are_typed_errors_in_both_tiers(
    engine: WasmtimeEngine, tier: Tier, name: str, expected: type[LatticeError], words: str
) -> None:
    deadline_s = 0.05 if name == "spin" else DEADLINE_S
    async with neighbour(engine):
        with pytest.raises(expected, match=words) as caught:
            await run(engine, components.hostile()[name], tier, deadline_s)
    assert len(caught.value.message.splitlines()) <= BACKTRACE_LINES_MAX + 2


async def test_a_component_of_too_many_instances_is_refused(engine: WasmtimeEngine) -> None:
    async with neighbour(engine):
        program = await engine.load([part("a", components.crowd(CORE_INSTANCES_MAX // 4, 5))], [])
        with pytest.raises(InvalidError, match="instance count too high"):
            await program.instantiate({}, World())
        allowed = await engine.load([part("a", components.crowd(CORE_INSTANCES_MAX // 4, 3))], [])
        (await allowed.instantiate({}, World())).close()
