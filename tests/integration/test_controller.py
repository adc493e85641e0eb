"""The scheduler's shell over a lattice in memory: from `api.put` to targets, and its takeovers.

Hosts are the production lifecycle core with replicas that start at once or fail on command.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest

from hosts.lifecycle import (
    FEATURES,
    Acked,
    Command,
    HeartbeatDue,
    Lifecycle,
    ReadTarget,
    ReplicaFailed,
    ReplicaReady,
    ReplicaStopped,
    ReportNow,
    SendReport,
    StartReplica,
    StopReplica,
    TargetSeen,
    Ticked,
)
from lattice.bus.base import Connection
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.memory import memory_connection
from lattice.clock import SystemClock
from lattice.errors import (
    ConflictError,
    InvalidError,
    LatticeError,
    NoRouteError,
    NotFoundError,
    UnavailableError,
    from_wire,
)
from lattice.model.host import Capacity, Inventory, Load, Revision
from lattice.model.ids import Digest, HostId
from lattice.testing import connect_as, eventually, new_host
from lattice.wire import codec
from lattice.wire.events import from_packet
from lattice.wire.messages import HeartbeatAck, Lease, Target
from lattice.wire.subjects import LEADER, Names, desired, target
from scheduler import collecting, controller
from scheduler.controller import run_scheduler
from scheduler.profile import FAST, Profile

LATTICE = "test"
NAMES = Names(LATTICE)
EMPTY_COMPONENT = b"\0asm\x0d\0\x01\0"
CLOCK = SystemClock()

QUICK = Profile(
    heartbeat_s=0.1, lost_after_s=0.4, host_lease_s=0.4, leader_lease_s=0.4, tick_s=0.02
)


@dataclass
class FakeHost:
    """A host without an engine: its replicas start and stop at once, or fail with `fault`."""

    connection: Connection
    id: HostId
    boot: str = "boot-1"
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Capacity = field(
        default_factory=lambda: Capacity(cpu_milli=1000, memory_bytes=1 << 30)
    )
    fault: str = ""
    errors: list[LatticeError] = field(default_factory=list)
    is_reporting: bool = True

    def __post_init__(self) -> None:
        self.core = Lifecycle(host=self.id, boot=self.boot)
        self._due = anyio.Event()

    @property
    def inventory(self) -> Inventory:
        return Inventory(
            host=self.id, boot=self.boot, name=f"name-{self.id}", labels=self.labels,
            interfaces=("wasi:logging/logging@0.1.0",), capacity=self.capacity, features=FEATURES,
            version="test",
        )  # fmt: skip

    async def join(self) -> None:
        await self.connection.hosts.put(self.id, codec.encode(self.inventory))

    async def leave(self) -> None:
        self.is_reporting = False
        await self.connection.hosts.delete(self.id)

    async def run(self) -> None:
        await self.join()
        async with anyio.create_task_group() as group:
            self.group = group
            group.start_soon(self._watch)
            while True:
                self._due = anyio.Event()
                if self.is_reporting:
                    self.feed(Ticked())
                    self.feed(HeartbeatDue(load=Load()))
                with anyio.move_on_after(QUICK.heartbeat_s):
                    await self._due.wait()

    def feed(self, event: Any) -> None:
        for command in self.core.handle(CLOCK.monotonic_s(), event):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case StartReplica(replica=replica) if self.fault:
                self.feed(ReplicaFailed(replica=replica, reason=self.fault))
            case StartReplica(replica=replica):
                self.feed(ReplicaReady(replica=replica))
            case StopReplica(replica=replica):
                self.feed(ReplicaStopped(replica=replica))
            case SendReport(report=report):
                self.group.start_soon(self._send, codec.encode(report))
            case ReportNow():
                self._due.set()
            case ReadTarget():
                self.group.start_soon(self._read)
            case _:
                pass

    async def _send(self, body: bytes) -> None:
        try:
            packet = await self.connection.bus.request(
                NAMES.heartbeat(self.id), body, timeout_s=1.0
            )
            reply = codec.decode(packet.body)
            if "err" in reply:
                raise from_wire(reply["err"])
            ack = codec.convert(reply["ok"], HeartbeatAck)
        except LatticeError as exc:
            self.errors.append(exc)
            return
        self.feed(Acked(sequence=ack.sequence, required=ack.required, lease_s=ack.lease_ms / 1000))

    async def _watch(self) -> None:
        # The core asks again after each ack, so a watch that ends is not needed to converge.
        async with self.connection.control.watch(target(self.id)) as entries:
            async for _ in entries:
                await self._read()

    async def _read(self) -> None:
        entry = await self.connection.control.get(target(self.id))
        if entry is not None and entry.value is not None:
            document = codec.decode_as(Target, entry.value)
            revision = Revision(document.incarnation, entry.revision)
            self.feed(TargetSeen(revision=revision, target=document))

    @property
    def running(self) -> list[str]:
        return sorted(s.replica for s in self.core.slots.values() if s.state == "running")


@dataclass
class Lattice:
    connection: Connection
    group: anyio.abc.TaskGroup
    image: Digest
    scheduler_connection: Connection | None = None
    profile: Profile = QUICK
    hosts: dict[str, FakeHost] = field(default_factory=dict)
    scopes: dict[str, anyio.CancelScope] = field(default_factory=dict)

    async def scheduler(self, identity: str = "s1") -> None:
        async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            with anyio.CancelScope() as scope:
                self.scopes[identity] = scope
                await run_scheduler(
                    self.scheduler_connection or self.connection,
                    identity=identity,
                    profile=self.profile,
                    task_status=task_status,
                )

        await self.group.start(run)

    def host(self, name: str, *, connection: Connection | None = None, **fields: Any) -> FakeHost:
        host = FakeHost(connection or self.connection, HostId(name), **fields)
        self.hosts[name] = host

        async def run() -> None:
            with anyio.CancelScope() as scope:
                self.scopes[name] = scope
                await host.run()

        self.group.start_soon(run)
        return host

    def kill(self, name: str) -> None:
        self.scopes[name].cancel()
        self.hosts.pop(name, None)

    async def ask(self, subject: str, **question: Any) -> Any:
        packet = await self.connection.bus.request(subject, codec.encode(question), timeout_s=5.0)
        reply = codec.decode(packet.body)
        if "err" in reply:
            raise from_wire(reply["err"])
        return reply["ok"]

    async def api(self, verb: str, **question: Any) -> Any:
        return await self.ask(NAMES.api(verb), **question)

    async def lead(self, verb: str, **question: Any) -> Any:
        return await self.ask(NAMES.lead(verb), **question)

    def manifest(self, name: str = "app", replicas: int = 1, **fields: Any) -> dict[str, Any]:
        return {
            "lattice": "v1",
            "name": name,
            "replicas": replicas,
            "components": [{"name": "main", "image": self.image}],
            **fields,
        }

    async def is_state(self, name: str, state: str) -> bool:
        try:
            return bool((await self.lead("status", name=name))["state"] == state)
        except (NoRouteError, NotFoundError, UnavailableError):
            return False

    async def until(self, name: str, state: str) -> Any:
        await eventually(lambda: self.is_state(name, state))
        return await self.lead("status", name=name)

    def running(self) -> list[str]:
        return sorted(r for host in self.hosts.values() for r in host.running)

    async def events(self, *kinds: str) -> list[tuple[str, str]]:
        found = []
        async with self.connection.events.read() as records:
            async for record in records:
                event = from_packet(record.body, record.headers)
                if not kinds or event.kind in kinds:
                    found.append((event.kind, event.entity))
        return found


@asynccontextmanager
async def lattice() -> AsyncIterator[Lattice]:
    connection = memory_connection(LATTICE)
    image = await connection.artifacts.put(EMPTY_COMPONENT)
    async with anyio.create_task_group() as group:
        yield Lattice(connection, group, image)
        group.cancel_scope.cancel()


async def test_submitted_deployment_runs_spread_over_the_hosts() -> None:
    async with lattice() as world:
        await world.scheduler()
        for name in ("h1", "h2", "h3"):
            world.host(name)
        answer = await world.api("put", manifest=world.manifest(replicas=3), submitted_by="ann")
        assert (answer["name"], answer["generation"], answer["changed"]) == ("app", 1, True)
        status = await world.until("app", "ready")
        assert (status["wanted"], status["placed"], status["running"]) == (3, 3, 3)
        assert [len(host.running) for host in world.hosts.values()] == [1, 1, 1]
        listed = await world.lead("hosts")
        assert [host["state"] for host in listed["hosts"]] == ["ready"] * 3
        record = (await world.api("get", name="app"))["record"]
        assert (record["generation"], record["submitted_by"]) == (1, "ann")


async def test_replicas_of_a_lost_host_run_elsewhere_and_events_tell_it() -> None:
    async with lattice() as world:
        await world.scheduler()
        for name in ("h1", "h2"):
            world.host(name)
        await world.api("put", manifest=world.manifest(replicas=2))
        await world.until("app", "ready")
        world.kill("h1")
        await eventually(lambda: len(world.running()) == 2)
        await world.until("app", "ready")
        states = {h["id"]: h["state"] for h in (await world.lead("hosts"))["hosts"]}
        assert states == {"h1": "lost", "h2": "ready"}
        kinds = [kind for kind, _ in await world.events()]
        assert kinds[0] == "leader-elected"
        assert [kinds.count(kind) for kind in ("host-joined", "host-lost")] == [2, 1]
        assert [kinds.count(kind) for kind in ("replica-placed", "replica-withdrawn")] == [3, 1]


async def test_unchanged_manifest_keeps_its_generation_and_scaling_restarts_nothing() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1")
        world.host("h2")
        await world.api("put", manifest=world.manifest(replicas=1))
        await world.until("app", "ready")
        first = world.running()
        again = await world.api("put", manifest=world.manifest(replicas=1))
        assert (again["generation"], again["changed"]) == (1, False)
        scaled = await world.api("put", manifest=world.manifest(replicas=2))
        assert (scaled["generation"], scaled["changed"]) == (1, True)
        await eventually(lambda: len(world.running()) == 2)
        assert set(first) < set(world.running())


async def test_new_generation_replaces_the_old_one_without_a_gap() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1")
        world.host("h2")
        await world.api("put", manifest=world.manifest(replicas=2))
        await world.until("app", "ready")
        answer = await world.api("put", manifest=world.manifest(replicas=2, labels={"v": "2"}))
        assert answer["generation"] == 2
        await eventually(lambda: [r.split("/")[1] for r in world.running()] == ["2", "2"])
        await world.until("app", "ready")


async def test_bad_generation_leaves_the_old_one_running_and_shows_the_hosts_error() -> None:
    async with lattice() as world:
        await world.scheduler()
        host = world.host("h1")
        await world.api("put", manifest=world.manifest(replicas=1))
        await world.until("app", "ready")
        host.fault = "main: trap: unreachable"
        await world.api("put", manifest=world.manifest(replicas=1, labels={"v": "2"}))
        status = await world.until("app", "failed")
        assert any("name-h1: main: trap: unreachable" in reason for reason in status["reasons"])
        assert [r.split("/")[1] for r in world.running()] == ["1"]


async def test_unplaced_replicas_are_explained_and_placed_when_a_host_joins() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1", labels={"zone": "us"})
        placement = {"require": {"labels": ["zone = eu"]}}
        await world.api("put", manifest=world.manifest(placement=placement))
        status = await world.until("app", "degraded")
        assert status["reasons"] == ["1 label zone=us, needs zone = eu"]
        unplaced = (await world.lead("replicas", deployment="app"))["unplaced"]
        assert [(u["deployment"], u["count"]) for u in unplaced] == [("app", 1)]
        host = world.host("h2", labels={"zone": "eu"})
        await world.until("app", "ready")
        assert len(host.running) == 1
        assert ("deployment-unplaced", "app") in await world.events()


async def test_deleted_deployment_stops_and_its_next_life_has_a_new_generation() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1")
        first = await world.api("put", manifest=world.manifest())
        await world.until("app", "ready")
        with pytest.raises(ConflictError):
            await world.api("delete", name="app", expect=first["revision"] + 100)
        await world.api("delete", name="app", expect=first["revision"])
        await eventually(lambda: world.running() == [])
        with pytest.raises(NotFoundError):
            await world.lead("status", name="app")
        assert (await world.api("put", manifest=world.manifest()))["generation"] == 2
        listed = (await world.api("list"))["deployments"]
        assert [(d["name"], d["generation"], d["replicas"]) for d in listed] == [("app", 2, 1)]


async def test_lease_of_a_vanished_leader_is_waited_out() -> None:
    async with lattice() as world:
        ghost = Lease(holder="ghost", ttl_ms=200)
        await world.connection.control.put(LEADER, codec.encode(ghost))
        await world.scheduler()
        world.host("h1")
        await world.api("put", manifest=world.manifest())
        await world.until("app", "ready")
        assert await world.events("leader-elected") == [("leader-elected", "s1")]


async def test_standby_takes_over_from_a_stopped_leader_and_nothing_moves() -> None:
    async with lattice() as world:
        await world.scheduler("s1")
        world.host("h1")
        await world.api("put", manifest=world.manifest())
        await world.until("app", "ready")
        running = world.running()
        await world.scheduler("s2")
        world.kill("s1")

        async def led_by_s2() -> bool:
            return ("leader-elected", "s2") in await world.events("leader-elected")

        await eventually(led_by_s2)
        await world.api("put", manifest=world.manifest("other"))
        await world.until("other", "ready")
        assert set(running) < set(world.running()), "nothing moves because the leader changed"


async def test_second_process_with_one_key_is_refused() -> None:
    async with lattice() as world:
        await world.scheduler()
        world.host("h1")
        await eventually(lambda: world.hosts["h1"].core.has_lease(CLOCK.monotonic_s()))
        twin = FakeHost(world.connection, HostId("h1"), boot="boot-2")
        world.group.start_soon(twin.run)
        await eventually(lambda: any(isinstance(e, ConflictError) for e in twin.errors))
        assert "two hosts with one key" in next(
            e.message for e in twin.errors if isinstance(e, ConflictError)
        )
        assert not any(isinstance(e, ConflictError) for e in world.hosts["h1"].errors)


async def test_malformed_records_are_told_and_harm_nothing() -> None:
    async with lattice() as world:
        await world.connection.control.put(desired("broken"), b"\xc1 not a record")
        await world.connection.hosts.put("ghost", b"nonsense")
        await world.scheduler()
        world.host("h1")
        await world.api("put", manifest=world.manifest())
        await world.until("app", "ready")
        await world.connection.control.put(desired("app"), b"\xc1")
        await world.until("app", "degraded")
        assert len(world.running()) == 1, "what runs goes on running"
        assert ("record-malformed", "desired.app") in await world.events("record-malformed")
        await world.api("put", manifest=world.manifest())
        await world.until("app", "ready")


async def test_every_bad_request_gets_a_typed_answer() -> None:
    async with lattice() as world:
        await world.scheduler()
        with pytest.raises(InvalidError, match="known are delete, get, history, list, pause, put"):
            await world.api("destroy")
        with pytest.raises(InvalidError, match="required field `name`"):
            await world.api("get")
        with pytest.raises(NotFoundError):
            await world.api("get", name="nobody")
        with pytest.raises(InvalidError, match=r"\$\.manifest"):
            await world.api("put", manifest=7)
        with pytest.raises(InvalidError) as missing:
            await world.api(
                "put",
                manifest=world.manifest(
                    components=[{"name": "main", "image": "sha256:" + "0" * 64}]
                ),
            )
        assert "components[0].image" in missing.value.faults[0]
        packet = await world.connection.bus.request(NAMES.api("get"), b"\xc1", timeout_s=5.0)
        refused = codec.decode(packet.body)["err"]
        assert (refused["kind"], "not MessagePack" in refused["message"]) == ("invalid", True)


async def test_api_speaks_json_when_asked() -> None:
    async with lattice() as world:
        await world.scheduler()
        headers = {codec.CONTENT_TYPE: codec.JSON_TYPE}
        body = codec.encode({"manifest": world.manifest()}, as_json=True)
        packet = await world.connection.bus.request(
            NAMES.api("put"), body, timeout_s=5.0, headers=headers
        )
        assert codec.decode(packet.body, as_json=True)["ok"]["generation"] == 1


async def test_what_nothing_uses_any_more_is_removed_from_both_buckets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(controller, "SWEEP_S", 0.02)
    for name in ("HOST_GONE_S", "TARGET_IDLE_S", "DELETED_AFTER_S"):
        monkeypatch.setattr(collecting, name, 0.1)
    async with lattice() as world:
        await world.scheduler()
        world.host("h1")
        world.host("h2")
        await world.api("put", manifest=world.manifest(replicas=2))
        await world.api("put", manifest=world.manifest(replicas=2, labels={"v": "2"}))
        await world.until("app", "ready")
        world.kill("h1")
        control, hosts = world.connection.control, world.connection.hosts

        async def is_swept() -> bool:
            return await hosts.keys() == ("h2",) and await control.keys("target") == ("target.h2",)

        await eventually(is_swept)
        await world.until("app", "ready")
        await world.api("delete", name="app")
        await eventually(lambda: not world.running())

        async def is_last_kept() -> bool:
            return await control.keys("history") == ("history.app.2",)

        await eventually(is_last_kept)
        world.host("h1", boot="boot-2")
        answer = await world.api("put", manifest=world.manifest(replicas=2))
        assert answer["generation"] == 3
        await world.until("app", "ready")


async def test_report_for_another_host_is_denied() -> None:
    async with lattice() as world:
        await world.scheduler()
        host = world.host("h1")
        await eventually(lambda: host.core.has_lease(CLOCK.monotonic_s()))
        (sent,) = [
            c for c in host.core.handle(0.0, HeartbeatDue(load=Load())) if isinstance(c, SendReport)
        ]
        packet = await world.connection.bus.request(
            NAMES.heartbeat("h2"), codec.encode(replace(sent.report)), timeout_s=5.0
        )
        assert codec.decode(packet.body)["err"]["kind"] == "denied"


@pytest.mark.nats
async def test_scheduler_works_under_its_own_permissions_and_outlives_a_nats_restart(
    fresh_nats: EmbeddedNats,
) -> None:
    identity = await new_host(fresh_nats)
    async with (
        connect_as(fresh_nats, "operator") as operator,
        connect_as(fresh_nats, "scheduler") as scheduler,
        connect_as(fresh_nats, "host", identity) as joined,
    ):
        image = await operator.artifacts.put(EMPTY_COMPONENT)
        async with anyio.create_task_group() as group:
            world = Lattice(operator, group, image, scheduler_connection=scheduler, profile=FAST)
            await world.scheduler()
            host = world.host(identity.id, connection=joined)
            await world.api("put", manifest=world.manifest())
            await world.until("app", "ready")
            before = world.running()
            await fresh_nats.kill()
            await eventually(lambda: not host.core.has_lease(CLOCK.monotonic_s()))
            assert world.running() == before, "what runs goes on without NATS"
            await fresh_nats.restart()
            await eventually(lambda: host.core.has_lease(CLOCK.monotonic_s()), timeout_s=30.0)
            await world.api("put", manifest=world.manifest("other"))
            await world.until("other", "ready")
            assert set(before) < set(world.running()), "nothing moved"
            group.cancel_scope.cancel()


@pytest.mark.nats
async def test_scheduler_makes_the_stores_again_when_nats_lost_its_disk(
    fresh_nats: EmbeddedNats,
) -> None:
    identity = await new_host(fresh_nats)
    async with (
        connect_as(fresh_nats, "operator") as operator,
        connect_as(fresh_nats, "scheduler") as scheduler,
        connect_as(fresh_nats, "host", identity) as joined,
    ):
        image = await operator.artifacts.put(EMPTY_COMPONENT)
        async with anyio.create_task_group() as group:
            world = Lattice(operator, group, image, scheduler_connection=scheduler, profile=FAST)
            await world.scheduler()
            await fresh_nats.kill()
            shutil.rmtree(fresh_nats.directory / "jetstream")
            await fresh_nats.restart()

            async def is_led_again() -> bool:
                try:
                    return (await world.lead("hosts"))["hosts"] == []
                except LatticeError:
                    return False

            await eventually(is_led_again, timeout_s=30.0)
            await operator.artifacts.put(EMPTY_COMPONENT)
            world.host(identity.id, connection=joined)
            await world.api("put", manifest=world.manifest())
            await eventually(lambda: world.is_state("app", "ready"), timeout_s=30.0)
            group.cancel_scope.cancel()
