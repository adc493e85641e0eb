"""A host as its supervisor sees it: what it notes, and what it does not run any more."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial

import anyio
import pytest

from hosts.blackbox import BlackBox, BlackBoxReader
from hosts.guarded import Guard
from hosts.quarantine import Quarantine, write_quarantine
from lattice.errors import LatticeError, NoRouteError
from lattice.testing import eventually
from lattice.wire.events import from_packet
from tests.guests import components
from tests.integration.host_world import World
from tests.integration.test_host import ADD, COUNTER, until_running

pytestmark = pytest.mark.wasm


@pytest.fixture
def world(tmp_path_factory):
    return World(tmp_path_factory.getbasetemp() / "compiled")


@pytest.fixture
def reader():
    with closing(BlackBoxReader()) as reader:
        yield reader


@pytest.fixture
def quarantine(tmp_path):
    return tmp_path / "quarantine.json"


@pytest.fixture
async def host(world, reader, quarantine, tmp_path):
    guard = Guard(Quarantine(quarantine), BlackBox(os.dup(reader.descriptor)))
    async with world.scheduler(), world.host("H1", tmp_path / "H1", guard=guard, after="fell"):
        yield "H1"


async def digest_of(world, body):
    return await world.connection.artifacts.put(body)


async def test_what_is_called_is_at_work_and_what_only_runs_is_not(world, host, reader):
    spin = components.hostile()["spin"]
    await world.submit("math", {"add": components.add()})
    await world.submit("spinning", {"spin": spin})
    await world.assign(host, ("math", 1, 2), ("spinning", 1, 1))
    await until_running(world, "math", "spinning")
    assert await world.call("math", ADD, "add", [40, 2]) == 42
    assert reader.at_work() == frozenset()
    digest = await digest_of(world, spin)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(fails, world, "spinning", components.RUN, "run", deadline_ms=1000))
        await eventually(lambda: reader.at_work() == {digest})
    assert reader.at_work() == frozenset()


async def test_a_host_tells_that_its_event_loop_turns(host, reader):
    before = await eventually(reader.ticks)
    await eventually(lambda: reader.ticks() > before)


async def test_what_is_being_started_is_at_work(world, host, reader):
    body = components.hostile()["start-spins"]
    await world.submit("slow", {"aservice": body})
    await world.assign(host, ("slow", 1, 1))
    digest = await digest_of(world, body)
    await eventually(lambda: world.states(host).get("slow", ("", ""))[0] == "starting")
    await eventually(lambda: reader.at_work() == {digest})
    await world.assign(host)
    await eventually(lambda: not world.states(host))
    assert reader.at_work() == frozenset()


async def test_a_quarantined_component_is_refused_with_the_reason_and_others_start(
    world, host, quarantine
):
    await world.submit("math", {"add": components.add()})
    await world.submit("counter", {"aservice": components.counter()})
    write_quarantine(quarantine, {await digest_of(world, components.add()): "it did this"})
    await world.assign(host, ("math", 1, 1), ("counter", 1, 1))
    await until_running(world, "counter")
    await eventually(lambda: "quarantined" in world.states(host)["math"][1])
    state, reason = world.states(host)["math"]
    assert state in ("failed", "starting", "crash-loop")
    assert "component add (sha256:" in reason
    assert "it did this" in reason
    assert await world.call("counter", COUNTER, "next") == 1


async def test_a_replica_that_runs_is_ended_when_its_component_is_quarantined(
    world, host, quarantine
):
    await world.submit("math", {"add": components.add()})
    await world.submit("counter", {"aservice": components.counter()})
    await world.assign(host, ("math", 1, 2), ("counter", 1, 1))
    await until_running(world, "math", "counter")
    write_quarantine(quarantine, {await digest_of(world, components.add()): "it did this"})
    await eventually(lambda: "quarantined" in world.states(host)["math"][1])
    with pytest.raises(NoRouteError):
        await world.call("math", ADD, "add", [40, 2])
    quarantine.unlink()
    await until_running(world, "math")
    assert await world.call("math", ADD, "add", [40, 2]) == 42
    assert await world.call("counter", COUNTER, "next") == 1


async def test_how_the_process_before_ended_is_told_in_the_event(world, host):
    async def reasons():
        async with world.connection.events.read() as records:
            events = [from_packet(r.body, r.headers) async for r in records]
        return [e.data.get("reason") for e in events if e.kind == "host-started"]

    await eventually(reasons)
    assert await reasons() == ["the process before this one fell"]


async def fails(world, *words, **fields):
    with pytest.raises(LatticeError):
        await world.call(*words, **fields)
