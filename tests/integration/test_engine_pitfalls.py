"""Pitfalls of wasmtime's C API that would end the host's process, or hold it up: none does.

What might end the process runs in a child. `docs/explanation/pitfalls-of-the-engine.md` says which
test covers which pitfall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from wasmtime import wat2wasm

from hosts.engine import create_engine
from hosts.engine.base import Capability, Direct, Resource, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import (
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
from tests.integration.alone import engine, run_alone
from tests.integration.strains import answers, at_once

__all__ = ["engine"]  # a fixture

pytestmark = pytest.mark.wasm

DEADLINE_S = 60.0


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
