"""The shells of the simulation: production cores, with the world in place of clocks and NATS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hosts import lifecycle
from hosts.lifecycle import Lifecycle
from lattice.model.host import Capacity, Inventory, Load, Report, Revision
from lattice.model.ids import DeploymentName, HostId
from lattice.wire.messages import HeartbeatAck
from scheduler import delivery, election, reconciler
from scheduler.announcements import Emit
from scheduler.election import Election
from scheduler.generations import Wanted
from scheduler.profile import DEFAULT
from scheduler.reconciler import Reconciler
from tests.simulation.world import KV, World

START_FAULTS = 0.05
"""Share of replicas that fail to start while the world is faulty."""

CAPACITY = Capacity(cpu_milli=8000, memory_bytes=1 << 34, slots=100)


class HostActor:
    """A host: `Lifecycle`, heartbeats, and replicas that take a moment to start and to stop."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.boots = 0
        self.core = self.new_core()

    def new_core(self) -> Lifecycle:
        return Lifecycle(host=HostId(self.name), boot=f"{self.name}-{self.boots}")

    def boot(self) -> None:
        self.boots += 1
        self.core = self.new_core()
        self.is_report_due = False
        inventory = Inventory(
            host=HostId(self.name), boot=self.core.boot, name=self.name, labels={}, interfaces=(),
            capacity=CAPACITY, features=lifecycle.FEATURES, version="",
        )  # fmt: skip
        self.keep_inventory(inventory)
        self.read_target()
        self.heartbeat()
        self.tick()

    def keep_inventory(self, inventory: Inventory) -> None:
        """Write the inventory until it is known to stand."""
        self.world.request(
            self.name,
            lambda kv: kv.put([(f"hosts.{self.name}", inventory, None)]),
            lambda result: None if isinstance(result, int) else self.keep_inventory(inventory),
        )

    def crash(self) -> None:
        self.core = self.new_core()

    def feed(self, event: lifecycle.Event) -> None:
        for command in self.core.handle(self.world.clock(self.name), event):
            self.carry_out(command)
        self.core.check()

    def carry_out(self, command: lifecycle.Command) -> None:
        world = self.world
        match command:
            case lifecycle.StartReplica(replica=replica):
                is_failing = world.is_faulty and world.random.random() < START_FAULTS
                outcome: lifecycle.Event = lifecycle.ReplicaReady(replica=replica)
                if is_failing:
                    outcome = lifecycle.ReplicaFailed(replica=replica, reason="bad luck")
                self.later(world.random.uniform(0.05, 1.0), outcome)
            case lifecycle.StopReplica(replica=replica):
                self.later(
                    world.random.uniform(0.01, 0.5), lifecycle.ReplicaStopped(replica=replica)
                )
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
                pass

    def later(self, delay_s: float, event: lifecycle.Event) -> None:
        self.world.timer(self.name, delay_s, lambda: self.feed(event))

    def heartbeat(self) -> None:
        self.report()
        pause_s = DEFAULT.heartbeat_s * self.world.random.uniform(0.9, 1.1)
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


class SchedulerActor:
    """A scheduler: `Election`, and a `Reconciler` for each term."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.boots = 0
        self.told: dict[str, tuple[str, str]] = {}
        self.crash()

    def new_election(self) -> Election:
        return Election(f"{self.name}-{self.boots}", f"incarnation-{self.name}", DEFAULT)

    def new_reconciler(self, lead: election.Lead) -> Reconciler:
        return Reconciler(
            epoch=lead.epoch, incarnation=lead.incarnation, profile=DEFAULT,
            now_s=self.world.clock(self.name), lease_until_s=self.election.lease_until_s,
        )  # fmt: skip

    def crash(self) -> None:
        self.election = self.new_election()
        self.term: Reconciler | None = None
        self.cursor = 0
        self.observed: dict[str, reconciler.Event] = {}

    def boot(self) -> None:
        self.boots += 1
        self.crash()
        self.tick()

    def tick(self) -> None:
        self.notice()
        self.elect(election.Ticked())
        if self.term is not None:
            self.decide(self.term, reconciler.Ticked())
        self.world.timer(self.name, DEFAULT.tick_s, self.tick)

    def elect(self, event: election.Event) -> None:
        for command in self.election.handle(self.world.clock(self.name), event):
            self.carry_out(command)
        if self.term is not None:
            until_s = self.election.lease_until_s
            self.decide(self.term, reconciler.LeaseExtended(until_s=until_s))

    def carry_out(self, command: election.Command) -> None:
        match command:
            case election.ReadLease():
                self.ask(lambda kv: (kv.get("leader"), kv.get("term")), self.lease_read)
            case election.Acquire():
                writes = [
                    ("leader", command.lease, command.lease_expect),
                    ("term", command.term, command.term_expect),
                ]
                acquired = lambda epoch: election.Acquired(  # noqa: E731 - a shape, not a function
                    epoch=epoch, incarnation=command.term.incarnation, asked_s=command.asked_s
                )
                self.ask(lambda kv: kv.put(writes), acquired)
            case election.Renew():
                renewed = lambda revision: election.Renewed(  # noqa: E731 - as above
                    revision=revision, asked_s=command.asked_s
                )
                self.ask(lambda kv: kv.put([("leader", command.lease, command.expect)]), renewed)
            case election.Lead():
                self.term = self.new_reconciler(command)
                for event in list(self.observed.values()):
                    self.decide(self.term, event)
            case election.Follow():
                self.term = None

    def ask(self, operation: Callable[[KV], Any], event: Callable[[Any], election.Event]) -> None:
        def done(result: Any) -> None:
            is_known = result is not None and not isinstance(result, Exception)
            self.elect(event(result) if is_known else election.Failed(reason=str(result)))

        self.world.request(self.name, operation, done)

    @staticmethod
    def lease_read(result: Any) -> election.Event:
        (lease, revision), (term, term_revision) = result
        return election.LeaseRead(
            lease=lease, revision=revision, term=term, term_revision=term_revision
        )

    def decide(self, term: Reconciler, event: reconciler.Event) -> None:
        for command in term.handle(self.world.clock(self.name), event):
            match command:
                case reconciler.Acknowledge(ack=ack):
                    assert isinstance(event, reconciler.Reported)
                    self.world.send(self.name, event.report.host, ack)
                case reconciler.Refuse(host=host):
                    self.world.send(self.name, host, command)
                case Emit():
                    self.tell(command)
                case _:
                    self.deliver(term, command)

    def tell(self, emit: Emit) -> None:
        told = (emit.kind, emit.entity)
        if self.told.setdefault(emit.id, told) != told:
            self.world.errors.append(f"event {emit.id} is both {self.told[emit.id]} and {told}")

    def fence(self, command: delivery.WriteTarget) -> tuple[str, int] | None:
        return ("term", command.epoch)

    def deliver(self, term: Reconciler, command: delivery.Command) -> None:
        def done(result: Any) -> None:
            if self.term is term:
                self.decide(term, outcome(command, result))

        match command:
            case delivery.ReadTargets():
                operation: Callable[[KV], Any] = lambda kv: {  # noqa: E731 - one of three
                    key: value for key, value in kv.values.items() if key.startswith("target.")
                }
            case delivery.ReadTarget(host=host):
                operation = lambda kv: kv.get(f"target.{host}")  # noqa: E731 - one of three
            case delivery.WriteTarget():
                writes = [(f"target.{command.host}", command.target, command.expect)]
                fence = self.fence(command)
                operation = lambda kv: kv.put(writes, fence)  # noqa: E731 - one of three
        self.world.request(self.name, operation, done)

    def watches(self, keys: set[str]) -> bool:
        return any(key.startswith(("desired.", "hosts.")) for key in keys)

    def notice(self) -> None:
        """Follow the bucket in order from where this watch stood; nothing is ever missed."""
        news, self.cursor = self.world.kv.log[self.cursor :], len(self.world.kv.log)
        for revision, key, value in news:
            family, _, name = key.partition(".")
            event: reconciler.Event
            if family == "desired":
                wanted: Wanted | None = value
                event = reconciler.DesiredRead(
                    name=DeploymentName(name), wanted=wanted, revision=revision
                )
            elif family == "hosts":
                event = reconciler.InventoryRead(host=HostId(name), inventory=value)
            else:
                continue
            self.observed[key] = event
            if self.term is not None:
                self.decide(self.term, event)

    def receive(self, message: object) -> None:
        if isinstance(message, Report) and self.term is not None:
            self.decide(self.term, reconciler.Reported(report=message))


def outcome(command: delivery.Command, result: Any) -> delivery.Outcome:
    """Return the event that the result of a request to the bucket is for the core."""
    is_known = result is not None and not isinstance(result, Exception)
    match command:
        case delivery.ReadTargets():
            if not is_known:
                return delivery.TargetsUnread()
            return delivery.TargetsRead(
                documents=tuple(document(key.partition(".")[2], result[key]) for key in result)
            )
        case delivery.ReadTarget(host=host, ticket=ticket) if is_known:
            return delivery.TargetRead(ticket=ticket, document=document(host, result))
        case delivery.WriteTarget(host=host, ticket=ticket) if is_known:
            return delivery.TargetWritten(host=host, ticket=ticket, revision=result)
        case _:
            return delivery.TargetUnknown(host=command.host, ticket=command.ticket)


def document(host: str, found: tuple[Any, int]) -> delivery.Document:
    target, revision = found
    items = tuple(target.items) if target is not None else ()
    return delivery.Document(host=HostId(host), items=items, revision=revision)
