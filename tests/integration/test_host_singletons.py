"""Strict singletons on a host with the real engine, and a scheduler that falls silent."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from hosts.lifecycle import FENCE_SHARE, NO_LEASE
from lattice.errors import DeadlineExceededError, NoRouteError, from_wire
from lattice.testing import eventually
from lattice.wire.codec import decode, encode
from lattice.wire.messages import Invocation
from tests.guests import components
from tests.guests.languages.building import command
from tests.integration.host_world import World

pytestmark = pytest.mark.wasm

ADD = "test:math/add@0.1.0"
COUNTER = "test:counter/counter@0.1.0"
LONG = {"deadline": "60s"}
LEASE_S = 4.0


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(world: World, tmp_path: Path, *deployments: str) -> AsyncIterator[None]:
    async with world.scheduler(), world.host("H1", tmp_path):
        await world.assign("H1", *((name, 1, 1) for name in deployments))
        yield


async def until(world: World, deployment: str, state: str) -> None:
    await eventually(lambda: world.states("H1").get(deployment, ("", ""))[0] == state, timeout_s=30)


async def lines_of(world: World, deployment: str) -> list[str]:
    body = encode({"deployment": deployment, "lines": 1000})
    packet = await world.connection.bus.request(
        world.names.host_control("H1", "logs"), body, timeout_s=5
    )
    return [line["line"] for line in decode(packet.body)["ok"]["lines"]]


async def submit_one(world: World, *words: str) -> None:
    """Submit a singleton that is called, computes when asked, and has a process of its own."""
    await world.submit(
        "one",
        {"count-service": components.counter(), "run-service": command().read_bytes(),
         "spin": components.hostile()["spin"]},
        singleton=True, spin={"limits": LONG}, **{"run-service": {"args": list(words)}},
    )  # fmt: skip


async def test_it_is_fenced_when_the_scheduler_falls_silent_and_starts_again_with_a_lease(
    world: World, tmp_path: Path
) -> None:
    world.lease_ms = round(LEASE_S * 1000)
    await submit_one(world, "wait")
    await world.submit("math", {"add": components.add()})
    async with running(world, tmp_path, "one", "math"), anyio.create_task_group() as group:
        await until(world, "one", "running")
        await until(world, "math", "running")
        assert [await world.call("one", COUNTER, "next") for _ in range(2)] == [1, 2]
        ended: list[tuple[float, Any]] = []

        async def spin() -> None:
            with pytest.raises(DeadlineExceededError, match="was stopped before") as caught:
                await world.call("one", components.RUN, "run", deadline_ms=60_000)
            ended.append((time.monotonic(), caught.value))

        group.start_soon(spin)
        await eventually(lambda: figures(world).in_flight == 1)
        world.is_silent = True
        silent_s = time.monotonic()
        await eventually(lambda: bool(ended))
        took_s = ended[0][0] - silent_s
        assert took_s < LEASE_S, "the lease counts from a report that was sent before"
        with pytest.raises(NoRouteError):
            await world.call("one", COUNTER, "next")
        assert await world.call("math", ADD, "add", [1, 2]) == 3, "all others run on"

        world.reports.clear()
        world.is_silent = False
        await until(world, "one", "running")
        assert await world.call("one", COUNTER, "next") == 1, "it began anew"
        assert figures(world).restarts == 0, "a fence is no failure"


def figures(world: World) -> Any:
    return next(each for each in world.reports["H1"].replicas if each.deployment == "one")


async def test_without_a_lease_nothing_of_it_runs(world: World, tmp_path: Path) -> None:
    world.lease_ms = 0
    await submit_one(world, "echo", "it", "runs")
    async with running(world, tmp_path, "one"):
        await until(world, "one", "unready")
        assert world.states("H1")["one"] == ("unready", NO_LEASE)
        assert await lines_of(world, "one") == []
        at_host = world.names.call_at("H1", "one", 1, COUNTER, "next")
        packet = await world.connection.bus.request(
            at_host, encode(Invocation(op=f"{COUNTER}#next")), timeout_s=5
        )
        fault = from_wire(decode(packet.body)["err"])
        assert isinstance(fault, NoRouteError)
        assert fault.retryable
        assert NO_LEASE in fault.message
        world.lease_ms = 6000
        await until(world, "one", "running")

        async def has_run() -> bool:
            return "it runs" in await lines_of(world, "one")

        await eventually(has_run)


@pytest.mark.parametrize(("key", "place"), [("lattice.epoch", 0), ("lattice.revision", 1)])
async def test_its_fencing_token_stands_in_wasi_config(
    world: World, tmp_path: Path, key: str, place: int
) -> None:
    await submit_one(world, "config", key)
    async with running(world, tmp_path, "one"):
        await until(world, "one", "running")
        adopted = world.reports["H1"].adopted
        token = (1, adopted.sequence)  # the first target that the stand-in wrote

        async def is_told() -> bool:
            return str(token[place]) in await lines_of(world, "one")

        await eventually(is_told)


async def test_one_that_is_withdrawn_finishes_its_calls_while_the_lease_holds(
    world: World, tmp_path: Path
) -> None:
    world.lease_ms = round(LEASE_S * 1000)
    await submit_one(world, "wait")
    async with running(world, tmp_path, "one"), anyio.create_task_group() as group:
        await until(world, "one", "running")
        ended: list[float] = []

        async def spin() -> None:
            with pytest.raises(DeadlineExceededError):
                await world.call("one", components.RUN, "run", deadline_ms=60_000)
            ended.append(time.monotonic())

        group.start_soon(spin)
        await eventually(lambda: figures(world).in_flight == 1)
        await world.assign("H1")
        await until(world, "one", "stopping")
        assert not ended
        world.is_silent = True
        silent_s = time.monotonic()
        await eventually(lambda: bool(ended), timeout_s=LEASE_S + 1)
        assert (1 - FENCE_SHARE) * LEASE_S - 1 < ended[0] - silent_s < LEASE_S
