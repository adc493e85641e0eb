"""Guests and the event loop: cancelling in every phase, fair turns, two loops, a loop that ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from wasmtime import wat2wasm

from hosts.engine.base import Instance, World
from hosts.engine.turns import IDLE_TICKS
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import ConflictError, DeadlineExceededError
from lattice.testing import eventually
from tests.contract.engine.building import ADD, GATE, RUN, part, start
from tests.guests import components
from tests.integration.strains import after_a_turn, answers, cancelled_after, nested

pytestmark = pytest.mark.wasm

DEADLINE_S = 60.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


def spins_at_birth() -> bytes:
    """Return a component whose start section never ends."""
    return bytes(
        wat2wasm("""(component
          (core module $code (func $birth (loop $again (br $again))) (start $birth))
          (core instance (instantiate $code)))""")
    )


async def call_of(engine: WasmtimeEngine, kind: str) -> tuple[list[Instance], Callable[[], Any]]:
    """Return new instances, and what begins to run there or, `at birth`, to make one."""
    if kind == "at birth":
        program = await engine.load([part("a", spins_at_birth())], [])
        return [], lambda: program.instantiate({}, World())
    if kind == "spinning":
        chain = [await start(engine, components.hostile()["spin"])]
    else:
        chain = [await start(engine, components.waiter(), imports={GATE: after_a_turn})]
    if kind == "nested":
        chain = await nested(engine, 2, chain[0])
    return chain, lambda: chain[0].call(RUN, "run", [], deadline_s=DEADLINE_S)


@pytest.mark.parametrize("has_spinning_neighbour", [False, True])
@pytest.mark.parametrize("kind", ["suspended", "spinning", "nested", "at birth"])
async def test_call_may_be_cancelled_in_every_phase(
    engine: WasmtimeEngine, kind: str, has_spinning_neighbour: bool
) -> None:
    outcomes: list[str] = []
    async with anyio.create_task_group() as tasks:
        if has_spinning_neighbour:
            _, spin = await call_of(engine, "spinning")
            tasks.start_soon(spin)
        for turns in range(25):
            chain, call = await call_of(engine, kind)
            outcome = await cancelled_after(turns, call)
            if outcome == "cancelled" and turns:
                assert all(instance.is_dead for instance in chain[:1])
            for instance in chain:
                instance.close()
                with pytest.raises(ConflictError):
                    await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
            outcomes.append(outcome)
            assert await answers(engine) == 3
        tasks.cancel_scope.cancel()
    assert outcomes[0] == "cancelled"
    assert kind in ("suspended", "nested") or set(outcomes) == {"cancelled"}


# --- epochs, the ticker and the loop ------------------------------------------------------------


async def test_ticker_rests_while_guests_only_wait(engine: WasmtimeEngine) -> None:
    asked, opened = anyio.Event(), anyio.Event()

    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        asked.set()
        await opened.wait()
        return args[0]

    instance = await start(engine, components.waiter(), imports={GATE: gate})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: instance.call(RUN, "run", [], deadline_s=DEADLINE_S))
        await asked.wait()
        ticker = engine._ticker
        await eventually(lambda: ticker.is_parked, timeout_s=DEADLINE_S)
        before = ticker.epoch
        assert await cancelled_after(100 * IDLE_TICKS, anyio.sleep_forever) == "cancelled"
        assert ticker.epoch == before
        opened.set()
    instance.close()


async def test_epochs_that_pass_while_nobody_runs_cost_a_guest_nothing(
    engine: WasmtimeEngine,
) -> None:
    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        for _ in range(1000):
            engine._advance()
        await anyio.lowlevel.checkpoint()
        return args[0]

    instance = await start(engine, components.waiter(), imports={GATE: gate})
    for _ in range(3):
        for _ in range(1000):
            engine._advance()
        assert await instance.call(RUN, "run", [], deadline_s=DEADLINE_S) == 6
    instance.close()


async def test_twenty_spinning_guests_delay_a_timer_by_fifteen_milliseconds_at_most(
    engine: WasmtimeEngine,
) -> None:
    """Time in which the machine ran something else instead is not counted."""
    late_s = 0.0  # by how much the ticks came later than they should, in sum
    ticked_s = time.perf_counter()

    def advance() -> None:
        nonlocal late_s, ticked_s
        now_s = time.perf_counter()
        late_s += max(0.0, now_s - ticked_s - 0.006)
        ticked_s = now_s
        engine._advance()

    engine._ticker._advance = advance
    program = await engine.load([part("a", components.hostile()["spin"])], [])
    spinning = [await program.instantiate({}, World()) for _ in range(20)]
    neighbour = await start(engine, components.add())
    delays_s: list[float] = []
    async with anyio.create_task_group() as tasks:
        for instance in spinning:
            tasks.start_soon(partial(instance.call, RUN, "run", [], deadline_s=60))
        for _ in range(200):
            started_s, used_s, late_before_s = time.perf_counter(), time.thread_time(), late_s
            with anyio.move_on_after(0.01):
                await anyio.sleep_forever()
            wall_s = time.perf_counter() - started_s
            stolen_s = wall_s - (time.thread_time() - used_s)
            delays_s.append(wall_s - 0.01 - stolen_s - (late_s - late_before_s))
            assert await neighbour.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
        tasks.cancel_scope.cancel()
    delays_s.sort()
    assert delays_s[-3] <= 0.015, f"p99 of {[round(each * 1e3, 1) for each in delays_s[-10:]]} ms"
    assert all(instance.is_dead for instance in spinning)


def test_two_event_loops_with_an_engine_each_run_at_once(tmp_path: Path) -> None:
    faults: list[BaseException] = []
    results: list[Any] = []

    async def main(name: str) -> None:
        engine = WasmtimeEngine(tmp_path / name)
        waiter = await start(engine, components.waiter(), imports={GATE: after_a_turn})
        adder = await start(engine, components.add())
        for count in range(500):
            assert await waiter.call(RUN, "run", [], deadline_s=DEADLINE_S) == 6
            results.append(await adder.call(ADD, "add", [count, 1], deadline_s=DEADLINE_S))
        spinning = await start(engine, components.hostile()["spin"])
        with pytest.raises(DeadlineExceededError):
            await spinning.call(RUN, "run", [], deadline_s=0.05)
        waiter.close()
        adder.close()
        engine.close()

    def run(name: str) -> None:
        try:
            anyio.run(main, name)
        except BaseException as error:  # noqa: BLE001 (a thread's failure is the test's)
            faults.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert sorted(results) == sorted([*range(1, 501)] * 2)


def test_engine_goes_on_after_its_loop_ended_with_a_guest_suspended(tmp_path: Path) -> None:
    engine = WasmtimeEngine(tmp_path)
    left: list[Instance] = []

    async def abandon() -> None:
        left.append(await start(engine, components.hostile()["spin"]))
        with anyio.move_on_after(0.03):
            await left[0].call(RUN, "run", [], deadline_s=DEADLINE_S)

    async def go_on() -> None:
        assert await answers(engine) == 3
        with pytest.raises(ConflictError):
            await left[0].call(RUN, "run", [], deadline_s=DEADLINE_S)

    anyio.run(abandon)
    anyio.run(go_on)
    engine.close()
