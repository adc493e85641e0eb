"""Durable jobs and deployments at zero replicas, over a lattice in memory."""

from __future__ import annotations

from lattice.testing import eventually
from lattice.wire.codec import encode
from lattice.wire.durable import StoredJob
from lattice.wire.subjects import Names
from tests.integration.test_controller import Lattice, lattice


async def apply_at_zero(world: Lattice) -> None:
    manifest = world.manifest(scale={"min": 0, "max": 2})
    await world.api("put", manifest={k: v for k, v in manifest.items() if k != "replicas"})


async def store(world: Lattice, job: str) -> None:
    names = Names(world.connection.lattice)
    await world.connection.jobs.put(
        names.job("call", "app", "_", job), encode(StoredJob(op="#run")),
        over=names.job("*", "app", "*", job), expect=0, keep_s=60,
    )  # fmt: skip


async def test_a_job_wakes_a_deployment_at_zero() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1")
        await apply_at_zero(world)
        await world.until("app", "scaled-to-zero")
        await store(world, "a")
        await eventually(lambda: len(world.running()) == 1)


async def test_a_job_that_was_stored_while_nobody_led_wakes_too() -> None:
    async with lattice() as world:
        await world.scheduler("s1")
        world.host("h1")
        await apply_at_zero(world)
        await world.until("app", "scaled-to-zero")
        world.kill("s1")
        await store(world, "a")
        await world.scheduler("s2")
        await eventually(lambda: len(world.running()) == 1, timeout_s=20)
