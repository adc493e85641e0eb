"""A host under bad targets, bad artifacts, outages and quick changes; the bus is in memory, or a
broker that is killed and started again."""

from __future__ import annotations

import anyio
import pytest

from hosts import presence, runner
from hosts.agent import HostOptions, run_host
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.bus.base import PAYLOAD_BYTES_MAX
from lattice.errors import (
    DeadlineExceededError,
    InvalidError,
    NoRouteError,
    UnavailableError,
)
from lattice.model.ids import HostId, digest_hex
from lattice.testing import connect_as, eventually, new_host
from lattice.wire.codec import encode
from lattice.wire.events import from_packet
from lattice.wire.messages import Invocation
from lattice.wire.subjects import CALL_QUEUE
from tests.guests import components
from tests.integration.host_world import World
from tests.integration.test_host import (
    ADD,
    COUNTER,
    GREET,
    WELCOME,
    running,
    until_running,
)

pytestmark = pytest.mark.wasm

BIG = "test:guest/big@0.1.0"

LONG = {"deadline": "60s"}
"""Limits of a guest that is to be ended by something else than its deadline."""


@pytest.fixture
def world(tmp_path_factory):
    return World(tmp_path_factory.getbasetemp() / "compiled")


async def target_refusals(world):
    async with world.connection.events.read() as records:
        events = [from_packet(r.body, r.headers) async for r in records]
    return [e.data["reason"] for e in events if e.kind == "target-refused"]


async def test_target_with_more_replicas_than_a_host_can_hold_is_refused_and_told(world, tmp_path):
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path):
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "math")
        for count in (10**9, -1):
            before = len(await target_refusals(world))
            await world.assign("H1", ("math", 1, count))

            async def is_refused(before=before):
                return len(await target_refusals(world)) > before

            await eventually(is_refused)
        assert "1000000000 replicas" in (await target_refusals(world))[0]
        assert await world.call("math", ADD, "add", [1, 2]) == 3


async def test_thousand_failing_replicas_with_long_reasons_still_fit_into_a_report(world, tmp_path):
    """Otherwise the host, and all that runs well on it, would count as lost."""
    await world.submit("bad", {"aservice": components.hostile()["start-traps"]})
    async with running(world, tmp_path):
        await world.assign("H1", ("bad", 1, 1000))

        async def all_failed():
            report = world.reports.get("H1")
            return report and sum(bool(r.reason) for r in report.replicas) == 1000

        await eventually(all_failed, timeout_s=60)
        report = world.reports["H1"]
        assert len(encode(report)) < PAYLOAD_BYTES_MAX
        await world.assign("H1")
        await eventually(lambda: not world.reports["H1"].replicas, timeout_s=30)


async def test_inventory_that_another_process_overwrote_or_removed_is_put_right(
    world, tmp_path, monkeypatch
):
    monkeypatch.setattr(presence, "INVENTORY_CHECK_S", 0.05)
    async with running(world, tmp_path):
        own = (await world.connection.hosts.get("H1")).value

        async def stands():
            entry = await world.connection.hosts.get("H1")
            return entry is not None and entry.value == own

        await world.connection.hosts.put("H1", b"of a twin")
        await eventually(stands)
        await world.connection.hosts.delete("H1")
        await eventually(stands)


async def test_targets_in_quick_succession_end_with_the_last_one(world, tmp_path):
    await world.submit("math", {"add": components.add()})
    await world.submit("math", {"add": components.add()}, generation=2, labels={"new": "1"})
    async with running(world, tmp_path):
        for counts in ((1,), (5,), (0,), (2,), (0, 3), (2, 0), (0,), (3, 3), (0, 2)):
            items = [("math", n + 1, c) for n, c in enumerate(counts) if c]
            await world.assign("H1", *items)
            await anyio.lowlevel.checkpoint()

        def is_settled():
            found = [(r.generation, r.state) for r in world.reports["H1"].replicas]
            return found == [(2, "running")] * 2

        await eventually(is_settled, timeout_s=20)
        assert (await world.reply("math", ADD, "add", [1, 2])).generation == 2
        await world.assign("H1")
        await eventually(lambda: not world.reports["H1"].replicas)
        with pytest.raises(NoRouteError):
            await world.call("math", ADD, "add", [1, 2])


async def test_replica_that_is_withdrawn_while_another_starts_leaves_the_other_reachable(
    world, tmp_path
):
    """The two share one subscription; the first to end must not take it from the other."""
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path):
        for _ in range(10):
            await world.assign("H1", ("math", 1, 2))
            await world.assign("H1", ("math", 1, 1))
            await eventually(lambda: [r.state for r in world.reports["H1"].replicas] == ["running"])
            assert await world.call("math", ADD, "add", [1, 2]) == 3
            await world.assign("H1")
            await eventually(lambda: not world.reports["H1"].replicas)


async def test_call_of_a_withdrawn_replica_ends_in_time_and_its_caller_is_told(
    world, tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "DRAIN_S", 0.2)
    monkeypatch.setattr(runner, "PATIENCE_S", 0.2)
    await world.submit("spin", {"spin": components.hostile()["spin"]}, spin={"limits": LONG})
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path), anyio.create_task_group() as group:
        await world.assign("H1", ("spin", 1, 2), ("math", 1, 1))
        await until_running(world, "spin", "math")
        ends = []

        async def spin():
            with pytest.raises(DeadlineExceededError, match="stopped") as caught:
                await world.call("spin", components.RUN, "run", deadline_ms=60_000)
            ends.append(caught.value)

        for _ in range(3):
            group.start_soon(spin)
        await eventually(lambda: sum(r.calls for r in world.reports["H1"].replicas) == 3)
        await world.assign("H1", ("math", 1, 1))
        await eventually(lambda: set(world.states("H1")) == {"math"})
        await eventually(lambda: len(ends) == 3)
        assert await world.call("math", ADD, "add", [1, 2]) == 3


async def test_result_over_a_message_is_invalid_on_the_bus_and_fine_in_memory(world, tmp_path):
    await world.submit("big", {"big": components.hostile()["big-result"]})
    await world.submit("echo", {"echo": components.echo()})
    async with running(world, tmp_path):
        await world.assign("H1", ("big", 1, 1), ("echo", 1, 1))
        await until_running(world, "big", "echo")
        with pytest.raises(InvalidError, match="2097") as caught:
            await world.call("big", BIG, "big")
        assert "it did run" in caught.value.message
        assert await world.call("echo", "test:text/echo@0.1.0", "echo", ["x"]) == "x"


async def test_damaged_and_foreign_files_in_the_artifact_cache_are_fetched_again(world, tmp_path):
    await world.submit("math", {"add": components.add()})
    digest = digest_hex(await world.connection.artifacts.put(components.add()))
    folder = tmp_path / "H1" / "artifacts"
    folder.mkdir(parents=True)
    (folder / digest).write_bytes(components.echo())
    (folder / "leftover.123.part").write_bytes(b"x")
    async with running(world, tmp_path):
        await world.assign("H1", ("math", 1, 1))
        await until_running(world, "math")
        assert await world.call("math", ADD, "add", [1, 2]) == 3


async def test_artifact_cache_that_cannot_be_written_fails_the_replica_with_the_reason(
    world, tmp_path
):
    await world.submit("math", {"add": components.add()})
    (tmp_path / "H1").mkdir()
    (tmp_path / "H1" / "artifacts").write_text("a file where a folder should be")
    async with running(world, tmp_path):
        await world.assign("H1", ("math", 1, 1))
        await eventually(lambda: world.states("H1").get("math", ("", ""))[0] == "failed")
        assert "artifact cache" in world.states("H1")["math"][1]
        assert "mistake of the host" not in world.states("H1")["math"][1]
        (tmp_path / "H1" / "artifacts").unlink()
        await until_running(world, "math")


@pytest.mark.nats
async def test_running_work_outlives_the_broker_and_what_waited_for_it_starts(fresh_nats, tmp_path):
    identity = await new_host(fresh_nats)
    world = World(tmp_path / "compiled")
    engine = WasmtimeEngine(tmp_path / "compiled")
    async with (
        connect_as(fresh_nats, "scheduler") as connection,
        connect_as(fresh_nats, "host", identity) as own,
    ):
        world.connection = connection
        world.names = type(world.names)(connection.lattice)
        await world.submit("count", {"counterservice": components.counter()})
        await world.submit("math", {"add": components.add()})
        host = identity.id
        options = HostOptions(host=HostId(host), directory=tmp_path / "h", heartbeat_s=0.2)
        async with world.scheduler(), anyio.create_task_group() as group:
            await group.start(run_host, own, options, engine)
            await world.assign(host, ("count", 1, 1))
            await until_running(world, "count", host=host)
            async with connect_as(fresh_nats, "client") as client:
                subject = world.names.call("count", COUNTER, "next")
                ask = encode(Invocation(op=f"{COUNTER}#next"))
                for _ in range(3):
                    await client.bus.request(subject, ask, timeout_s=5)
                await fresh_nats.kill()
                with pytest.raises(UnavailableError):
                    await client.bus.request(subject, ask, timeout_s=0.3)
                await fresh_nats.restart()
                world.reports.clear()
                await eventually(lambda: world.reports.get(host), timeout_s=20)
                world.connection = client
                assert await world.call("count", COUNTER, "next") == 4, "its state is kept"
                world.connection = connection
                await world.assign(host, ("count", 1, 1), ("math", 1, 2))
                await until_running(world, "count", "math", host=host)
                world.connection = client
                assert await world.call("math", ADD, "add", [1, 2]) == 3
            group.cancel_scope.cancel()
    engine.close()


async def test_link_to_a_replica_that_is_just_being_stopped_elsewhere_is_repeated(world, tmp_path):
    """A host without a ready replica says so; nothing was run, so the caller's host asks again."""
    await world.submit("hello", {"hello": components.hello()})
    await world.submit(
        "front",
        {"greeter": components.greeter()},
        links=[{"import": "test:hello/greet", "to": "hello", "route": "remote"}],
    )
    refusals = 0

    async def retiring(_packet):
        nonlocal refusals
        refusals += 1
        raise NoRouteError("no replica of hello is ready on this host now")

    async with running(world, tmp_path):
        await world.assign("H1", ("front", 1, 1), ("hello", 1, 1))
        await until_running(world, "front", "hello")
        subject = world.names.call("hello", GREET, "greet")
        async with world.connection.bus.serve(subject, retiring, queue=CALL_QUEUE):
            for _ in range(20):
                assert await world.call("front", WELCOME, "welcome", ["Ada"]) == "Hello, Ada!"
    assert refusals, "some calls went there first"
