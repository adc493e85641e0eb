"""How a host leaves: it tells the lattice, is emptied if asked to, and finishes what runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from hosts.agent import HostOptions, run_host
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.bus.base import Entry
from lattice.errors import DeadlineExceededError
from lattice.model.host import Inventory
from lattice.model.ids import HostId
from lattice.testing import eventually
from lattice.wire.codec import decode_as, encode
from tests.guests import components
from tests.integration.host_world import World

pytestmark = pytest.mark.wasm

ADD = "test:math/add@0.1.0"


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


class Leaving:
    """A host that leaves by itself. `ended` is set when it has."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.ended = anyio.Event()

    async def inventory(self) -> Inventory | None:
        entry = await self.world.connection.hosts.get(self.name)
        if not isinstance(entry, Entry) or entry.value is None:
            return None
        return decode_as(Inventory, entry.value)

    async def stop(self, drain_s: float) -> None:
        subject = self.world.names.host_control(self.name, "stop")
        await self.world.connection.bus.request(subject, encode({"drain_s": drain_s}), timeout_s=5)

    async def is_draining(self) -> bool:
        found = await self.inventory()
        return found is not None and found.is_draining


@asynccontextmanager
async def host(world: World, directory: Path, name: str) -> AsyncIterator[Leaving]:
    engine = WasmtimeEngine(world.cache)
    leaving = Leaving(world, name)
    options = HostOptions(host=HostId(name), directory=directory, heartbeat_s=0.2)

    async def run(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        await run_host(world.connection, options, engine, task_status=task_status)
        leaving.ended.set()

    try:
        async with anyio.create_task_group() as group:
            await group.start(run)
            yield leaving
            group.cancel_scope.cancel()
    finally:
        engine.close()


async def until_running(world: World, name: str) -> None:
    await eventually(lambda: [s for s, _ in world.states(name).values()] == ["running"])


async def test_a_host_that_drains_stops_when_its_replicas_are_elsewhere_and_no_call_is_lost(
    world: World, tmp_path: Path
) -> None:
    await world.submit("math", {"add": components.add()})
    calls = 0
    async with (
        world.scheduler(),
        host(world, tmp_path / "1", "H1") as first,
        host(world, tmp_path / "2", "H2") as second,
        anyio.create_task_group() as group,
    ):
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "H1")

        async def call_on_and_on() -> None:
            nonlocal calls
            while True:
                assert await world.call("math", ADD, "add", [calls, 1]) == calls + 1
                calls += 1

        group.start_soon(call_on_and_on)
        await first.stop(60)
        await eventually(first.is_draining)
        before = calls
        await eventually(lambda: calls > before + 10)
        assert not first.ended.is_set(), "it waits for its replicas to be elsewhere"
        await world.assign("H2", ("math", 1, 1))
        await until_running(world, "H2")
        await world.assign("H1")
        with anyio.fail_after(10):
            await first.ended.wait()
        assert await first.inventory() is None
        before = calls
        await eventually(lambda: calls > before + 10)
        assert not await second.is_draining()
        group.cancel_scope.cancel()


async def test_a_host_that_nobody_empties_stops_when_the_time_for_it_is_over(
    world: World, tmp_path: Path
) -> None:
    await world.submit("math", {"add": components.add()})
    async with world.scheduler(), host(world, tmp_path, "H1") as leaving:
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "H1")
        await leaving.stop(0.2)
        with anyio.fail_after(10):
            await leaving.ended.wait()
        assert await leaving.inventory() is None


async def test_a_second_request_to_stop_ends_the_draining(world: World, tmp_path: Path) -> None:
    await world.submit("math", {"add": components.add()})
    async with world.scheduler(), host(world, tmp_path, "H1") as leaving:
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "H1")
        await leaving.stop(3600)
        await eventually(leaving.is_draining)
        await leaving.stop(0)
        with anyio.fail_after(10):
            await leaving.ended.wait()


async def test_a_host_that_stops_says_so_before_it_ends_what_runs(
    world: World, tmp_path: Path
) -> None:
    await world.submit("spin", {"spin": components.hostile()["spin"]},
                       spin={"limits": {"deadline": "60s"}})  # fmt: skip
    async with (
        world.scheduler(),
        host(world, tmp_path, "H1") as leaving,
        anyio.create_task_group() as group,
    ):
        await world.assign("H1", ("spin", 1, 1))
        await until_running(world, "H1")
        ended = anyio.Event()

        async def spin() -> None:
            with pytest.raises(DeadlineExceededError):
                await world.call("spin", components.RUN, "run", deadline_ms=60_000)
            ended.set()

        group.start_soon(spin)
        await eventually(lambda: world.reports["H1"].load.calls_in_flight == 1)
        await leaving.stop(0)
        await eventually(leaving.is_draining)
        assert not ended.is_set()
        with anyio.fail_after(20):
            await ended.wait()
            await leaving.ended.wait()


async def test_a_call_of_a_withdrawn_replica_is_finished_after_the_time_for_a_stop(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hosts.runner.DRAIN_S", 0.05)
    monkeypatch.setattr("lattice.bus.serving.DRAIN_S", 0.05)
    await world.submit("spin", {"spin": components.hostile()["spin"]},
                       spin={"limits": {"deadline": "1s"}})  # fmt: skip
    async with (
        world.scheduler(),
        host(world, tmp_path, "H1"),
        anyio.create_task_group() as group,
    ):
        await world.assign("H1", ("spin", 1, 1))
        await until_running(world, "H1")

        async def spin() -> None:
            with pytest.raises(DeadlineExceededError, match="did not return within"):
                await world.call("spin", components.RUN, "run", deadline_ms=60_000)

        group.start_soon(spin)
        await eventually(lambda: world.reports["H1"].load.calls_in_flight == 1)
        await world.assign("H1")
        await eventually(lambda: not world.reports["H1"].replicas)
