"""Why here, why not there, what would move: asked of a scheduler over a lattice in memory."""

from __future__ import annotations

import pytest

from lattice.client.session import LatticeClient
from lattice.errors import NotFoundError
from lattice.model.host import Capacity
from lattice.testing import eventually
from tests.integration.test_controller import Lattice, lattice

MIB = 1 << 20


def client_of(world: Lattice) -> LatticeClient:
    return LatticeClient(world.connection)


async def settled(world: Lattice, name: str, unplaced: int) -> None:
    async def is_so() -> bool:
        found = await client_of(world).explain(name)
        is_waiting = any(each.kind in ("frozen", "silent") for each in found.reasons)
        return found.unplaced == unplaced and not is_waiting

    await eventually(is_so)


async def test_unplaced_deployment_is_told_what_keeps_it_away_and_what_would_let_it_in() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1", labels={"zone": "eu"})
        world.host("h2", labels={"zone": "us"}, capacity=Capacity(cpu_milli=100, memory_bytes=MIB))
        placement = {"require": {"labels": ["zone = us"], "cpu": "200m"}}
        await world.api("put", manifest=world.manifest(replicas=2, placement=placement))
        await eventually(lambda: world.is_state("app", "degraded"))
        await settled(world, "app", 2)
        found = await client_of(world).explain("app")
        assert (found.wanted, found.placed, found.hosts, found.feasible) == (2, 0, 2, 0)
        assert [(each.hosts, each.text, each.host_name) for each in found.reasons] == [
            (1, "cpu 100m free, needs 200m", "name-h2"),
            (1, "label zone=eu, needs zone = us", ""),
        ]
        assert [(each.hosts, each.text) for each in found.relaxations] == [
            (1, "if it asked for no more than 100m of cpu"),
            (1, "without the requirement zone = us"),
        ]
        assert found.preemption.text == "it does not preempt, and it would not help"
        assert found.planned_s is not None
        assert found.oldest_heartbeat_s is not None


async def test_placed_deployment_is_told_with_the_scores_of_its_hosts_and_of_the_next_best() -> (
    None
):
    async with lattice() as world:
        await world.scheduler()
        world.host("h1", labels={"fast": "yes"})
        world.host("h2")
        placement = {"prefer": [{"labels": "fast", "weight": 50}]}
        await world.api("put", manifest=world.manifest(placement=placement))
        await world.until("app", "ready")
        await settled(world, "app", 0)
        found = await client_of(world).explain("app")
        assert [(each.host, each.replicas) for each in found.here] == [("h1", 1)]
        assert [(each.host, each.replicas) for each in found.best] == [("h2", 0)]
        assert found.here[0].preferences == (1 << 20) // 2
        for each in (*found.here, *found.best):
            terms = (each.preferences, each.alignment, each.share, each.own)
            assert each.score == sum(terms)
        assert found.here[0].score > found.best[0].score


async def test_why_not_has_every_rule_with_its_verdict() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1", labels={"zone": "us"}, capacity=Capacity(cpu_milli=100, memory_bytes=MIB))
        world.host("h2", labels={"zone": "eu"})
        placement = {"require": {"labels": ["zone = eu"], "cpu": "200m"}}
        await world.api("put", manifest=world.manifest(placement=placement))
        await world.until("app", "ready")
        await settled(world, "app", 0)
        found = await client_of(world).why_not("app", "h1")
        assert (found.feasible, found.replicas, found.host_name) == (False, 0, "name-h1")
        assert [each.text for each in found.verdicts if not each.met] == [
            "label zone=us, needs zone = eu",
            "cpu 100m free, needs 200m",
        ]
        assert "not cordoned" in [each.text for each in found.verdicts if each.met]
        there = await client_of(world).why_not("app", "h2")
        assert (there.feasible, there.replicas) == (True, 1)
        with pytest.raises(NotFoundError, match="no host h9"):
            await client_of(world).why_not("app", "h9")
        with pytest.raises(NotFoundError, match="no deployment other"):
            await client_of(world).explain("other")


async def test_dry_run_tells_the_moves_and_changes_nothing() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1")
        world.host("h2")
        client = client_of(world)
        await world.api("put", manifest=world.manifest(replicas=1))
        await world.until("app", "ready")
        await settled(world, "app", 0)
        more = await client.plan(world.manifest(replicas=3))
        (app,) = more.deployments
        assert (app.generation, app.changed, app.starts, app.stops, app.stays) == (1, True, 2, 0, 1)
        assert sum(each.starts for each in app.hosts) == 2
        again = await client.plan(world.manifest(replicas=1))
        assert (again.deployments[0].changed, again.deployments[0].stays) == (False, 1)
        other = await client.plan(world.manifest(replicas=1, labels={"v": "2"}))
        assert (other.deployments[0].generation, other.deployments[0].stops) == (2, 1)
        far = await client.plan(
            world.manifest("far", placement={"require": {"labels": ["zone = mars"]}})
        )
        assert (far.deployments[0].unplaced, far.others) == (1, [])
        assert far.deployments[0].reasons == ["2 no label zone, needs zone = mars"]
        assert [each.name for each in await client.deployments()] == ["app"]
        assert (await client.explain("app")).placed == 1


async def test_dry_run_is_what_applying_brings_about() -> None:
    async with lattice() as world:
        await world.scheduler()
        for name in ("h1", "h2", "h3"):
            world.host(name)
        client = client_of(world)
        await world.api("put", manifest=world.manifest("other", replicas=2))
        await world.until("other", "ready")
        await settled(world, "other", 0)
        told = await client.plan(world.manifest(replicas=4))
        await world.api("put", manifest=world.manifest(replicas=4))
        await world.until("app", "ready")
        replicas = (await client.replicas("app")).replicas
        for each in told.deployments[0].hosts:
            assert each.starts == sum(replica.host == each.host for replica in replicas)


async def test_dry_run_names_who_would_be_driven_out() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1", capacity=Capacity(cpu_milli=1000, memory_bytes=1 << 30))
        client = client_of(world)
        low = {"require": {"cpu": "600m"}}
        await world.api("put", manifest=world.manifest("low", placement=low))
        await world.until("low", "ready")
        await settled(world, "low", 0)
        high = {"require": {"cpu": "600m"}, "priority": 10, "preempt": "lower"}
        told = await client.plan(world.manifest("high", placement=high))
        assert [(each.name, each.stops, each.unplaced) for each in told.others] == [("low", 1, 1)]
        assert [(e.deployment, e.count, e.by) for e in told.evictions] == [("low", 1, "high")]
        never = {"require": {"cpu": "600m"}, "priority": 10}
        await world.api("put", manifest=world.manifest("high", placement=never))
        await settled(world, "high", 1)
        found = await client.explain("high")
        assert found.preemption.text == (
            "it does not preempt; with `preempt: lower` it would drive out 1 of low on name-h1"
        )
