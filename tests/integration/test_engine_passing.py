"""Values of the real engine that pass from guest to guest unconverted: who owns them, and when."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from wasmtime import wat2wasm

from hosts.engine.base import Forward, Instance, Lease, World
from hosts.engine.passing import Moved, Passed
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.component.types import Primitive, TupleType, WitType
from lattice.errors import DeadlineExceededError, GuestTrapError, IncompatibleError
from tests.contract.engine.building import GATE, HELLO, RUN, WELCOME, part, start
from tests.contract.engine.leases import CountedLease, To
from tests.guests import components, relays

pytestmark = pytest.mark.wasm

DEADLINE_S = 20.0
FIRST, SECOND, THIRD = (f"test:relay/{name}@0.1.0" for name in ("first", "second", "third"))
MEMORY_OF_THIS_PROCESS = Path("/proc/self/statm")

claimed = pytest.mark.parametrize("is_claimed", [True, False], ids=["claimed", "called"])

CALLS_THEN_SPINS = """
(component
  (import "test:guest/run@0.1.0" (instance $next (export "run" (func (result u32)))))
  (core func $ask (canon lower (func $next "run")))
  (core module $code
    (import "next" "run" (func $ask (result i32)))
    (func (export "run") (result i32) (drop (call $ask)) (loop $again (br $again)) unreachable))
  (core instance $main (instantiate $code (with "next" (instance (export "run" (func $ask))))))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


async def _same(_interface: str, _function: str, args: Sequence[Any]) -> Any:
    return args[0]


def _relay(imports: str, exports: str, seed: int) -> tuple[bytes, dict[str, WitType]]:
    """Return a component of random types, the same for the same seed, and what it passes on."""
    types = relays.Types(imports, seed)
    functions: dict[str, WitType] = {f"f{i}": types.make(3) for i in range(3)}
    functions["many"] = TupleType((Primitive("u64"),) * 15 + (relays.BYTES, types.make(2)))
    return relays.relay(types, functions, exports=exports), functions


@claimed
@pytest.mark.parametrize("seed", range(15))
async def test_value_of_any_type_passes_unchanged(
    engine: WasmtimeEngine, seed: int, is_claimed: bool
) -> None:
    caller_body, functions = _relay(SECOND, FIRST, seed)
    callee_body, _ = _relay(THIRD, SECOND, seed)
    choose = random.Random(seed)
    for name, wit in functions.items():
        callee = await start(engine, callee_body, imports={THIRD: _same})
        to = To(callee, is_claimed)
        caller = await start(engine, caller_body, imports={SECOND: to.forward()})
        for _ in range(5):
            value = relays.value(wit, choose)
            assert await caller.call(FIRST, name, [value], deadline_s=DEADLINE_S) == value
        assert len(to.asked) == (0 if is_claimed else 5)
        caller.close()
        callee.close()


async def test_nobody_converts_what_is_passed_on(engine: WasmtimeEngine) -> None:
    answers: list[object] = []

    async def call(interface: str, function: str, args: Sequence[Any]) -> Any:
        assert type(args) is Passed
        answer = await hello.call(interface, function, args, deadline_s=DEADLINE_S)
        answers.append(type(answer))
        return answer

    hello = await start(engine, components.hello())
    greeter = await start(engine, components.greeter(), imports={HELLO: Forward(call)})
    assert await greeter.call(WELCOME, "welcome", ["Åsa"], deadline_s=DEADLINE_S) == "Hello, Åsa!"
    assert answers == [Moved]
    greeter.close()
    hello.close()


@claimed
async def test_types_that_differ_in_a_name_are_converted(
    engine: WasmtimeEngine, is_claimed: bool
) -> None:
    text = (components.FOLDER / "plain" / "hello.wat").read_text(encoding="utf-8")
    assert text.count('(param "name" string)') == 1
    other = text.replace('(param "name" string)', '(param "who" string)')
    hello = await start(engine, bytes(wat2wasm(other)))
    greeter = await start(
        engine, components.greeter(), imports={HELLO: To(hello, is_claimed).forward()}
    )
    for name in ("Åsa", "Bo"):
        answer = await greeter.call(WELCOME, "welcome", [name], deadline_s=DEADLINE_S)
        assert answer == f"Hello, {name}!"
    greeter.close()
    hello.close()


@claimed
async def test_arguments_that_pass_on_outlive_the_callback_of_the_caller(
    engine: WasmtimeEngine, is_claimed: bool
) -> None:
    async def greet(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
            gc.collect()
            bytearray(1_000_000)  # reuse what may have been freed
        return f"<{args[0]}>"

    inner = await start(engine, components.greeter(), imports={HELLO: greet})
    middle_to = To(inner, is_claimed, interface=WELCOME)
    renamed = Forward(
        lambda _interface, _function, args: middle_to.forward().call(WELCOME, "welcome", args),
        (lambda *_: _claim(middle_to, "welcome")) if is_claimed else None,
    )
    outer = await start(engine, components.greeter(), imports={HELLO: renamed})
    for size in (0, 1, 50, 10_000):
        name = "ä" * size
        answer = await outer.call(WELCOME, "welcome", [name], deadline_s=DEADLINE_S)
        assert answer == f"<{name}>"
    outer.close()
    inner.close()


def _claim(to: To, function: str) -> Any:
    claim = to.forward().claim
    assert claim is not None
    return claim(WELCOME, function)


async def test_arguments_are_readable_after_the_call(engine: WasmtimeEngine) -> None:
    kept: list[Sequence[Any]] = []

    async def call(interface: str, function: str, args: Sequence[Any]) -> Any:
        kept.append(args)
        return await hello.call(interface, function, args, deadline_s=DEADLINE_S)

    hello = await start(engine, components.hello())
    greeter = await start(engine, components.greeter(), imports={HELLO: Forward(call)})
    for name in ("Åsa", "B" * 1000):
        await greeter.call(WELCOME, "welcome", [name], deadline_s=DEADLINE_S)
    greeter.close()
    hello.close()
    gc.collect()
    assert [list(args) for args in kept] == [["Åsa"], ["B" * 1000]]
    assert [len(args) for args in kept] == [1, 1]


async def test_result_of_another_call_is_refused(engine: WasmtimeEngine) -> None:
    hello = await start(engine, components.hello())
    answers: list[Any] = []

    async def first(interface: str, function: str, args: Sequence[Any]) -> Any:
        answers.append(await hello.call(interface, function, args, deadline_s=DEADLINE_S))
        answers.append(await hello.call(interface, function, args, deadline_s=DEADLINE_S))
        return answers[0]

    async def unused(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        return answers[1]

    greeter = await start(engine, components.greeter(), imports={HELLO: Forward(first)})
    await greeter.call(WELCOME, "welcome", ["Åsa"], deadline_s=DEADLINE_S)
    with pytest.raises(IncompatibleError, match="another call"):
        await greeter.call(WELCOME, "welcome", ["Åsa"], deadline_s=DEADLINE_S)
    waiter = await start(engine, components.waiter(), imports={GATE: Forward(unused)})
    with pytest.raises(IncompatibleError, match="another call"):
        await waiter.call(RUN, "run", [], deadline_s=DEADLINE_S)
    for instance in (greeter, waiter, hello):
        instance.close()


@claimed
async def test_callee_that_spins_holds_nobody_for_long(
    engine: WasmtimeEngine, is_claimed: bool
) -> None:
    spinning = await start(engine, components.hostile()["spin"])
    to = To(spinning, is_claimed)
    caller = await start(engine, components.hostile()["calls-itself"], imports={RUN: to.forward()})
    delays: list[float] = []
    is_over = False

    async def run() -> None:
        nonlocal is_over
        with pytest.raises(DeadlineExceededError):
            await caller.call(RUN, "run", [], deadline_s=0.3)
        is_over = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while not is_over:
            started = time.perf_counter()
            with anyio.move_on_after(0.01):
                await anyio.sleep_forever()
            delays.append(time.perf_counter() - started - 0.01)
    assert max(delays) < 0.1, f"longest delay {max(delays) * 1e3:.0f} ms"
    assert spinning.is_dead
    assert caller.is_dead


@claimed
async def test_caller_that_spins_after_its_call_is_still_interrupted(
    engine: WasmtimeEngine, is_claimed: bool
) -> None:
    callee = await start(engine, components.waiter(), imports={GATE: _same})
    to = To(callee, is_claimed)
    caller = await start(engine, bytes(wat2wasm(CALLS_THEN_SPINS)), imports={RUN: to.forward()})
    with pytest.raises(DeadlineExceededError):
        await caller.call(RUN, "run", [], deadline_s=0.3)
    assert not callee.is_dead
    callee.close()


async def test_call_begins_later_when_the_turn_is_spent(engine: WasmtimeEngine) -> None:
    hello = await start(engine, components.hello())
    to = To(hello, is_claimed=True)
    greeters = [
        await start(engine, components.greeter(), imports={HELLO: to.forward()}) for _ in range(20)
    ]
    spinning = await start(engine, components.hostile()["spin"])
    wanted = {f"Hello, {number}!" for number in range(20)}
    answers: set[str] = set()

    async def spin() -> None:
        with pytest.raises(DeadlineExceededError):
            await spinning.call(RUN, "run", [], deadline_s=0.3)

    async def greet(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        name = str(number)
        answers.add(await greeters[number].call(WELCOME, "welcome", [name], deadline_s=DEADLINE_S))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spin)
        await anyio.lowlevel.checkpoint()
        for number in range(20):
            greeters[number] = await start(
                engine, components.greeter(), imports={HELLO: await _own_hello(engine)}
            )
            tasks.start_soon(greet, number)
    assert answers == wanted


async def _own_hello(engine: WasmtimeEngine) -> Forward:
    return To(await start(engine, components.hello()), is_claimed=True).forward()


@claimed
async def test_guests_that_call_each_other_without_end_get_an_error(
    engine: WasmtimeEngine, is_claimed: bool
) -> None:
    program = await engine.load([part("a", components.hostile()["calls-itself"])], [])
    instances: list[Instance] = []

    async def call(interface: str, function: str, args: Sequence[Any]) -> Any:
        return await (await anew()).call(interface, function, args, deadline_s=DEADLINE_S)

    def claim(_interface: str, _function: str) -> Lease | None:
        return CountedLease(instances.pop(), RUN, "run", DEADLINE_S) if instances else None

    async def anew() -> Instance:
        return await program.instantiate(
            {RUN: Forward(call, claim if is_claimed else None)}, World()
        )

    if is_claimed:
        instances += [await anew() for _ in range(500)]
    first = await anew()
    with pytest.raises(GuestTrapError, match="guests call each other too deep"):
        await first.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert first.is_dead


@pytest.mark.skipif(not MEMORY_OF_THIS_PROCESS.exists(), reason="memory is read in /proc")
async def test_hundred_thousand_calls_that_pass_on_leak_nothing(engine: WasmtimeEngine) -> None:
    callee = await start(engine, components.hello())
    to = To(callee, is_claimed=True)
    claimed_greeter = await start(engine, components.greeter(), imports={HELLO: to.forward()})

    async def drop(interface: str, function: str, args: Sequence[Any]) -> Any:
        await callee.call(interface, function, args, deadline_s=DEADLINE_S)  # nobody takes it
        return await callee.call(interface, function, args, deadline_s=DEADLINE_S)

    called_greeter = await start(engine, components.greeter(), imports={HELLO: Forward(drop)})
    name = "v" * 200

    async def calls(count: int) -> None:
        for number in range(count):
            for greeter in (claimed_greeter, called_greeter):
                answer = await greeter.call(WELCOME, "welcome", [name], deadline_s=DEADLINE_S)
                assert answer == f"Hello, {name}!"
            to.leases.clear()
            if number % 100 == 0:
                await anyio.lowlevel.checkpoint()  # the loop forgets timers that were cancelled

    await calls(2_000)
    before = _resident_bytes()
    await calls(50_000)
    # 4 MB are 40 bytes for each call: any value that was forgotten would be more.
    assert _resident_bytes() - before < 4_000_000
    for instance in (claimed_greeter, called_greeter, callee):
        instance.close()


@pytest.mark.skipif(not MEMORY_OF_THIS_PROCESS.exists(), reason="memory is read in /proc")
async def test_guests_that_die_while_values_pass_leak_nothing(engine: WasmtimeEngine) -> None:
    async def never(_interface: str, _function: str, _args: Sequence[Any]) -> Any:
        await anyio.sleep_forever()

    async def die(is_claimed: bool) -> None:
        inner = await start(engine, components.greeter(), imports={HELLO: never})
        to = To(inner, is_claimed, interface=WELCOME)
        claim = (lambda *_: _claim(to, "welcome")) if is_claimed else None
        forward = Forward(
            lambda _interface, _function, args: to.forward().call(WELCOME, "welcome", args), claim
        )
        outer = await start(engine, components.greeter(), imports={HELLO: forward})
        with pytest.raises(DeadlineExceededError):
            await outer.call(WELCOME, "welcome", ["n" * 5000], deadline_s=0.0001)
        assert outer.is_dead
        inner.close()  # on a slow machine the time was up before it was called
        trap = await start(engine, components.hostile()["trap"])
        caller = await start(
            engine,
            components.hostile()["calls-itself"],
            imports={RUN: To(trap, is_claimed).forward()},
        )
        with pytest.raises(GuestTrapError):
            await caller.call(RUN, "run", [], deadline_s=DEADLINE_S)

    for _ in range(30):
        await die(True)
        await die(False)
    before = _resident_bytes()
    for _ in range(100):
        await die(True)
        await die(False)
    assert _resident_bytes() - before < 4_000_000


async def test_five_hundred_chains_at_once(engine: WasmtimeEngine) -> None:
    asked = 0
    all_asked, opened = anyio.Event(), anyio.Event()

    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        nonlocal asked
        asked += 1
        if asked == 500:
            all_asked.set()
        await opened.wait()
        return args[0]

    callers: list[Instance] = []
    for number in range(500):
        callee = await start(engine, components.waiter(), imports={GATE: gate})
        to = To(callee, is_claimed=bool(number % 2))
        callers.append(
            await start(engine, components.hostile()["calls-itself"], imports={RUN: to.forward()})
        )
    results: list[Any] = []

    async def run(caller: Instance) -> None:
        results.append(await caller.call(RUN, "run", [], deadline_s=DEADLINE_S))

    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(run, caller)
        await all_asked.wait()
        opened.set()
    assert results == [7] * 500


def _resident_bytes() -> int:
    gc.collect()
    return int(MEMORY_OF_THIS_PROCESS.read_text().split()[1]) * 4096
