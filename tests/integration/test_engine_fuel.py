"""Fuel is counted for each call, and who uses up what a call may have is told so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hosts.engine.base import Instance, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import ConflictError, DeadlineExceededError, GuestTrapError
from tests.contract.engine.building import ADD, ECHO, GATE, RUN, part
from tests.guests import components

pytestmark = pytest.mark.wasm

DEADLINE_S = 20.0
FUEL = 100_000


class Meter:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.readings: list[int] = []

    def __call__(self, fuel: int) -> None:
        self.readings.append(fuel)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


async def start(
    engine: WasmtimeEngine, body: bytes, meter: Meter, fuel: int = FUEL, **imports: Any
) -> Instance:
    program = await engine.load([part("a", body)], [], is_metered=True)
    world = World(fuel_max=fuel, meter=meter)
    return await program.instantiate(imports.get("imports", {}), world)


async def test_each_call_is_told_what_it_used_and_the_same_work_uses_the_same(
    engine: WasmtimeEngine,
) -> None:
    meter = Meter()
    instance = await start(engine, components.echo(), meter)
    meter.readings.clear()
    for text in ("x", "x", "x" * 1000):
        assert await instance.call(ECHO, "echo", [text], deadline_s=DEADLINE_S) == text
    first, second, longer = meter.readings
    assert 0 < first == second <= longer < FUEL
    instance.close()


async def test_a_call_that_uses_up_its_fuel_is_told_limit_and_use(engine: WasmtimeEngine) -> None:
    meter = Meter()
    neighbour = await start(engine, components.add(), Meter())
    instance = await start(engine, components.hostile()["spin"], meter)
    meter.readings.clear()
    with pytest.raises(GuestTrapError, match=r"run used up its fuel: \d+ of 100000") as caught:
        await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert caught.value.details["limit"] == "fuel"
    assert caught.value.details["maximum"] == FUEL
    assert meter.readings == [caught.value.details["used"]]
    assert FUEL - 10 <= meter.readings[0] <= FUEL
    assert instance.is_dead
    assert await neighbour.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
    neighbour.close()


async def test_other_ends_of_a_call_are_counted_too(engine: WasmtimeEngine) -> None:
    meter = Meter()
    instance = await start(engine, components.hostile()["recurse"], meter, fuel=10**9)
    meter.readings.clear()
    with pytest.raises(GuestTrapError, match="call stack exhausted"):
        await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
    instance = await start(engine, components.hostile()["spin"], meter, fuel=0)
    with pytest.raises(DeadlineExceededError):
        await instance.call(RUN, "run", [], deadline_s=0.05)
    assert len(meter.readings) == 3, "a call, a start, a call"
    assert meter.readings[0] > 1000
    # A guest that is ended from outside has not written down what it used last.
    assert meter.readings[2] >= 0


async def test_waiting_costs_no_fuel_and_a_call_beside_takes_none(engine: WasmtimeEngine) -> None:
    meter, waits, go = Meter(), anyio.Event(), anyio.Event()

    async def gate(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        waits.set()
        await go.wait()
        return args[0]

    instance = await start(engine, components.waiter(), meter, imports={GATE: gate})
    meter.readings.clear()
    answers: list[Any] = []

    async def call() -> None:
        answers.append(await instance.call(RUN, "run", [], deadline_s=DEADLINE_S))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await waits.wait()
        with pytest.raises(ConflictError):
            await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
        assert meter.readings == []
        go.set()
    assert answers == [6]
    assert len(meter.readings) == 1
    assert 0 < meter.readings[0] < 1000
    instance.close()


async def test_the_start_has_fuel_as_well(engine: WasmtimeEngine) -> None:
    with pytest.raises(GuestTrapError, match="unreachable"):
        await start(engine, components.hostile()["trap-at-birth"], Meter())


async def test_metered_and_other_code_of_one_component_do_not_mix(engine: WasmtimeEngine) -> None:
    plain = await engine.load([part("a", components.add())], [])
    metered = await engine.load([part("a", components.add())], [], is_metered=True)
    again = await engine.load([part("a", components.add())], [])
    meter = Meter()
    for program in (plain, metered, again):
        instance = await program.instantiate({}, World(fuel_max=FUEL, meter=meter))
        assert await instance.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
        instance.close()
    assert len(meter.readings) == 2, "the start and the call of the metered one"
