"""Ten thousand replicas on one host: the scheduler, the bus and the host's own shells, without an
engine. Reports and targets are then larger than a message, and all comes right."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import anyio
import pytest

from hosts.lifecycle import FEATURES, Lifecycle
from hosts.lifecycle_events import (
    Command,
    Event,
    HeartbeatDue,
    ReadTarget,
    ReplicaReady,
    ReplicaStopped,
    ReportNow,
    SendReport,
    StartReplica,
    StopReplica,
    Ticked,
)
from hosts.reporting import Reporting
from hosts.targets import Targets
from lattice.bus.base import Connection
from lattice.bus.memory import memory_connection
from lattice.clock import SystemClock
from lattice.errors import LatticeError
from lattice.model.host import Capacity, Inventory, Load
from lattice.model.ids import HostId
from lattice.testing import eventually
from lattice.wire import codec
from lattice.wire.subjects import Names
from scheduler.controller import run_scheduler
from scheduler.profile import FAST

REPLICAS = 10_000
NAMES = Names("test")
HOST = HostId("UHOST")
EMPTY_COMPONENT = b"\0asm\x0d\0\x01\0"
PATIENCE_S = 60.0


@dataclass
class Host:
    """The production core and its shells; replicas start and stop at once."""

    connection: Connection
    core: Lifecycle = field(default_factory=lambda: Lifecycle(host=HOST, boot="b"))

    async def run(self) -> None:
        facts = Inventory(
            host=HOST, boot="b", name="h", labels={}, interfaces=(), features=FEATURES, version="t",
            capacity=Capacity(cpu_milli=10**8, memory_bytes=1 << 50, slots=REPLICAS),
        )  # fmt: skip
        await self.connection.hosts.put(HOST, codec.encode(facts))
        self.targets = Targets(self.connection.control, self.connection.artifacts, HOST, self.feed)
        self.reporting = Reporting(
            bus=self.connection.bus, names=NAMES, host=HOST, heartbeat_s=FAST.heartbeat_s,
            due=self.due, acked=self.feed, refused=lambda _: None,
        )  # fmt: skip
        async with anyio.create_task_group() as self.group:
            self.group.start_soon(self.targets.watch)
            await self.reporting.run()

    def due(self) -> None:
        self.feed(Ticked())
        self.feed(HeartbeatDue(load=Load()))

    def feed(self, event: Event) -> None:
        for command in self.core.handle(SystemClock().monotonic_s(), event):
            self.carry_out(command)

    def carry_out(self, command: Command) -> None:
        match command:
            case StartReplica(replica=replica):
                self.feed(ReplicaReady(replica=replica))
            case StopReplica(replica=replica):
                self.feed(ReplicaStopped(replica=replica))
            case SendReport(report=report):
                self.group.start_soon(self.reporting.send, report)
            case ReportNow():
                self.reporting.hasten()
            case ReadTarget():
                self.group.start_soon(self.targets.read)
            case _:
                pass


async def ask(connection: Connection, subject: str, **question: object) -> dict[str, object]:
    packet = await connection.bus.request(subject, codec.encode(question), timeout_s=10)
    return codec.answer_of(packet.body)


async def is_ready(connection: Connection, count: int) -> bool:
    try:
        status = await ask(connection, NAMES.lead("status"), name="many")
    except LatticeError:
        return False
    return status["state"] == "ready" and status["running"] == count


@pytest.mark.slow
async def test_ten_thousand_replicas_run_on_one_host_and_are_reported() -> None:
    connection = memory_connection("test")
    host = Host(connection)
    image = await connection.artifacts.put(EMPTY_COMPONENT)
    manifest = {
        "lattice": "v1", "name": "many", "components": [{"name": "main", "image": image}],
        "placement": {"require": {"cpu": "1m", "memory": "1Ki"}},
    }  # fmt: skip
    async with anyio.create_task_group() as group:
        await group.start(partial(run_scheduler, connection, identity="s", profile=FAST))
        group.start_soon(host.run)
        for count in (REPLICAS, 1):
            await ask(connection, NAMES.api("put"), manifest={**manifest, "replicas": count})
            await eventually(partial(is_ready, connection, count), timeout_s=PATIENCE_S)
            await eventually(partial(_runs, host, count), timeout_s=PATIENCE_S)
        group.cancel_scope.cancel()


def _runs(host: Host, count: int) -> bool:
    return [slot.state for slot in host.core.slots.values()] == ["running"] * count
