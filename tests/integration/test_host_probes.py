"""Readiness and liveness probes of replicas on a host with the real engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from lattice.errors import DeadlineExceededError, NoRouteError
from lattice.testing import eventually
from tests.guests import components, web_guests
from tests.integration.host_world import World
from tests.integration.service_guests import patient

pytestmark = pytest.mark.wasm

HEALTH = "test:health/health@0.1.0"
QUICK = {"every": "50ms", "timeout": "40ms", "failures": 2}
WELL, UNWELL, TRAPS, HANGS = range(4)


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(world: World, tmp_path: Path, *deployments: str) -> AsyncIterator[None]:
    async with world.scheduler(), world.host("H1", tmp_path):
        await world.assign("H1", *((name, 1, 1) for name in deployments))
        yield


async def until(world: World, state: str, deployment: str = "sick") -> None:
    await eventually(lambda: world.states("H1").get(deployment, ("", ""))[0] == state, timeout_s=30)


def report(world: World) -> Any:
    (found,) = world.reports["H1"].replicas
    return found


async def become(world: World, how: int) -> None:
    """Tell the service how to be; a probe that hangs in it is not the test's matter."""
    await world.call("sick", HEALTH, "become", [how])


@pytest.mark.parametrize("function", ["ok", "check"])
async def test_an_unready_replica_takes_no_calls_and_goes_on_running(
    world: World, tmp_path: Path, function: str
) -> None:
    probe = {"export": f"{HEALTH}#{function}", **QUICK}
    await world.submit("sick", {"a-service": patient()}, ready=probe)
    async with running(world, tmp_path, "sick"):
        await until(world, "running")
        calls = report(world).calls
        await become(world, UNWELL)
        await until(world, "unready")
        assert "failed" in world.states("H1")["sick"][1]
        with pytest.raises(NoRouteError):
            await become(world, WELL)
        told = report(world)
        assert (told.restarts, told.calls) == (0, calls + 1), "probes are no calls of users"


async def test_a_replica_is_unready_until_its_probe_succeeds_first(
    world: World, tmp_path: Path
) -> None:
    probe = {"http": "/trap", **QUICK}
    await world.submit("web", {"guest": web_guests.paths()}, ready=probe)
    await world.submit("fine", {"guest": web_guests.paths()}, ready={"http": "/headers", **QUICK})
    async with running(world, tmp_path, "web", "fine"):
        await until(world, "running", "fine")
        await until(world, "unready", "web")
        await eventually(lambda: "trap" in world.states("H1")["web"][1])


@pytest.mark.parametrize("how", [UNWELL, TRAPS, HANGS])
async def test_a_replica_that_is_not_alive_is_started_again_with_the_reason(
    world: World, tmp_path: Path, how: int
) -> None:
    probe = {"export": f"{HEALTH}#ok", **QUICK}
    restart = {"restart": {"policy": "never"}}  # what traps stays dead, until its replica goes
    await world.submit(
        "sick", {"a-service": patient()}, live=probe,
        **{"a-service": restart | {"limits": {"deadline": "60s"}}},
    )  # fmt: skip
    reasons: set[str] = set()

    def is_told() -> bool:
        reasons.add(world.states("H1").get("sick", ("", ""))[1])
        return any("liveness probe" in reason for reason in reasons)

    async with running(world, tmp_path, "sick"):
        await until(world, "running")
        await become(world, how)
        await eventually(is_told, timeout_s=30)
        await until(world, "running")
        assert report(world).restarts == 1


async def test_a_service_that_works_for_long_is_not_called_dead_for_it(
    world: World, tmp_path: Path
) -> None:
    probe = {"export": f"{HEALTH}#ok", **QUICK, "failures": 1}
    await world.submit(
        "sick", {"a-service": patient()}, live=probe,
        **{"a-service": {"limits": {"deadline": "1s"}}},
    )  # fmt: skip
    async with running(world, tmp_path, "sick"), anyio.create_task_group() as group:
        await until(world, "running")

        async def work() -> None:
            with pytest.raises(DeadlineExceededError, match="did not return"):
                await world.call("sick", HEALTH, "work")

        group.start_soon(work)
        await eventually(lambda: report(world).in_flight == 1)
        await eventually(lambda: report(world).in_flight == 0, timeout_s=10)
        assert "liveness" not in report(world).reason
        assert report(world).state == "running"


async def test_a_probe_of_what_is_not_there_fails_the_replica_with_the_reason(
    world: World, tmp_path: Path
) -> None:
    await world.submit("sick", {"add": components.add()}, ready={"export": "test:math/add#add"})
    async with running(world, tmp_path, "sick"):
        await until(world, "failed")
        assert "takes 2 parameters" in world.states("H1")["sick"][1]
