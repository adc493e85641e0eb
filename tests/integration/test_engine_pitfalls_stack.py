"""Pitfalls of wasmtime's C API about the stacks that guests and host functions run on.

What might end the process runs in a child. `docs/explanation/pitfalls-of-the-engine.md` says which
test covers which pitfall.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hosts.engine.base import Instance, World
from hosts.engine.headroom import LEVELS
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import (
    GuestTrapError,
    NoRouteError,
)
from tests.contract.engine.building import (
    GATE,
    RUN,
    part,
    start,
)
from tests.guests import components
from tests.integration.alone import engine, run_alone
from tests.integration.strains import DIVE, at_once, diver, nested

__all__ = ["engine"]  # a fixture

pytestmark = pytest.mark.wasm

DEADLINE_S = 60.0


RECURSION = """
import functools, json

def by_map(n): return list(map(by_map, [n + 1]))[0]
def by_key(n): return sorted([1, 2], key=lambda _: by_key(n + 1))[0]
def by_name(n):
    class Endless:
        def __getattr__(self, name): return getattr(self, name + "x")
    return Endless().x
def by_text(n):
    nested = []
    for _ in range(100_000): nested = [nested]
    return len(repr(nested))
def by_json(n):
    nested = []
    for _ in range(100_000): nested = [nested]
    return len(json.dumps(nested))
def by_itself(n): return by_itself(n + 1)

async def main():
    engine = WasmtimeEngine(Path(sys.argv[1]))
    program = await engine.load([part("a", diver())], [])
    for deepest in (by_map, by_key, by_name, by_text, by_json, by_itself):
        for dive in (0, 1000):
            imports = {GATE: Direct({"wait": deepest})}
            instance = await program.instantiate(imports, World())
            try:
                await instance.call(DIVE, "dive", [dive], deadline_s=60)
            except RecursionError:
                print(deepest.__name__)
            instance.close()
    engine.close()

asyncio.run(main())
"""


def test_host_function_may_recurse_to_the_limit_of_python_on_the_stack_of_a_guest(
    tmp_path: Path,
) -> None:
    names = ["by_map", "by_key", "by_name", "by_text", "by_json", "by_itself"]
    expected = [name for name in names for _ in range(2)]
    assert run_alone(RECURSION, tmp_path).split() == expected


EXHAUSTED = """
async def main():
    engine = WasmtimeEngine(Path(sys.argv[1]))
    program = await engine.load([part("a", components.waiter())], [])
    outcomes = set()
    for answer in (at_once, after_a_turn, Direct({"wait": lambda ticket: ticket})):
        for left in range(200):
            instance = await program.instantiate({GATE: answer}, World())
            await instance.call(RUN, "run", [], deadline_s=60)  # all is compiled now

            async def call(depth):
                if depth:
                    return await call(depth - 1)
                return await instance.call(RUN, "run", [], deadline_s=60)

            try:
                assert await call(sys.getrecursionlimit() - left) == 6
                outcomes.add("returned")
            except RecursionError:
                outcomes.add("refused")
            instance.close()
    engine.close()
    print(sorted(outcomes))

asyncio.run(main())
"""


def test_call_at_the_limit_of_pythons_recursion_is_refused_before_a_callback_meets_it(
    tmp_path: Path,
) -> None:
    assert LEVELS > 0
    assert run_alone(EXHAUSTED, tmp_path) == "['refused', 'returned']\n"


async def test_guest_near_the_end_of_its_stack_may_call_the_host(engine: WasmtimeEngine) -> None:
    program = await engine.load([part("a", diver())], [])
    deepest, depth = 0, 1000
    while depth:
        instance = await program.instantiate({GATE: at_once}, World())
        try:
            await instance.call(DIVE, "dive", [deepest + depth], deadline_s=DEADLINE_S)
            deepest += depth
        except GuestTrapError as error:
            assert "call stack exhausted" in error.message  # noqa: PT017 - either is right
            depth //= 2
        instance.close()
    assert deepest > 1000


async def test_guest_that_overflows_its_stack_inside_anothers_call_ends_both(
    engine: WasmtimeEngine,
) -> None:
    inner = await start(engine, components.hostile()["recurse"])

    async def ask(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        return await inner.call(RUN, "run", [], deadline_s=DEADLINE_S)

    outer = await start(engine, components.waiter(), imports={GATE: ask})
    with pytest.raises(GuestTrapError, match="call stack exhausted"):
        await outer.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert (inner.is_dead, outer.is_dead) == (True, True)


async def test_five_hundred_chains_of_guests_are_suspended_at_once(engine: WasmtimeEngine) -> None:
    waiter = await engine.load([part("w", components.waiter())], [])
    all_wait, opened = anyio.Event(), anyio.Event()
    waiting = 0

    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        nonlocal waiting
        waiting += 1
        if waiting == 500:
            all_wait.set()
        await opened.wait()
        return args[0]

    chains = [
        await nested(engine, 2, await waiter.instantiate({GATE: gate}, World())) for _ in range(500)
    ]
    results: list[Any] = []

    async def run(chain: list[Instance]) -> None:
        results.append(await chain[0].call(RUN, "run", [], deadline_s=DEADLINE_S))

    async with anyio.create_task_group() as tasks:
        for chain in chains:
            tasks.start_soon(run, chain)
        await all_wait.wait()
        opened.set()
    assert results == [8] * 500
    for chain in chains:
        for instance in chain:
            instance.close()


async def test_chain_of_fifty_guests_carries_an_error_to_its_beginning(
    engine: WasmtimeEngine,
) -> None:
    async def fail(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        await anyio.lowlevel.checkpoint()
        raise NoRouteError("nobody answers")

    innermost = await start(engine, components.waiter(), imports={GATE: fail})
    chain = await nested(engine, 50, innermost)
    with pytest.raises(NoRouteError, match="nobody answers"):
        await chain[0].call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert all(instance.is_dead for instance in chain)
