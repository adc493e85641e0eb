"""Instances in the pool and outside of it behave the same, and neither runs out."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import anyio
import pytest

from hosts.engine.base import World
from hosts.engine.program import WasmtimeProgram
from hosts.engine.slots import MEMORY_BYTES_MAX, STORES_MAX
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.http.guest import GuestHandler, of_instance
from lattice.errors import GuestTrapError, InvalidError
from tests.contract.engine.building import ADD, COUNTER, RUN, part
from tests.guests import components, web_guests
from tests.integration.recorded_exchange import RecordedExchange

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]

DEADLINE_S = 20.0


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path_factory.getbasetemp() / "slots")
    yield made
    made.close()


def free(engine: WasmtimeEngine) -> int:
    return engine.pool_free


async def load(engine: WasmtimeEngine, body: bytes) -> WasmtimeProgram:
    return await engine.load([part("a", body)], [])


async def run(program: WasmtimeProgram) -> None:
    instance = await program.instantiate({}, World())
    await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)


async def test_more_instances_than_the_pool_has_places_all_work(engine: WasmtimeEngine) -> None:
    program = await load(engine, components.counter())
    made = [await program.instantiate({}, World()) for _ in range(STORES_MAX + 10)]
    assert free(engine) == 0
    for _ in range(2):
        for instance in made:
            await instance.call(COUNTER, "next", [], deadline_s=DEADLINE_S)
    counts = {await each.call(COUNTER, "next", [], deadline_s=DEADLINE_S) for each in made}
    assert counts == {3}
    for instance in made:
        instance.close()
    assert free(engine) == STORES_MAX


async def test_place_comes_back_however_an_instance_ends(engine: WasmtimeEngine) -> None:
    hostile = components.hostile()
    for name in ("trap", "recurse", "out-of-bounds", "divide-by-zero"):
        program = await load(engine, hostile[name])
        with pytest.raises(GuestTrapError):
            await run(program)
        assert free(engine) == STORES_MAX, name
    program = await load(engine, hostile["huge-memory"])
    with pytest.raises(InvalidError):
        await program.instantiate({}, World(memory_bytes_max=1 << 20))
    program = await load(engine, hostile["missing-import"])
    with pytest.raises(InvalidError):
        await program.instantiate({}, World())
    assert free(engine) == STORES_MAX


async def test_place_comes_back_when_a_spinning_guest_is_cancelled(engine: WasmtimeEngine) -> None:
    program = await load(engine, components.hostile()["spin"])
    instance = await program.instantiate({}, World())
    assert free(engine) == STORES_MAX - 1
    with anyio.move_on_after(0.05):
        await instance.call(RUN, "run", [], deadline_s=DEADLINE_S)
    assert instance.is_dead
    (await program.instantiate({}, World())).close()  # waits for the deletion
    assert free(engine) == STORES_MAX


async def test_nothing_of_an_instance_is_left_for_the_next_in_its_place(
    engine: WasmtimeEngine,
) -> None:
    program = await load(engine, components.counter())
    for _ in range(3 * STORES_MAX):
        instance = await program.instantiate({}, World())
        assert await instance.call(COUNTER, "next", [], deadline_s=DEADLINE_S) == 1
        instance.close()


async def test_who_may_have_more_memory_than_a_place_gets_its_own(engine: WasmtimeEngine) -> None:
    program = await load(engine, components.add())
    large = await program.instantiate({}, World(memory_bytes_max=MEMORY_BYTES_MAX + 1))
    assert free(engine) == STORES_MAX
    small = await program.instantiate({}, World(memory_bytes_max=MEMORY_BYTES_MAX))
    assert free(engine) == STORES_MAX - 1
    for instance in (large, small):
        assert await instance.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
        instance.close()


async def test_guest_behind_the_adapter_answers_anew_in_each_place(engine: WasmtimeEngine) -> None:
    program = await load(engine, web_guests.hello())
    for _ in range(200):
        instance = await program.instantiate({}, World())
        assert free(engine) == STORES_MAX - 1
        exchange = RecordedExchange("/hello")
        await GuestHandler(of_instance(instance))(exchange)
        assert (exchange.status, bytes(exchange.received)) == (200, b"Hello, world!\n")
        instance.close()


async def test_program_from_the_cache_is_made_in_the_pool_too(engine: WasmtimeEngine) -> None:
    await load(engine, components.echo())
    program = await load(engine, components.echo())
    instance = await program.instantiate({}, World())
    assert free(engine) == STORES_MAX - 1
    instance.close()


async def test_engines_that_were_closed_leave_addresses_for_the_pools_of_others(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    gc.disable()  # the first pools are not collected before the addresses end
    try:
        for _ in range(40):  # a process has addresses for about thirty
            engine = WasmtimeEngine(tmp_path_factory.getbasetemp() / "slots")
            program = await load(engine, components.add())
            instance = await program.instantiate({}, World())
            assert free(engine) == STORES_MAX - 1
            instance.close()
            engine.close()
    finally:
        gc.enable()
