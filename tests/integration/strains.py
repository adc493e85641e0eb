"""What strains an engine: guests that dive or nest, calls that are cancelled or fail in every way.

For the tests of the engine's pitfalls, in their own process or in a child.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from wasmtime import wat2wasm

from hosts.engine.base import Direct, Instance, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import GuestTrapError, InvalidError, NoRouteError
from tests.contract.engine.building import ADD, GATE, HELLO, RUN, VALUES, WELCOME, part, start
from tests.guests import components

DEADLINE_S = 60.0

DIVE = "test:guest/dive@0.1.0"
RESULTS = "test:guest/results@0.1.0"


def diver() -> bytes:
    """Return a guest that calls itself `depth` times, and then its import `wait(depth)`.

    It exports `test:guest/dive@0.1.0`: dive(depth: u32) -> u32, what `wait` answers.
    """
    return bytes(
        wat2wasm("""(component
          (import "test:host/gate@0.1.0" (instance $gate
            (export "wait" (func (param "ticket" u32) (result u32)))))
          (core func $wait (canon lower (func $gate "wait")))
          (core module $code
            (import "gate" "wait" (func $wait (param i32) (result i32)))
            (func $dive (export "dive") (param $depth i32) (result i32)
              (if (result i32) (i32.eqz (local.get $depth))
                (then (call $wait (local.get $depth)))
                (else (call $dive (i32.sub (local.get $depth) (i32.const 1)))))))
          (core instance $main (instantiate $code
            (with "gate" (instance (export "wait" (func $wait))))))
          (func $dive (param "depth" u32) (result u32) (canon lift (core func $main "dive")))
          (instance $exports (export "dive" (func $dive)))
          (export "test:guest/dive@0.1.0" (instance $exports)))""")
    )


async def at_once(_interface: str, _function: str, args: Sequence[Any]) -> Any:
    return args[0]


async def after_a_turn(_interface: str, _function: str, args: Sequence[Any]) -> Any:
    await anyio.lowlevel.checkpoint()
    return args[0]


async def answers(engine: WasmtimeEngine) -> Any:
    """Return what another guest of the engine answers: 3."""
    instance = await start(engine, components.add())
    try:
        return await instance.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S)
    finally:
        instance.close()


async def nested(engine: WasmtimeEngine, depth: int, innermost: Instance) -> list[Instance]:
    """Return instances that each call the next one and add one, the last one `innermost`."""
    program = await engine.load([part("a", components.hostile()["calls-itself"])], [])

    def ask(callee: Instance) -> Callable[[str, str, Sequence[Any]], Any]:
        async def answer(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
            return await callee.call(RUN, "run", [], deadline_s=DEADLINE_S)

        return answer

    chain = [innermost]
    for _ in range(depth):
        chain.append(await program.instantiate({RUN: ask(chain[-1])}, World()))
    return chain[::-1]


async def cancelled_after(turns: int, call: Callable[[], Awaitable[Any]]) -> str:
    """Start a call, cancel it after so many turns of the loop; return how it ended."""
    outcome = "cancelled"

    async def run() -> None:
        nonlocal outcome
        await call()
        outcome = "returned"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    return outcome


async def churn(engine: WasmtimeEngine, count: int) -> None:
    """Call, import, fail and die in every way; all that is freed is filled with rubbish."""
    values = await engine.load([part("v", components.values())], [])
    waiter = await engine.load([part("w", components.waiter())], [])
    greeter = await engine.load([part("g", components.greeter())], [])
    bad = await engine.load([part("b", components.hostile()["bad-results"])], [])

    async def greet(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        name = args[0]
        await anyio.lowlevel.checkpoint()
        return f"<{name}>"

    def fail(_ticket: int) -> int:
        raise NoRouteError("nobody")

    for number in range(count):
        text = f"{number}-ä" * (number % 300)
        record = {"x": number, "y": 0.5, "name": text}
        instance = await values.instantiate({}, World())
        for function, value in (
            ("record", record), ("options", [None, [None], [text]]), ("variant", ["circle", 2.5]),
            ("bytes", text.encode() * 9), ("nested", [[text, ""], [], [text]]), ("string", text),
            ("flags", ["read", "run"]), ("enum", "green"), ("result", ["err", text]),
        ):  # fmt: skip
            got = await instance.call(VALUES, function, [value], deadline_s=DEADLINE_S)
            assert got == value
        with pytest.raises(InvalidError):
            await instance.call(VALUES, "nested", [[[text], [1]]], deadline_s=DEADLINE_S)
        instance.close()
        for answer in (greet, Direct({"greet": lambda name: f"<{name}>"})):
            instance = await greeter.instantiate({HELLO: answer}, World())
            got = await instance.call(WELCOME, "welcome", [text], deadline_s=DEADLINE_S)
            assert got == f"<{text}>"
            instance.close()
        instance = await waiter.instantiate({GATE: Direct({"wait": fail})}, World())
        with pytest.raises(NoRouteError):
            await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
        instance = await waiter.instantiate({GATE: after_a_turn}, World())
        await cancelled_after(number % 5, partial(instance.call, RUN, "run", [], deadline_s=9))
        instance.close()
        instance = await bad.instantiate({}, World())
        with pytest.raises(GuestTrapError):
            await instance.call(RESULTS, "invalid-utf8", [], deadline_s=DEADLINE_S)
