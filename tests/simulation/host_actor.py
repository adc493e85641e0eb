"""A simulated host: the production core, with the world in place of clock, engine and NATS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hosts import lifecycle
from hosts.lifecycle import Lifecycle
from lattice.model.host import Capacity, Inventory, Load, Revision
from lattice.model.ids import HostId, ReplicaId
from lattice.wire.messages import HeartbeatAck
from scheduler import reconciler
from tests.simulation.world import World

SINGLETON, JOB = "one", "batch"
"""The deployment that is a strict singleton, and the one that ends."""

INVENTORY_S = 5.0
"""Seconds between two looks of a host at its own inventory."""

START_FAULTS = 0.05
"""Share of replicas that fail to start while the world is faulty."""

CAPACITY = Capacity(cpu_milli=24_000, memory_bytes=1 << 34, slots=100)
"""Room for all that is wanted on one host, so that what is unplaced at the end is a fault."""


class HostActor:
    """A host: `Lifecycle`, heartbeats, and replicas that take a moment to start and to stop."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.boots = 0
        self.is_cordoned = self.is_draining = False
        self.runs: Counter[ReplicaId] = Counter()  # starts and stops of each replica
        self.core = self.new_core()

    def new_core(self) -> Lifecycle:
        return Lifecycle(host=HostId(self.name), boot=f"{self.name}-{self.boots}")

    def boot(self) -> None:
        self.boots += 1
        self.core = self.new_core()
        self.is_report_due = False
        self.runs.clear()
        self.keep_inventory()
        self.read_target()
        self.heartbeat()
        self.tick()

    def inventory(self) -> Inventory:
        """Return what the host says of itself; every second host is in the other zone."""
        zone = f"z{int(self.name[1:]) % 2}"
        return Inventory(
            host=HostId(self.name), boot=self.core.boot, name=self.name, labels={"zone": zone},
            interfaces=(), capacity=CAPACITY, features=lifecycle.FEATURES, version="",
            is_cordoned=self.is_cordoned, is_draining=self.is_draining,
        )  # fmt: skip

    def mark(self, *, cordoned: bool, draining: bool) -> None:
        """Change what a person may change of a host; it outlives the process."""
        self.is_cordoned, self.is_draining = cordoned, draining

    def keep_inventory(self) -> None:
        """Look again and again whether the inventory stands, and write it when it does not."""
        key = f"hosts.{self.name}"

        def read(result: Any) -> None:
            facts = self.inventory()
            if isinstance(result, tuple) and result[0] != facts:
                self.world.request(self.name, lambda kv: kv.put([(key, facts, None)]), written)
            else:
                self.world.timer(self.name, INVENTORY_S, self.keep_inventory)

        def written(result: Any) -> None:
            self.world.timer(self.name, INVENTORY_S, self.keep_inventory)

        self.world.request(self.name, lambda kv: kv.get(key), read)

    def crash(self) -> None:
        self.core = self.new_core()

    def feed(self, event: lifecycle.Event) -> None:
        self.world.fed.add(self.name)
        for command in self.core.handle(self.world.clock(self.name), event):
            self.carry_out(command)
        self.core.check()

    def carry_out(self, command: lifecycle.Command) -> None:
        world = self.world
        match command:
            case lifecycle.StartReplica():
                world.moves += 1
                self.start(command)
            case lifecycle.StopReplica(replica=replica):
                world.moves += 1
                self.runs[replica] += 1  # what it would still have said is not heard any more
                stopped = lifecycle.ReplicaStopped(replica=replica)
                self.later(replica, world.random.uniform(0.01, 0.5), stopped)
            case lifecycle.SendReport(report=report):
                for name in world.nodes:
                    if name.startswith("s"):
                        world.send(self.name, name, report)
            case lifecycle.ReportNow():
                if not self.is_report_due:
                    self.is_report_due = True
                    world.timer(self.name, 0.05, self.report)
            case lifecycle.ReadTarget():
                self.read_target()
            case lifecycle.Announce():
                world.moves += 1
                world.told(f"{self.name} {self.core.boot}", command)

    def start(self, command: lifecycle.StartReplica) -> None:
        """Let a replica begin: most become ready, some only after a while, some fail."""
        world, replica, name = self.world, command.replica, command.deployment
        luck = world.random.random()
        took_s = world.random.uniform(0.05, 1.0)
        self.runs[replica] += 1
        if name == SINGLETON:
            self.feed(lifecycle.SingletonFound(replica=replica))
        is_unlucky = world.is_faulty and luck < START_FAULTS
        if (name, command.generation) in world.broken:
            self.later(
                replica, took_s, lifecycle.ReplicaFailed(replica=replica, reason="it is broken")
            )
        elif name == JOB:
            self.later(replica, took_s * 5, self.end(replica, is_unlucky=is_unlucky))
        elif is_unlucky:
            self.later(replica, took_s, lifecycle.ReplicaFailed(replica=replica, reason="bad luck"))
        else:
            if world.is_faulty and luck > 1 - START_FAULTS:
                unready = lifecycle.ReplicaUnready(replica=replica, reason="it warms up")
                self.later(replica, took_s, unready)
                took_s += world.random.uniform(0.1, 5.0)
            self.later(replica, took_s, lifecycle.ReplicaReady(replica=replica))

    def end(self, replica: ReplicaId, *, is_unlucky: bool) -> Callable[[], lifecycle.Event]:
        """Return how a job's replica ends; that it ended well counts from then."""

        def ended() -> lifecycle.Event:
            self.world.over.add(replica)
            if is_unlucky:
                return lifecycle.ReplicaFailed(replica=replica, reason="bad luck", is_final=True)
            self.world.ended.add(replica)
            return lifecycle.ReplicaCompleted(replica=replica)

        return ended

    def later(
        self, replica: ReplicaId, delay_s: float,
        event: lifecycle.Event | Callable[[], lifecycle.Event],
    ) -> None:  # fmt: skip
        """Feed an event of a replica, unless it was stopped or started again meanwhile."""
        run = self.runs[replica]

        def feed() -> None:
            if self.runs[replica] == run:
                self.feed(event() if callable(event) else event)

        self.world.timer(self.name, delay_s, feed)

    def heartbeat(self) -> None:
        self.report()
        pause_s = self.world.profile.heartbeat_s * self.world.random.uniform(0.9, 1.1)
        self.world.timer(self.name, pause_s, self.heartbeat)

    def report(self) -> None:
        self.is_report_due = False
        self.feed(lifecycle.HeartbeatDue(load=Load()))

    def tick(self) -> None:
        self.feed(lifecycle.Ticked())
        self.world.timer(self.name, 0.5, self.tick)

    def read_target(self) -> None:
        self.world.request(self.name, lambda kv: kv.get(f"target.{self.name}"), self.see)

    def see(self, result: Any) -> None:
        if isinstance(result, tuple) and result[0] is not None:
            target, sequence = result
            revision = Revision(target.incarnation, sequence)
            self.feed(lifecycle.TargetSeen(revision=revision, target=target))

    def watches(self, keys: set[str]) -> bool:
        return f"target.{self.name}" in keys

    def hear(self, host: str) -> None:
        """Only schedulers are told who disconnected."""

    def notice(self) -> None:
        """A watch tells of a change; what it tells is old when it took long."""
        self.read_target()

    def receive(self, message: object) -> None:
        if isinstance(message, HeartbeatAck):
            self.feed(
                lifecycle.Acked(
                    sequence=message.sequence,
                    required=message.required,
                    lease_s=message.lease_ms / 1000,
                )
            )
        elif isinstance(message, reconciler.Refuse) and message.is_leading:
            # The agent ends, and whoever supervises it starts it again.
            world, name = self.world, self.name
            world.kill(name)
            world.at(world.random.uniform(1, 3), f"revive {name}", lambda: world.revive(name))
