"""Pitfalls of wasmtime's C API that would end the host's process, or hold it up: none does.

What might end the process runs in a child. `docs/explanation/pitfalls-of-the-engine.md` says which
test covers which pitfall.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from wasmtime import wat2wasm

from hosts.engine import create_engine
from hosts.engine.base import Capability, Direct, Instance, Resource, World
from hosts.engine.headroom import LEVELS
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import (
    GuestTrapError,
    InvalidError,
    NoRouteError,
)
from tests.contract.engine.building import (
    ADD,
    GATE,
    RUN,
    part,
    start,
)
from tests.guests import components
from tests.integration.strains import DIVE, answers, at_once, diver, nested

pytestmark = pytest.mark.wasm

DEADLINE_S = 60.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


# --- the stack of a guest -----------------------------------------------------------------------

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


# --- what a callback may raise ------------------------------------------------------------------


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("is_direct", [True, False])
async def test_whatever_a_host_function_raises_reaches_the_caller(
    engine: WasmtimeEngine, fault: type[BaseException], is_direct: bool
) -> None:
    def refuse(_ticket: int) -> int:
        raise fault("of the host function")

    async def refuse_later(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        await anyio.lowlevel.checkpoint()
        raise fault("of the host function")

    gate = Direct({"wait": refuse}) if is_direct else refuse_later
    instance = await start(engine, components.waiter(), imports={GATE: gate})
    with pytest.raises(fault, match="of the host function"):
        await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert instance.is_dead
    assert await answers(engine) == 3


async def test_errors_of_guests_that_fail_at_once_are_told_apart(engine: WasmtimeEngine) -> None:
    program = await engine.load([part("a", components.waiter())], [])
    opened = anyio.Event()
    told: dict[int, str] = {}

    async def run(number: int) -> None:
        async def fail(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
            await opened.wait()
            raise NoRouteError(f"failure {number}")

        instance = await program.instantiate({GATE: fail}, World())
        with pytest.raises(NoRouteError) as caught:
            await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
        told[number] = caught.value.message

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(run, number)
        await anyio.lowlevel.checkpoint()
        opened.set()
    assert told == {number: f"failure {number}" for number in range(20)}


# --- memory that is Python's --------------------------------------------------------------------

CHURN = """
async def main():
    gc.set_threshold(1)
    engine = WasmtimeEngine(Path(sys.argv[1]))
    await churn(engine, int(sys.argv[2]))
    engine.close()
    print("done")

asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["compiled", "checked"])
def test_no_freed_memory_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "debug")
    monkeypatch.setenv("MALLOC_PERTURB_", "165")  # glibc fills what is freed
    if mode == "checked":
        monkeypatch.setenv("LATTICE_ENGINE", "checked")
    assert run_alone(CHURN, tmp_path, 40) == "done\n"


# --- what is refused before it runs -------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("(func async (result u32))", "async"),
        ("(func (result (stream u8)))", "stream"),
        ("(func (result (future u8)))", "future"),
        ('(func (param "a" (stream u8)))', "stream"),
    ],
)
async def test_import_that_cannot_cross_the_c_api_is_refused_by_name(
    engine: WasmtimeEngine, function: str, words: str
) -> None:
    text = f'(component (import "test:new/thing@0.1.0" (instance (export "f" {function}))))'
    with pytest.raises(InvalidError) as caught:
        await start(engine, bytes(wat2wasm(text)), imports={"test:new/thing@0.1.0": at_once})
    assert words in str(caught.value)
    assert await answers(engine) == 3


async def test_component_that_needs_async_functions_is_refused(engine: WasmtimeEngine) -> None:
    text = """(component
      (core module $code (func (export "run") (result i32) (i32.const 7)))
      (core instance $main (instantiate $code))
      (func (export "run") async (result u32) (canon lift (core func $main "run"))))"""
    with pytest.raises(InvalidError, match="async"):
        await engine.load([part("a", bytes(wat2wasm(text)))], [])


async def test_host_survives_what_ends_its_compiler(tmp_path: Path) -> None:
    engine = create_engine(tmp_path)
    try:
        await engine.load([part("odd", components.ends_the_validator())], [])
    except InvalidError as error:  # another release of wasmtime may take it
        assert error.message.startswith("odd did not compile")  # noqa: PT017 - or no error
    program = await engine.load([part("add", components.add())], [])
    instance = await program.instantiate({}, World())
    assert await instance.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
    instance.close()
    engine.close()


LENDER = """(component
  (import "test:lending/pairs@0.1.0" (instance $pairs
    (export "thing" (type $thing (sub resource)))
    (export "[constructor]thing" (func (param "value" u32) (result (own $thing))))
    (export "sum" (func (param "a" (borrow $thing)) (param "b" (borrow $thing)) (result u32)))
    (export "all" (func (param "things" (list (borrow $thing))) (result u32)))))
  (core func $new (canon lower (func $pairs "[constructor]thing")))
  (core func $sum (canon lower (func $pairs "sum")))
  (core module $store (memory (export "memory") 1))
  (core instance $store (instantiate $store))
  (core func $all (canon lower (func $pairs "all") (memory (core memory $store "memory"))))
  (core module $code
    (import "host" "memory" (memory 1))
    (import "host" "new" (func $new (param i32) (result i32)))
    (import "host" "sum" (func $sum (param i32 i32) (result i32)))
    (import "host" "all" (func $all (param i32 i32) (result i32)))
    (func (export "sum") (result i32)
      (call $sum (call $new (i32.const 30)) (call $new (i32.const 12))))
    (func (export "same") (result i32) (local $thing i32)
      (local.set $thing (call $new (i32.const 21)))
      (call $sum (local.get $thing) (local.get $thing)))
    (func (export "all") (result i32)
      (i32.store (i32.const 0) (call $new (i32.const 10)))
      (i32.store (i32.const 4) (call $new (i32.const 11)))
      (i32.store (i32.const 8) (call $new (i32.const 21)))
      (call $all (i32.const 0) (i32.const 3))))
  (core instance $main (instantiate $code (with "host" (instance
    (export "memory" (memory $store "memory")) (export "new" (func $new))
    (export "sum" (func $sum)) (export "all" (func $all))))))
  (func (export "sum") (result u32) (canon lift (core func $main "sum")))
  (func (export "same") (result u32) (canon lift (core func $main "same")))
  (func (export "all") (result u32) (canon lift (core func $main "all"))))"""


class Lent:
    def __init__(self, value: int) -> None:
        self.value = value


@pytest.mark.parametrize("is_direct", [True, False])
@pytest.mark.parametrize("function", ["sum", "same", "all"])
async def test_host_function_may_borrow_several_handles(
    engine: WasmtimeEngine, function: str, is_direct: bool
) -> None:
    """With its concurrency support on, wasmtime 50.0.1 traps here (`hosts.engine.tiers`)."""

    def sum_at_once(a: Lent, b: Lent) -> int:
        return a.value + b.value

    def all_at_once(things: list[Lent]) -> int:
        return sum(thing.value for thing in things)

    async def sum_later(a: Lent, b: Lent) -> int:
        await anyio.lowlevel.checkpoint()
        return a.value + b.value

    async def all_later(things: list[Lent]) -> int:
        await anyio.lowlevel.checkpoint()
        return sum(thing.value for thing in things)

    resources = {"thing": Resource(Lent, lambda _thing: None)}
    direct: dict[str, Callable[..., Any]] = {"[constructor]thing": Lent}
    if is_direct:
        pairs = Capability(direct | {"sum": sum_at_once, "all": all_at_once}, {}, resources)
    else:
        pairs = Capability(direct, {"sum": sum_later, "all": all_later}, resources)
    imports = {"test:lending/pairs@0.1.0": pairs}
    instance = await start(engine, bytes(wat2wasm(LENDER)), imports=imports)
    for _ in range(3):
        assert await instance.call("", function, [], deadline_s=DEADLINE_S) == 42
    instance.close()


# --- the end of the process ---------------------------------------------------------------------

ENDING = """
kept = []

async def main():
    engine = WasmtimeEngine(Path(sys.argv[1]))
    waiter = await engine.load([part("w", components.waiter())], [])
    spin = await engine.load([part("s", components.hostile()["spin"])], [])

    async def never(interface, function, args):
        await anyio.sleep_forever()

    innermost = await waiter.instantiate({GATE: never}, World())
    chain = await nested(engine, 3, innermost)
    spinning = await spin.instantiate({}, World())
    unused = await waiter.instantiate({GATE: at_once}, World())
    kept.extend([engine, waiter, spin, chain, spinning, unused])
    calls = [each.call(RUN, "run", [], deadline_s=60) for each in (chain[0], spinning)]
    kept.extend([asyncio.ensure_future(each) for each in calls])
    await asyncio.wait(kept[-2:], timeout=0.05)
    # Not waited for: it compiles while the process ends.
    kept.append(asyncio.ensure_future(engine.load([part("b", components.bulky())], [])))
    for _ in range(10):
        await asyncio.sleep(0)
    print("suspended", flush=True)
    END

RUN_IT
"""


@pytest.mark.parametrize(
    ("run", "end"),
    [
        ("asyncio.run(main())", "return"),
        ("asyncio.run(main())", "sys.exit(0)"),
        ("asyncio.run(main())", "gc.collect(); gc.freeze()"),
        ("loop = asyncio.new_event_loop(); loop.run_until_complete(main()); os._exit(0)", "return"),
        ("import uvloop; uvloop.run(main())", "return"),
    ],
)
def test_process_ends_in_peace_with_guests_in_any_state(tmp_path: Path, run: str, end: str) -> None:
    assert run_alone(ENDING.replace("END", end).replace("RUN_IT", run), tmp_path) == "suspended\n"
