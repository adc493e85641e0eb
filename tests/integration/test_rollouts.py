"""Rollouts over a lattice in memory: statuses, routes and reverts, from `api.put` to hosts."""

from __future__ import annotations

from dataclasses import replace

from lattice.bus.base import Write
from lattice.bus.memory import memory_connection
from lattice.model.ids import DeploymentName
from lattice.testing import eventually
from lattice.wire import codec
from lattice.wire.messages import (
    DeploymentRecord,
    DeploymentRoute,
    DeploymentStatus,
    Term,
)
from lattice.wire.subjects import TERM, desired, history, route, status
from scheduler.keeping import Keeper
from scheduler.records import (
    DeleteEnded,
    KeepRecord,
    ReadRecords,
    RecordKept,
    RecordsRead,
    Revert,
)
from tests.integration.test_controller import Lattice, lattice

APP = DeploymentName("app")


async def good_generation(world: Lattice) -> int:
    entry = await world.connection.control.get(status("app"))
    if entry is None or entry.value is None:
        return 0
    return codec.decode_as(DeploymentStatus, entry.value).good_generation


async def is_good(world: Lattice, generation: int) -> bool:
    return await good_generation(world) == generation


async def is_route(world: Lattice, wanted: DeploymentRoute | None) -> bool:
    entry = await world.connection.control.get(route("app"))
    value = entry.value if entry is not None else None
    return wanted == (None if value is None else codec.decode_as(DeploymentRoute, value))


async def test_bad_generation_reverts_itself_even_under_a_new_leader() -> None:
    async with lattice() as world:
        await world.scheduler("s1")
        host = world.host("h1")
        await world.api("put", manifest=world.manifest(replicas=2))
        await world.until("app", "ready")
        await eventually(lambda: is_good(world, 1))
        first = world.running()
        world.kill("s1")
        await world.scheduler("s2")
        host.fault = "main: trap: unreachable"
        update = {"progressDeadline": "1s"}
        await world.api(
            "put", manifest=world.manifest(replicas=2, labels={"v": "2"}, update=update)
        )
        found = await world.until("app", "reverted")
        assert (found["generation"], found["reverted"], found["good_generation"]) == (1, 2, 1)
        assert "generation 2 was given up: no progress for 1 s" in " ".join(found["reasons"])
        assert world.running() == first, "what ran was never touched"
        record = (await world.api("get", name="app"))["record"]
        assert (record["generation"], record["reverted"]) == (1, 2)
        kinds = [kind for kind, entity in await world.events() if entity == "app"]
        assert kinds.count("rollout-stuck") == kinds.count("rollout-reverted") == 1


async def test_deployment_at_zero_is_woken_and_its_route_says_that_it_may_be() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1")
        await world.api("put", manifest={
            key: value for key, value in world.manifest(scale={"min": 0, "max": 2}).items()
            if key != "replicas"
        })  # fmt: skip
        await world.until("app", "scaled-to-zero")
        await eventually(lambda: is_route(world, DeploymentRoute(name="app", wakes=True)))
        assert await world.lead("wake", name="other") == {"wakes": False, "ready": False}
        assert (await world.lead("wake", name="app"))["wakes"]
        await eventually(lambda: len(world.running()) == 1)
        await world.api("delete", name="app")
        await eventually(lambda: world.running() == [])
        await eventually(lambda: is_route(world, None))


async def test_drained_host_ends_empty_and_nothing_is_missing_meanwhile() -> None:
    async with lattice() as world:
        await world.scheduler()
        first, second = world.host("h1"), world.host("h2")
        await world.api("put", manifest=world.manifest(replicas=2))
        await world.until("app", "ready")
        drained = replace(first.inventory, is_cordoned=True, is_draining=True)
        await world.connection.hosts.put(first.id, codec.encode(drained))
        await eventually(lambda: not first.running)
        assert len(second.running) == 2
        assert (await world.until("app", "ready"))["placed"] == 2


async def test_leader_keeps_and_removes_records_only_while_its_term_stands() -> None:
    control = memory_connection("test").control
    epoch = await control.put_many(
        [Write(key=TERM, value=codec.encode(Term(holder="s", incarnation="i")))]
    )
    keeper = Keeper(control)
    kept = DeploymentStatus(name="app", good_generation=3)
    keep = KeepRecord(name=APP, kind=DeploymentStatus, value=kept, epoch=epoch)
    assert await keeper.carry_out(keep) == RecordKept(asked=keep, is_kept=True)
    assert await keeper.carry_out(ReadRecords()) == RecordsRead(statuses=(kept,), routes=())
    late = replace(keep, value=None, epoch=epoch - 1)
    assert await keeper.carry_out(late) == RecordKept(asked=late, is_kept=False)
    assert await keeper.carry_out(ReadRecords()) == RecordsRead(statuses=(kept,), routes=())
    await keeper.carry_out(replace(late, epoch=epoch))
    assert await keeper.carry_out(ReadRecords()) == RecordsRead(statuses=(), routes=())


async def test_revert_and_removal_leave_alone_what_was_changed_meanwhile() -> None:
    control = memory_connection("test").control
    epoch = await control.put_many(
        [Write(key=TERM, value=codec.encode(Term(holder="s", incarnation="i")))]
    )
    manifest = {"lattice": "v1", "name": "app", "replicas": 2, "components": [
        {"name": "main", "image": "sha256:" + "0" * 64}]}  # fmt: skip
    old = DeploymentRecord(name="app", generation=1, manifest=manifest)
    new = replace(old, generation=2, manifest={**manifest, "replicas": 5}, is_paused=True)
    await control.put(history("app", 1), codec.encode(old))
    revision = await control.put(desired("app"), codec.encode(new))
    keeper = Keeper(control)
    go_back = Revert(
        name=APP, to=1, given_up=2, revision=revision - 1, reason="it was bad", epoch=epoch
    )
    await keeper.carry_out(go_back)
    await keeper.carry_out(DeleteEnded(name=APP, revision=revision - 1, epoch=epoch))
    await keeper.carry_out(replace(go_back, revision=revision, epoch=epoch - 1))
    entry = await control.get(desired("app"))
    assert entry is not None
    assert entry.revision == revision
    await keeper.carry_out(replace(go_back, revision=revision))
    entry = await control.get(desired("app"))
    assert entry is not None
    assert entry.value is not None
    found = codec.decode_as(DeploymentRecord, entry.value)
    assert (found.generation, found.reverted, found.reason) == (1, 2, "it was bad")
    assert (found.manifest["replicas"], found.is_paused) == (5, True), "as many as now"
    await keeper.carry_out(DeleteEnded(name=APP, revision=entry.revision, epoch=epoch))
    entry = await control.get(desired("app"))
    assert entry is None or entry.value is None
