"""A host keeps instances as the manifest says, and far more components than fit in its memory."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from hosts.engine.wasmtime_engine import PROGRAM_BYTES
from lattice.errors import ConflictError, GuestTrapError
from lattice.testing import eventually
from tests.guests import components
from tests.integration.host_world import World

pytestmark = pytest.mark.wasm

ADD = "test:math/add@0.1.0"
COUNTER = "test:counter/counter@0.1.0"
GREET = "test:hello/greet@0.1.0"
RUN = components.RUN
WELCOME = "test:greeter/welcome@0.1.0"


@pytest.fixture
def world(tmp_path_factory):
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(world, tmp_path, **options):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        await stack.enter_async_context(world.host("H1", tmp_path / "H1", **options))
        yield


async def until_running(world, *deployments):
    await eventually(
        lambda: all(world.states("H1").get(d, ("", ""))[0] == "running" for d in deployments),
        timeout_s=60,
    )


async def count(world, name, times):
    return [await world.call(name, COUNTER, "next") for _ in range(times)]


async def test_instances_are_fresh_or_reused_as_the_manifest_says(world, tmp_path):
    await world.submit("fresh", {"counter": components.counter()})
    reuse = {"instances": {"mode": "reuse", "maxInvocations": 3}}
    await world.submit("reuse", {"counter": components.counter()}, counter=reuse)
    async with running(world, tmp_path):
        await world.assign("H1", ("fresh", 1, 1), ("reuse", 1, 1))
        await until_running(world, "fresh", "reuse")
        assert await count(world, "fresh", 4) == [1, 1, 1, 1]
        assert await count(world, "reuse", 7) == [1, 2, 3, 1, 2, 3, 1]
        with pytest.raises(GuestTrapError):
            await world.call("reuse", COUNTER, "fail")
        assert await count(world, "reuse", 1) == [1]


async def test_of_composed_components_the_strictest_wins(world, tmp_path):
    reuse = {"instances": {"mode": "reuse"}}
    parts = {"ticket": components.ticket(), "counter": components.counter()}
    await world.submit("mixed", parts, ticket=reuse)
    await world.submit(
        "both", parts, ticket=reuse, counter={"instances": {"mode": "reuse", "maxInvocations": 2}}
    )
    async with running(world, tmp_path):
        await world.assign("H1", ("mixed", 1, 1), ("both", 1, 1))
        await until_running(world, "mixed", "both")
        draw = [("test:ticket/ticket@0.1.0", "draw")] * 4
        assert [await world.call("mixed", *each) for each in draw] == [2, 2, 2, 2]
        assert [await world.call("both", *each) for each in draw] == [2, 3, 2, 3]


async def test_a_reused_instance_reports_the_hops_of_each_call_alone(world, tmp_path):
    links = [{"import": GREET, "to": "hello", "timeout": "30s"}]
    reuse = {"instances": {"mode": "reuse"}}
    await world.submit("hello", {"hello": components.hello()})
    await world.submit("hi", {"greeter": components.greeter()}, greeter=reuse, links=links)
    async with running(world, tmp_path):
        await world.assign("H1", ("hello", 1, 1), ("hi", 1, 1))
        await until_running(world, "hello", "hi")
        for _ in range(3):
            reply = await world.reply("hi", WELCOME, "welcome", ["Ada"], deadline_ms=5000)
            assert reply.ok == ["Hello, Ada!"]
            assert [leg.deployment for leg in reply.legs].count("hello") == 1


async def test_far_more_components_are_deployed_than_fit_in_memory(world, tmp_path, caplog):
    caplog.set_level("DEBUG", logger="hosts.programs")
    names = [f"c{index}" for index in range(200)]
    for index, name in enumerate(names):
        await world.submit(name, {"add": components.padded(components.add(), 100 + index)})
    room_for_20 = 20 * (PROGRAM_BYTES + 4096)
    async with running(world, tmp_path, program_bytes_max=room_for_20):
        await world.assign("H1", *((name, 1, 1) for name in names))
        await until_running(world, *names)
        for _ in range(2):
            for index, name in enumerate(names):
                assert await world.call(name, ADD, "add", [index, 1]) == index + 1
    left = sum("leaves memory" in message for message in caplog.messages)
    assert left >= 180 + 2 * 180, "each round brings back what the last one pushed out"


async def test_components_that_call_each_other_without_end_are_stopped(world, tmp_path):
    body = components.hostile()["calls-itself"]
    await world.submit("ping", {"a": body}, links=[{"import": RUN, "to": "pong"}], expose=[RUN])
    await world.submit("pong", {"a": body}, links=[{"import": RUN, "to": "ping"}], expose=[RUN])
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path):
        await world.assign("H1", ("ping", 1, 1), ("pong", 1, 1), ("math", 1, 1))
        await until_running(world, "ping", "pong", "math")
        with pytest.raises(ConflictError, match="ping -> pong"):
            await world.call("ping", RUN, "run")
        assert await world.call("math", ADD, "add", [40, 2]) == 42


async def test_the_state_of_a_service_that_fails_is_reported_until_it_is_stable(world, tmp_path):
    restart = {"backoff": ["1ms", "100ms"], "max": 100}
    await world.submit(
        "counts", {"service": components.counter()}, service={"restart": restart}, expose=[COUNTER]
    )
    async with running(world, tmp_path):
        await world.assign("H1", ("counts", 1, 1))
        await until_running(world, "counts")
        assert world.states("H1")["counts"] == ("running", "")
        with pytest.raises(GuestTrapError):
            await world.call("counts", COUNTER, "fail")
        assert await world.call("counts", COUNTER, "next") == 1
        await eventually(
            lambda: (
                "service service failed once and runs again: " in world.states("H1")["counts"][1]
            )
        )
        # It counts as stable after ten times its longest backoff, which is 1 s here.
        await eventually(lambda: world.states("H1")["counts"] == ("running", ""))
