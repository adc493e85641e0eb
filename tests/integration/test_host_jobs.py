"""Jobs on a host with the real engine: replicas that run to their end, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lattice.testing import eventually
from tests.integration.host_world import World
from tests.integration.service_guests import SPINS, exiting_process, notes, noting_process, process

pytestmark = pytest.mark.wasm

LOG = "test:log/log@0.1.0"


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


@asynccontextmanager
async def running(world: World, tmp_path: Path, *deployments: str) -> AsyncIterator[None]:
    async with world.scheduler(), world.host("H1", tmp_path):
        await world.assign("H1", *((name, 1, 1) for name in deployments))
        yield


def report(world: World, name: str = "work") -> Any:
    found = world.reports.get("H1")
    return (
        next((each for each in found.replicas if each.deployment == name), None) if found else None
    )


async def until(world: World, state: str, name: str = "work") -> None:
    await eventually(
        lambda: (each := report(world, name)) is not None and each.state == state, timeout_s=30
    )


async def test_a_job_that_ends_well_is_completed_until_its_target_withdraws_it(
    world: World, tmp_path: Path
) -> None:
    await world.submit("log", {"log-service": notes()})
    await world.submit("work", {"a-service": noting_process(2)}, job={"completions": 1},
                       links=[{"import": LOG, "to": "log"}])  # fmt: skip
    async with running(world, tmp_path, "log"):
        await until(world, "running", "log")
        await world.assign("H1", ("log", 1, 1), ("work", 1, 1))
        await until(world, "completed")
        assert await world.call("log", LOG, "told") == 77
        revision = await world.assign("H1", ("log", 1, 1), ("work", 1, 1))
        await eventually(lambda: world.reports["H1"].adopted.sequence == revision)
        assert report(world).state == "completed"
        assert await world.call("log", LOG, "told") == 77, "it ran once"
        await world.assign("H1", ("log", 1, 1))
        await eventually(lambda: report(world) is None)


@pytest.mark.parametrize("policy", ["never", "on-failure"])
@pytest.mark.parametrize(
    ("guest", "reason"),
    [
        (exiting_process(fails=True), "exited with status 1"),
        (process("i32.const 1"), "its run returned an error"),
        (process("unreachable"), "unreachable"),
    ],
)
async def test_a_job_that_fails_is_told_with_its_reason_and_not_started_again(
    world: World, tmp_path: Path, guest: bytes, reason: str, policy: str
) -> None:
    restart = {"restart": {"policy": policy, "backoff": ["1ms", "2ms"]}}
    await world.submit(
        "work", {"a-service": guest}, job={"completions": 1}, **{"a-service": restart}
    )
    async with running(world, tmp_path, "work"):
        await until(world, "failed")
        assert reason in report(world).reason
        sequence = world.reports["H1"].sequence
        await eventually(lambda: world.reports["H1"].sequence > sequence + 5)
        assert (report(world).state, report(world).restarts) == ("failed", 1)


async def test_a_job_is_withdrawn_while_it_runs(world: World, tmp_path: Path) -> None:
    await world.submit("work", {"a-service": process(SPINS)}, job={"completions": 1})
    async with running(world, tmp_path, "work"):
        await until(world, "running")
        await world.assign("H1")
        await eventually(lambda: report(world) is None)
