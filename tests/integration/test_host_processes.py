"""Services that run by themselves: their lives, their ends, and what is told of them."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from hosts.restarts import CRASH_LOOP_FAILURES
from hosts.runner import DRAIN_S
from lattice.errors import InvalidError
from lattice.testing import eventually
from lattice.wire.codec import decode, encode
from tests.guests import components
from tests.guests.languages.building import c_command
from tests.integration.host_world import World
from tests.integration.service_guests import (
    RUN,
    SPINS,
    exiting_process,
    notes,
    noting_process,
    process,
)

pytestmark = pytest.mark.wasm

ADD = "test:math/add@0.1.0"
LOG = "test:log/log@0.1.0"
QUICK = {"backoff": ["1ms", "20ms"], "max": 1000}


@pytest.fixture
def world(tmp_path_factory):
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(world, tmp_path, *deployments, **options):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        await stack.enter_async_context(world.host("H1", tmp_path / "H1", **options))
        await world.assign("H1", *((name, 1, 1) for name in deployments))
        await eventually(
            lambda: all(world.states("H1").get(d, ("", ""))[0] == "running" for d in deployments),
            timeout_s=30,
        )
        yield


async def lines_of(world, deployment):
    body = encode({"deployment": deployment, "lines": 1000})
    packet = await world.connection.bus.request(
        world.names.host_control("H1", "logs"), body, timeout_s=5
    )
    return [line["line"] for line in decode(packet.body)["ok"]["lines"]]


async def told(world, name="crawl"):
    return await world.call(name, LOG, "told")


def report(world, name="crawl"):
    return next(r for r in world.reports["H1"].replicas if r.deployment == name)


@pytest.mark.parametrize("kept", ["logservice", "log"])
async def test_a_process_calls_others_ends_and_stays_ended(world, tmp_path, kept):
    parts = {"crawl-service": noting_process(3), kept: notes()}
    await world.submit("crawl", parts, expose=[LOG])
    async with running(world, tmp_path, "crawl"):
        if kept == "logservice":
            await eventually(lambda: told(world))
            assert await told(world) == 777
        await wait_for_line(world, "crawl", "service crawl-service ended by itself")
        assert world.states("H1")["crawl"] == ("running", "")
        assert report(world).restarts == 0


async def wait_for_line(world, deployment, text):
    async def is_there():
        return any(text in line for line in await lines_of(world, deployment))

    await eventually(is_there, timeout_s=20)


async def test_a_process_that_exits_well_is_finished_and_one_that_exits_badly_failed(
    world, tmp_path
):
    await world.submit("well", {"crawl-service": exiting_process(fails=False)})
    await world.submit("badly", {"crawl-service": exiting_process(fails=True)})
    async with running(world, tmp_path, "well", "badly"):
        await wait_for_line(world, "well", "service crawl-service ended by itself")
        await eventually(lambda: "exited with status 1" in world.states("H1")["badly"][1])
        assert world.states("H1")["well"] == ("running", "")


async def test_a_process_that_always_restarts_runs_again_after_it_ended_well(world, tmp_path):
    await world.submit(
        "crawl", {"crawl-service": noting_process(1), "log-service": notes()}, expose=[LOG],
        **{"crawl-service": {"restart": {"policy": "always", **QUICK}}},
    )  # fmt: skip
    async with running(world, tmp_path, "crawl"):

        async def is_told():
            return await told(world) >= 777

        await eventually(is_told)
        await eventually(lambda: report(world).restarts >= 2)
        assert world.states("H1")["crawl"] == ("running", "")


@pytest.mark.parametrize(
    ("end", "text"), [("unreachable", "unreachable"), ("i32.const 1", "its run returned an error")]
)
async def test_a_process_that_fails_is_restarted_until_its_crash_loop_is_told(
    world, tmp_path, end, text
):
    await world.submit(
        "crawl", {"crawl-service": noting_process(1, end), "log-service": notes()}, expose=[LOG],
        **{"crawl-service": {"restart": QUICK}},
    )  # fmt: skip
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path, "math"):
        await world.assign("H1", ("crawl", 1, 1), ("math", 1, 1))
        await eventually(
            lambda: world.states("H1").get("crawl", ("", ""))[0] == "crash-loop", timeout_s=20
        )
        state = world.states("H1")["crawl"][1]
        assert state.startswith("service crawl-service failed ")
        assert "(crash loop)" in state
        assert text in state
        assert report(world).restarts >= CRASH_LOOP_FAILURES
        assert await world.call("math", ADD, "add", [40, 2]) == 42


async def test_a_process_that_fails_too_often_ends_its_replica_with_the_reason(world, tmp_path):
    await world.submit(
        "crawl", {"crawl-service": process("unreachable")},
        **{"crawl-service": {"restart": {"backoff": ["1ms", "1ms"], "max": 2}}},
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        await stack.enter_async_context(world.host("H1", tmp_path / "H1"))
        await world.assign("H1", ("crawl", 1, 1))
        await eventually(lambda: world.states("H1").get("crawl", ("", ""))[0] == "failed")
        reason = world.states("H1")["crawl"][1]
        assert "failed 3 times in a row, restart.max is 2" in reason
        assert "unreachable" in reason


async def test_a_process_that_is_never_restarted_stays_failed_and_its_replica_goes_on(
    world, tmp_path
):
    await world.submit(
        "crawl", {"crawl-service": process("unreachable"), "add": components.add()},
        **{"crawl-service": {"restart": {"policy": "never"}}},
    )  # fmt: skip
    async with running(world, tmp_path, "crawl"):
        await eventually(lambda: "is not restarted" in world.states("H1")["crawl"][1])
        assert world.states("H1")["crawl"][0] == "running"
        assert await world.call("crawl", ADD, "add", [40, 2]) == 42


async def test_a_spinning_process_starves_nobody_and_is_gone_when_it_is_withdrawn(world, tmp_path):
    await world.submit(
        "crawl", {"crawl-service": process(SPINS)},
        **{"crawl-service": {"limits": {"deadline": "10ms"}}},
    )  # fmt: skip
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path, "crawl", "math"):
        for number in range(20):
            assert await world.call("math", ADD, "add", [number, 2]) == number + 2
        assert report(world).restarts == 0, "its run has no deadline"
        with anyio.fail_after(5):
            await world.assign("H1", ("math", 1, 1))
            await eventually(lambda: set(world.states("H1")) == {"math"})


async def test_a_process_that_calls_without_end_starves_nobody_and_holds_up_no_withdrawal(
    world, tmp_path
):
    calls = "(loop $for-ever (call $note (i32.const 0)) (br $for-ever)) i32.const 0"
    await world.submit(
        "crawl", {"crawl-service": noting_process(0, calls), "log-service": notes()}, expose=[LOG]
    )
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path, "crawl", "math"):
        for number in range(20):
            assert await world.call("math", ADD, "add", [number, 2]) == number + 2
        assert await world.call("crawl", LOG, "told", deadline_ms=10_000) == 0, "it has its turn"
        with anyio.fail_after(DRAIN_S - 1):
            await world.assign("H1", ("math", 1, 1))
            await eventually(lambda: set(world.states("H1")) == {"math"})


async def test_a_service_that_runs_and_is_called_is_refused_with_the_reason(world):
    more = '(instance $more (export "go" (func $run))) (export "test:x/y@0.1.0" (instance $more))'
    body = process("i32.const 0", more=more)
    with pytest.raises(InvalidError, match=f"crawl-service: exports {RUN}, so it is a process"):
        await world.submit("crawl", {"crawl-service": body})


async def test_an_ordinary_program_sees_its_arguments_variables_and_files(world, tmp_path):
    """A C program that knows nothing of components; its output is the log of the deployment."""
    corpus = await world.connection.artifacts.put(b"from the corpus\n")
    body = c_command().read_bytes()
    never = {"restart": {"policy": "never"}}
    await world.submit(
        "crawl",
        {"greets-service": body, "cats-service": body, "fails-service": body},
        files=[{"name": "corpus", "source": corpus}],
        **{
            "greets-service": {"args": ["Ada", "Grace"], "env": {"GREETING": "Good day"}},
            "cats-service": {"args": ["--cat", "/files/corpus"], "files": ["corpus"]},
            "fails-service": never,
        },
    )
    async with running(world, tmp_path, "crawl"):
        for line in (
            "Good day, Ada!", "Good day, Grace!", "from the corpus",
            "usage: fails-service NAME... | --cat FILE",
            "service greets-service ended by itself", "service cats-service ended by itself",
            "service fails-service failed: ",
        ):  # fmt: skip
            await wait_for_line(world, "crawl", line)
        await eventually(lambda: "fails-service failed once" in world.states("H1")["crawl"][1])
        assert "exited with status" in world.states("H1")["crawl"][1]
