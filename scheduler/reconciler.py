"""Drives the lattice towards what is desired, for one term of leadership; a core without I/O.

Targets are sealed first, then planned and written as membership, desired state and reports change.
`handle` is the only entrance; it returns commands, each of which has exactly one outcome that comes
back as an event. Nothing is written and no lease is granted after the own lease ran out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import assert_never

from lattice.model.host import Report, Taint
from lattice.model.ids import DeploymentName, HostId
from lattice.wire.messages import HeartbeatAck
from scheduler import delivery, records
from scheduler.announcements import Announcements
from scheduler.around import Around
from scheduler.backoff import FailureMemory
from scheduler.collecting import Collector, DropGenerations, DropInventory, Found, HistoryRead
from scheduler.deciding import Decider
from scheduler.delivery import Delivery
from scheduler.flapping import TAINT, Flapping
from scheduler.generations import Wanted
from scheduler.lagging import Lags
from scheduler.membership import Accepted, Ignored, Member, Membership, MembershipChanged, Refused
from scheduler.memory import Memory, RestoreSeen, running_items
from scheduler.pacing import ZONE
from scheduler.placement.model import Candidate, Key, Unplaced
from scheduler.placement.plan import State
from scheduler.probing import Hinted, Probed
from scheduler.profile import Profile
from scheduler.reconciler_events import (
    Acknowledge,
    Command,
    DesiredRead,
    Event,
    InventoryRead,
    LeaseExtended,
    Refuse,
    Reported,
    Ticked,
)
from scheduler.scaling import QueueSeen
from scheduler.wishes import Woken

__all__ = [
    "FAILURES_MIN",
    "Acknowledge",
    "Command",
    "DesiredRead",
    "Event",
    "InventoryRead",
    "LeaseExtended",
    "Reconciler",
    "Refuse",
    "Reported",
    "Ticked",
    "Woken",
]

FAILURES_MIN = 2
"""Failed starts after which a replica is moved: the host itself repeats the first at once."""


class Reconciler:
    """What one leader knows and does. Made anew for each term."""

    def __init__(
        self, *, epoch: int, incarnation: str, profile: Profile, now_s: float, lease_until_s: float
    ) -> None:
        self.epoch = epoch
        self.delivery = Delivery(epoch, incarnation)
        self.membership = Membership(profile, now_s=now_s)
        self.failures = FailureMemory()
        self.flapping = Flapping(profile)
        self.decider = Decider(epoch=epoch, incarnation=incarnation, profile=profile, now_s=now_s)
        self.planned_at_s: float | None = None
        self.announcements = Announcements(epoch)
        self._collector = Collector()
        self.memory = Memory(incarnation, profile.lost_after_s)
        self._lags = Lags(profile.heartbeat_s)
        self._profile = profile
        self._lease_until_s = lease_until_s
        self._avoided_s: float | None = None  # when the next avoidance of a host ends

    @property
    def is_due(self) -> bool:
        """Tell whether the next tick has something to plan."""
        return self.decider.is_due

    @property
    def wanted(self) -> Mapping[DeploymentName, Wanted | None]:
        """Return what is desired; None for a record that cannot be read."""
        return self.decider.wishes.wanted

    @property
    def unplaced(self) -> Mapping[Key, Unplaced]:
        """Return what fitted nowhere in the last plan."""
        return self.decider.unplaced

    @property
    def state(self) -> State:
        """Return the state of placement, as the last plan left it."""
        return self.decider.state

    def handle(self, now_s: float, event: Event) -> tuple[Command, ...]:
        """Take in one event and return what to do about it, in order."""
        match event:
            case Ticked(may_plan=may_plan):
                return self._ticked(now_s, may_plan=may_plan)
            case LeaseExtended():
                if event.until_s > self._lease_until_s:
                    self.membership.heard(now_s)
                self._lease_until_s = event.until_s
                return ()
            case DesiredRead():
                return self._desired(event)
            case InventoryRead():
                changes = self.membership.inventory_read(now_s, event.host, event.inventory)
                self.decider.host_changed(event.host, event.inventory)
                return self._changed(now_s, changes)
            case Reported():
                return self._reported(now_s, event.report)
            case RestoreSeen():
                return self._restore_seen(now_s, event)
            case Hinted() | Probed():
                return self._suspected(now_s, event)
            case QueueSeen():
                self.decider.wishes.queue_seen(event)  # the next tick looks at it
                return ()
            case Woken() | records.RecordsRead() | records.RecordsUnread() | records.RecordKept():
                self.decider.told(now_s, event)
                return ()
            case HistoryRead():
                return self._collect(now_s, event.generations)
            case _:
                return self._delivered(event)

    # --- what is known --------------------------------------------------------------------

    def _desired(self, event: DesiredRead) -> tuple[Command, ...]:
        before = self.wanted.get(event.name)
        if event.wanted is None and not event.is_malformed:
            self.decider.deleted(event.name)
        else:
            self.decider.desired(event.name, event.wanted, event.revision)
        if event.is_malformed:
            return ()
        told = self.announcements.desired(event.name, event.wanted, event.revision)
        given_up = before.generation if before is not None else 0
        if event.wanted is not None and given_up and event.wanted.reverted == given_up:
            return (*told, self.announcements.reverted(event.wanted, event.revision))
        return told

    def _changed(self, now_s: float, changes: tuple[MembershipChanged, ...]) -> tuple[Command, ...]:
        if not changes:
            return ()
        commands: list[Command] = []
        zones = Counter[str]()
        if any(change.change == "lost" for change in changes):
            # Once for all: a look at every host costs more than what becomes of one.
            zones.update(self.membership.labels(ZONE))
        for change in changes:
            host = change.host
            member = self.membership.member(host)
            commands.append(
                self.announcements.host(change, {host: member} if member is not None else {})
            )
            self.decider.host_changed(host, member.inventory if member is not None else None)
            match change.change:
                case "lost":
                    self.flapping.lost(now_s, host)
                    self.decider.reported(now_s, host, None)
                    commands += self._mass(now_s, host, zones)
                case "left":
                    self.flapping.forget(host)
                    self.decider.reported(now_s, host, None)
                case "returned":
                    self.decider.brake.returned(host)
                    if self.flapping.returned(now_s, host):
                        losses = self.flapping.losses(host)
                        commands.append(self.announcements.held_off(host, losses))
                case "joined" | "rebooted":
                    pass
        return tuple(commands)

    def _mass(self, now_s: float, host: HostId, zones: Mapping[str, int]) -> tuple[Command, ...]:
        """Put the brake on when so much is gone at once that the network may be at fault."""
        member = self.membership.member(host)
        zone = member.inventory.labels.get(ZONE, "") if member is not None else ""
        replicas = sum(self.decider.ledger.listed(host).values())
        if not self.decider.brake.lost(now_s, host, zone, zones, replicas):
            return ()
        members = self.membership.members()
        lost = sum(1 for member in members.values() if member.state == "lost")
        return (self.announcements.braked(lost, len(members)),)

    def _suspected(self, now_s: float, event: Hinted | Probed) -> tuple[Command, ...]:
        if isinstance(event, Hinted):
            return self.membership.hinted(now_s, event)
        changes, probes = self.membership.probed(now_s, event)
        return (*probes, *self._changed(now_s, changes))

    def _reported(self, now_s: float, report: Report) -> tuple[Command, ...]:
        if now_s >= self._lease_until_s:
            return (Refuse(host=report.host, reason="leads no longer", is_leading=False),)
        self.membership.heard(now_s)
        last = self.membership.last_report(report.host)
        match self.membership.reported(now_s, report):
            case Refused(reason=reason):
                return (Refuse(host=report.host, reason=reason),)
            case Ignored():
                return (self._ack(report, is_granting=False),)
            case Accepted(changes=changes):
                pass
            case _ as unreachable:
                assert_never(unreachable)
        commands: list[Command] = [*self._document_for(report)]
        required = self.delivery.revision(report.host)
        is_newer = report.adopted.sequence > required.sequence and required.sequence > 0
        is_ahead = report.adopted.incarnation == required.incarnation and is_newer
        if is_ahead or self._lags.is_due(now_s, report, required):
            commands += self.delivery.reseal(report.host)
        if self.flapping.heard(now_s, report.host):
            member = self.membership.member(report.host)
            self.decider.host_changed(report.host, member.inventory if member else None)
        is_same = last is not None and last.replicas == report.replicas
        if not is_same:
            self._note_failures(now_s, report)
        changed = self._changed(now_s, changes)
        self.decider.reported(now_s, report.host, report, is_same=is_same)
        if commands:
            self.decider.written(report.host, self.delivery, None)
        acknowledged = self._ack(report, is_granting=True)
        if acknowledged.ack.lease_ms:
            self.decider.singletons.granted(now_s, report.host)
        return (acknowledged, *commands, *changed)

    def _document_for(self, report: Report) -> tuple[Command, ...]:
        """Give a host its document if it has none; what it runs stays when the bucket was lost."""
        match self.memory.verdict(report, is_wanted=bool(self.wanted)):
            case "wait":
                return ()
            case "adopt":
                return self.delivery.ensure(report.host, running_items(report))
            case "empty":
                return self.delivery.ensure(report.host)

    def _restore_seen(self, now_s: float, event: RestoreSeen) -> tuple[Command, ...]:
        self.memory.restore_seen(now_s, event)
        return tuple(
            command
            for member in self.membership.members().values()
            if member.report is not None and member.state == "ready"
            for command in self._document_for(member.report)
        )

    def _ack(self, report: Report, *, is_granting: bool) -> Acknowledge:
        """Grant a lease only to a host whose target this term has sealed."""
        is_sealed = report.host in self.delivery.documents
        lease_s = self._profile.host_lease_s if is_granting and is_sealed else 0
        return Acknowledge(
            ack=HeartbeatAck(
                sequence=report.sequence,
                required=self.delivery.revision(report.host),
                lease_ms=round(lease_s * 1000),
                heartbeat_ms=round(self._profile.heartbeat_s * 1000),
                # A second process with this key wrote its own before it was refused. Only who is
                # granted a lease puts it right, so that the two never take turns.
                is_inventory_wanted=not self.membership.has_inventory(
                    report.host, report.boot if lease_s else ""
                ),
            )
        )

    def _note_failures(self, now_s: float, report: Report) -> None:
        for replica in report.replicas:
            is_failing = replica.state == "failed" and replica.restarts >= FAILURES_MIN
            if is_failing or replica.state == "crash-loop":
                key = (replica.deployment, replica.generation)
                if self.failures.note(now_s, key, report.host, replica.reason):
                    self.decider.look_at(replica.deployment)

    def _delivered(self, outcome: delivery.Outcome) -> tuple[Command, ...]:
        commands, changed = self.delivery.handle(outcome)
        for host in _hosts_of(outcome):
            is_about = changed is not None and changed.host == host
            self.decider.written(host, self.delivery, changed if is_about else None)
        if changed is None:
            return commands
        member = self.membership.member(changed.host)
        return (*commands, *self.announcements.target(changed, member))

    # --- decisions ------------------------------------------------------------------------

    def _ticked(self, now_s: float, *, may_plan: bool) -> tuple[Command, ...]:
        lost = self._changed(now_s, self.membership.ticked(now_s))
        if now_s >= self._lease_until_s:
            return lost
        retries = (*self.delivery.retry(), *self.membership.late(now_s))
        kept = self.decider.records_due(now_s)
        is_ready = self.delivery.is_sealed and self.membership.is_settled(now_s)
        if self.memory.is_waiting(now_s, self.membership.reports(), self.delivery.documents):
            is_ready = False
        if not is_ready or not self.decider.wishes.memory.is_read:
            return (*lost, *retries, *kept)
        if self._avoided_s is not None and now_s >= self._avoided_s:
            for name, _ in self.failures.failed():
                self.decider.look_at(name)
        scaled = tuple(
            self.announcements.scaled(name, before, count)
            for name, before, count in self.decider.ticked(now_s, self.membership)
        )
        if not self.decider.is_due or not may_plan:
            return (*lost, *retries, *kept, *scaled)
        return (*lost, *retries, *kept, *scaled, *self._plan(now_s))

    def _plan(self, now_s: float) -> tuple[Command, ...]:
        keys = {w.key for w in self.wanted.values() if w is not None}
        self.failures.forget(now_s, frozenset({*self.decider.ledger.keys(), *keys}))
        self._avoided_s = self.failures.next_end_s(now_s)
        self.planned_at_s = now_s
        around = Around(
            delivery=self.delivery,
            membership=self.membership,
            failures=self.failures,
            announcements=self.announcements,
            candidate=self._candidate,
            is_flapping=self.flapping.is_any,
        )
        return self.decider.plan(now_s, around)

    def _candidate(self, host: HostId, member: Member) -> Candidate:
        inventory = member.inventory
        taints = inventory.taints
        if losses := self.flapping.losses(host):
            taints = (*taints, Taint(key=TAINT, value=str(losses)))
        return Candidate(
            id=host,
            labels=inventory.labels,
            interfaces=inventory.interfaces,
            capacity=inventory.capacity,
            features=inventory.features,
            state=member.state,
            is_cordoned=inventory.is_cordoned,
            is_draining=inventory.is_draining,
            is_frozen=self.delivery.is_busy(host) or host not in self.delivery.documents,
            taints=taints,
            devices=inventory.devices,
        )

    def _collect(self, now_s: float, history: tuple[Key, ...]) -> tuple[Command, ...]:
        """Remove what has been of no use for long enough; only a certain leader does."""
        if now_s >= self._lease_until_s or not self.delivery.is_sealed:
            return ()
        self.decider.wishes.drop_orphans()
        members, documents = self.membership.members(), self.delivery.documents
        garbage = self._collector.look(
            now_s,
            Found(
                lost=frozenset(host for host, m in members.items() if m.state == "lost"),
                idle=frozenset(
                    host
                    for host in documents
                    if not self.membership.is_there(host) and not self.delivery.expected_items(host)
                ),
                history=history,
                wanted={name: w.generation if w else None for name, w in self.wanted.items()},
                assigned=frozenset(self.decider.ledger.keys()),
            ),
        )
        commands: list[Command] = [
            DropInventory(host=host, boot=members[host].inventory.boot)
            for host in garbage.inventories
        ]
        for host in garbage.targets:
            commands += self.delivery.drop(host)
        if garbage.generations:
            commands.append(DropGenerations(generations=garbage.generations, epoch=self.epoch))
        return tuple(commands)


def _hosts_of(outcome: delivery.Outcome) -> tuple[HostId, ...]:
    """Return the hosts about whose targets an outcome tells something."""
    match outcome:
        case delivery.TargetsRead(documents=documents):
            return tuple(document.host for document in documents)
        case delivery.TargetRead(document=document):
            return (document.host,)
        case delivery.TargetsSealed(writes=writes) | delivery.TargetsUnsealed(writes=writes):
            return tuple(write.host for write in writes)
        case delivery.TargetsUnread():
            return ()
        case _:
            return (outcome.host,)
