"""One leader's term in a small world: a reconciler whose writes take place at once."""

from __future__ import annotations

from typing import Any

from lattice.model.host import ReplicaReport, Revision
from lattice.model.ids import DeploymentName, HostId
from lattice.wire.messages import DeploymentStatus, HeartbeatAck, TargetItem
from scheduler.announcements import Emit
from scheduler.delivery import (
    Document,
    ReadTargets,
    SealTargets,
    TargetsRead,
    TargetsSealed,
    TargetWritten,
    WriteTarget,
)
from scheduler.generations import Wanted
from scheduler.profile import DEFAULT
from scheduler.reconciler import (
    Acknowledge,
    Command,
    DesiredRead,
    Event,
    InventoryRead,
    Reconciler,
    Reported,
    Ticked,
)
from scheduler.records import (
    DeleteEnded,
    KeepRecord,
    ReadRecords,
    RecordKept,
    RecordsRead,
    Revert,
)
from tests.unit.scheduler.builders import inventory, replica, report

EPOCH = 50
APP = DeploymentName("app")


class Term:
    """A reconciler whose writes take place at once, at revisions 101, 102, ..."""

    def __init__(
        self, *documents: Document, hosts: str = "", known: Event | None = None,
        is_written: bool = True, statuses: tuple[DeploymentStatus, ...] = (),
    ) -> None:  # fmt: skip
        self.statuses = statuses
        self.kept: list[KeepRecord] = []
        self.asked: list[Revert | DeleteEnded] = []
        self.is_kept = True
        self.now_s = 0.0
        self.core = Reconciler(
            epoch=EPOCH, incarnation="inc", profile=DEFAULT, now_s=0.0, lease_until_s=1e9
        )
        self.revision = 100
        self.is_written = is_written
        self.documents = documents
        self.emitted: list[Emit] = []
        self.sequences: dict[str, int] = {}
        for name in hosts:
            self.feed(InventoryRead(host=HostId(name), inventory=inventory(name)))
        if known is not None:
            self.feed(known)
        self.tick()
        for name in hosts if self.documents == () else ():
            self.beat(name)
        self.tick()

    def feed(self, event: Event) -> tuple[Command, ...]:
        commands = self.core.handle(self.now_s, event)
        for command in commands:
            match command:
                case ReadTargets():
                    self.feed(TargetsRead(documents=self.documents))
                case WriteTarget() if self.is_written:
                    self.written(command)
                case SealTargets(writes=writes):
                    revisions = tuple(range(self.revision + 1, self.revision + 1 + len(writes)))
                    self.revision += len(writes)
                    self.feed(TargetsSealed(writes=writes, revisions=revisions))
                case ReadRecords():
                    self.feed(RecordsRead(statuses=self.statuses, routes=()))
                case KeepRecord():
                    self.kept.append(command)
                    self.feed(RecordKept(asked=command, is_kept=self.is_kept))
                case Revert() | DeleteEnded():
                    self.asked.append(command)
                case Emit():
                    self.emitted.append(command)
                case _:
                    pass
        return commands

    def written(self, command: WriteTarget) -> None:
        self.revision += 1
        self.feed(TargetWritten(host=command.host, ticket=command.ticket, revision=self.revision))

    def advance(self, duration_s: float) -> None:
        """Let time pass in which the renewals of the lease are answered."""
        end_s = self.now_s + duration_s
        while self.now_s + DEFAULT.renew_s < end_s:
            self.now_s += DEFAULT.renew_s
            self.core.membership.heard(self.now_s)
        self.now_s = end_s

    def tick(self, after_s: float = 0.0) -> tuple[Command, ...]:
        self.advance(after_s)
        return self.feed(Ticked())

    def beat(self, name: str, *replicas: ReplicaReport, **fields: Any) -> tuple[Command, ...]:
        self.sequences[name] = self.sequences.get(name, 0) + 1
        sent = report(name, self.sequences[name], replicas=replicas, **fields)
        return self.feed(Reported(report=sent))

    def want(self, given: Wanted, revision: int = 90) -> None:
        self.feed(DesiredRead(name=given.name, wanted=given, revision=revision))
        self.tick()

    def items(self, name: str) -> tuple[TargetItem, ...]:
        return self.core.delivery.documents[HostId(name)].items

    def counts(self) -> dict[str, dict[int, int]]:
        return {
            host: {i.generation: i.count for i in found.items}
            for host, found in sorted(self.core.delivery.documents.items())
        }

    def run_all(self, *states: tuple[str, int, str], but: str = "", **fields: Any) -> None:
        """Every host but some reports every replica of its target: as running, or in the state that
        `states` says for deployment and generation."""
        told = {(name, generation): state for name, generation, state in states}
        for host, found in list(self.core.delivery.documents.items()):
            if host in but:
                continue
            self.beat(
                host,
                *(
                    replica(
                        host, i.deployment, i.generation, assignment=i.assignment, ordinal=n,
                        state=told.get((i.deployment, i.generation), "running"), **fields,
                    )
                    for i in found.items
                    for n in range(i.count)
                ),
                adopted=Revision("inc", found.revision),
            )  # fmt: skip
        self.tick()

    def settle(self, *states: tuple[str, int, str], times: int = 8, but: str = "") -> None:
        """Let hosts report and targets change until nothing is to be done any more."""
        for _ in range(times):
            self.run_all(*states, but=but)

    def placed(self, name: str = "app") -> dict[str, int]:
        """Return how many replicas of a deployment's generations each host has in all."""
        found = {
            host: sum(i.count for i in document.items if i.deployment == name)
            for host, document in sorted(self.core.delivery.documents.items())
        }
        return {host: count for host, count in found.items() if count}

    def kinds(self) -> list[str]:
        return [emit.kind for emit in self.emitted]


def ack(commands: tuple[Command, ...]) -> HeartbeatAck:
    (found,) = [command.ack for command in commands if isinstance(command, Acknowledge)]
    return found
