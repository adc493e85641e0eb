"""Drives the lattice towards what is desired, for one term of leadership; a core without I/O.

Targets are sealed first, then planned and written as membership, desired state and reports change.
`handle` is the only entrance; it returns commands, each of which has exactly one outcome that comes
back as an event. Nothing is written and no lease is granted after the own lease ran out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from lattice.model.host import Inventory, Report
from lattice.model.ids import DeploymentName, HostId
from lattice.wire.messages import HeartbeatAck, TargetItem
from scheduler import delivery
from scheduler.announcements import Announcements, Emit
from scheduler.backoff import FailureMemory
from scheduler.collecting import Collector, DropGenerations, DropInventory, Found, HistoryRead
from scheduler.delivery import Delivery
from scheduler.generations import Assigned, Wanted, assigned_by_key, demands, giving_way
from scheduler.lagging import Lags
from scheduler.membership import Accepted, Ignored, Member, Membership, MembershipChanged, Refused
from scheduler.placement.model import Candidate, Demand, Key, Plan, Unplaced
from scheduler.placement.plan import plan
from scheduler.profile import Profile

FAILURES_MIN = 2
"""Failed starts after which a replica is moved: the host itself repeats the first at once."""

# --- events ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed; plans are made at ticks only, so that changes that come together are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseExtended:
    """The own leadership is certain until then."""

    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredRead:
    """A deployment's desired state; `wanted` is None when it was deleted.

    A record that `is_malformed` keeps whatever the deployment has.
    """

    name: DeploymentName
    wanted: Wanted | None
    revision: int
    is_malformed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryRead:
    """A host's facts; None when it left."""

    host: HostId
    inventory: Inventory | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A heartbeat: answered by exactly one `Acknowledge` or `Refuse`."""

    report: Report


Event = (
    Ticked | LeaseExtended | DesiredRead | InventoryRead | Reported | HistoryRead | delivery.Outcome
)

# --- commands -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """Answer the report."""

    ack: HeartbeatAck


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Answer the report with a conflict, or with "no route" when this scheduler does not lead."""

    host: HostId
    reason: str
    is_leading: bool = True


Command = Acknowledge | Refuse | Emit | DropGenerations | DropInventory | delivery.Command


class Reconciler:
    """What one leader knows and does. Made anew for each term."""

    def __init__(
        self, *, epoch: int, incarnation: str, profile: Profile, now_s: float, lease_until_s: float
    ) -> None:
        self.epoch = epoch
        self.delivery = Delivery(epoch, incarnation)
        self.membership = Membership(profile, now_s=now_s)
        self.failures = FailureMemory()
        self.wanted: dict[DeploymentName, Wanted | None] = {}  # None: the record is malformed
        self.unplaced: Mapping[Key, Unplaced] = {}
        self.announcements = Announcements(epoch)
        self._collector = Collector()
        self._lags = Lags(profile.heartbeat_s)
        self._profile = profile
        self._lease_until_s = lease_until_s
        self._is_due = True  # something changed since the last plan
        self._wake_s: float | None = None  # when the next avoidance of a host ends

    @property
    def is_due(self) -> bool:
        """Tell whether the next tick has something to plan."""
        return self._is_due

    def handle(self, now_s: float, event: Event) -> tuple[Command, ...]:
        """Take in one event and return what to do about it, in order."""
        match event:
            case Ticked():
                return self._ticked(now_s)
            case LeaseExtended():
                if event.until_s > self._lease_until_s:
                    self.membership.heard(now_s)
                self._lease_until_s = event.until_s
                return ()
            case DesiredRead():
                return self._desired(event)
            case InventoryRead():
                changes = self.membership.inventory_read(now_s, event.host, event.inventory)
                self._is_due = True
                return self._changed(changes)
            case Reported():
                return self._reported(now_s, event.report)
            case HistoryRead():
                return self._collect(now_s, event.generations)
            case _:
                return self._delivered(event)

    # --- what is known --------------------------------------------------------------------

    def _desired(self, event: DesiredRead) -> tuple[Command, ...]:
        self._is_due = True
        if event.is_malformed:
            self.wanted[event.name] = None
            return ()
        if event.wanted is None:
            self.wanted.pop(event.name, None)
        else:
            self.wanted[event.name] = event.wanted
        return self.announcements.desired(event.name, event.wanted, event.revision)

    def _changed(self, changes: tuple[MembershipChanged, ...]) -> tuple[Command, ...]:
        if not changes:
            return ()
        self._is_due = True
        members = self.membership.members()
        return tuple(self.announcements.host(change, members) for change in changes)

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
        commands: list[Command] = [*self.delivery.ensure(report.host)]
        required = self.delivery.revision(report.host)
        is_newer = report.adopted.sequence > required.sequence and required.sequence > 0
        is_ahead = report.adopted.incarnation == required.incarnation and is_newer
        if is_ahead or self._lags.is_due(now_s, report, required):
            commands += self.delivery.reseal(report.host)
        if last is None or _states(last) != _states(report):
            self._is_due = True
            self._note_failures(now_s, report)
        return (self._ack(report, is_granting=True), *commands, *self._changed(changes))

    def _ack(self, report: Report, *, is_granting: bool) -> Acknowledge:
        """Grant a lease only to a host whose target this term has sealed."""
        is_sealed = report.host in self.delivery.documents
        lease_s = self._profile.host_lease_s if is_granting and is_sealed else 0
        return Acknowledge(
            ack=HeartbeatAck(
                sequence=report.sequence,
                required=self.delivery.revision(report.host),
                lease_ms=round(lease_s * 1000),
            )
        )

    def _note_failures(self, now_s: float, report: Report) -> None:
        for replica in report.replicas:
            is_failing = replica.state == "failed" and replica.restarts >= FAILURES_MIN
            if is_failing or replica.state == "crash-loop":
                key = (replica.deployment, replica.generation)
                self.failures.note(now_s, key, report.host, replica.reason)

    def _delivered(self, outcome: delivery.Outcome) -> tuple[Command, ...]:
        commands, changed = self.delivery.handle(outcome)
        if isinstance(outcome, delivery.TargetWritten):
            self._is_due = True
        if changed is None:
            return commands
        members = self.membership.members()
        return (*commands, *self.announcements.target(changed, members.get(changed.host)))

    # --- decisions ------------------------------------------------------------------------

    def _ticked(self, now_s: float) -> tuple[Command, ...]:
        lost = self._changed(self.membership.ticked(now_s))
        if now_s >= self._lease_until_s:
            return lost
        retries = self.delivery.retry()
        if self._wake_s is not None and now_s >= self._wake_s:
            self._is_due = True
        is_ready = self.delivery.is_sealed and self.membership.is_settled(now_s)
        if not self._is_due or not is_ready:
            return (*lost, *retries)
        self._is_due = False
        return (*lost, *retries, *self._plan(now_s))

    def _plan(self, now_s: float) -> tuple[Command, ...]:
        members = self.membership.members()
        assigned = assigned_by_key(
            item for host in self.delivery.documents for item in self.delivery.expected_items(host)
        )
        keys = frozenset({*assigned, *(w.key for w in self.wanted.values() if w is not None)})
        self.failures.forget(now_s, keys)
        self._wake_s = self.failures.next_end_s(now_s)
        running = self._running(members)
        made, needs = self._decide(now_s, members, assigned, running)
        self.unplaced = {(u.deployment, u.generation): u for u in made.unplaced}
        commands: list[Command] = []
        for host in sorted(self.delivery.documents):
            if self.delivery.is_busy(host):
                continue
            counts = made.assignments.get(host, {})
            commands += self.delivery.propose(host, self._items(host, counts, needs))
        return (*commands, *self.announcements.unplaced(made.unplaced))

    def _decide(
        self,
        now_s: float,
        members: Mapping[HostId, Member],
        assigned: Mapping[Key, Assigned],
        running: Mapping[Key, int],
    ) -> tuple[Plan, dict[Key, Demand]]:
        """Plan, and once more with one old replica less where that lets a new one in."""
        hosts = [self._candidate(host, member) for host, member in members.items()]
        current = {
            host: {
                (DeploymentName(item.deployment), item.generation): item.count
                for item in self.delivery.expected_items(host)
            }
            for host in self.delivery.documents
        }
        avoided = {
            w.key: self.failures.avoided(now_s, w.key)
            for w in self.wanted.values()
            if w is not None
        }
        needs = demands(self.wanted, assigned, running, avoided, {})
        made = plan(needs, hosts, current)
        if spared := giving_way(made, self.wanted, assigned, running):
            needs_less = demands(self.wanted, assigned, running, avoided, spared)
            made_less = plan(needs_less, hosts, current)
            if _missing(made_less) < _missing(made):
                made, needs = made_less, needs_less
        return made, {demand.key: demand for demand in needs}

    def _candidate(self, host: HostId, member: Member) -> Candidate:
        inventory = member.inventory
        return Candidate(
            id=host,
            labels=inventory.labels,
            interfaces=inventory.interfaces,
            capacity=inventory.capacity,
            features=inventory.features,
            state=member.state,
            is_cordoned=inventory.is_cordoned,
            is_frozen=self.delivery.is_busy(host) or host not in self.delivery.documents,
        )

    def _collect(self, now_s: float, history: tuple[Key, ...]) -> tuple[Command, ...]:
        """Remove what has been of no use for long enough; only a certain leader does."""
        if now_s >= self._lease_until_s or not self.delivery.is_sealed:
            return ()
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
                assigned=frozenset(
                    assigned_by_key(
                        item for host in documents for item in self.delivery.expected_items(host)
                    )
                ),
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

    def _running(self, members: Mapping[HostId, Member]) -> Counter[Key]:
        """Return how many replicas run by report, of those that the targets list."""
        found: Counter[Key] = Counter()
        for host, document in self.delivery.documents.items():
            member = members.get(host)
            if member is None or member.report is None or member.state != "ready":
                continue
            states = Counter(
                (r.deployment, r.generation) for r in member.report.replicas if r.state == "running"
            )
            for item in document.items:
                key = (DeploymentName(item.deployment), item.generation)
                found[key] += min(item.count, states[key])
        return found

    def _items(
        self, host: HostId, counts: Mapping[Key, int], needs: Mapping[Key, Demand]
    ) -> tuple[TargetItem, ...]:
        """Return a target's items; what stays keeps its assignment, and with it its replica ids."""
        document = self.delivery.documents[host]
        standing = {(item.deployment, item.generation): item for item in document.items}
        items: list[TargetItem] = []
        for (name, generation), count in sorted(counts.items()):
            before = standing.get((name, generation))
            demand = needs[name, generation]
            items.append(
                TargetItem(
                    deployment=name,
                    generation=generation,
                    count=count,
                    # The revision that is replaced is new at each write, so ids never repeat.
                    assignment=before.assignment if before else max(document.revision, self.epoch),
                    cpu_milli=demand.placement.cpu_milli,
                    memory_bytes=demand.placement.memory_bytes,
                )
            )
        return tuple(items)


def _missing(made: Plan) -> int:
    return sum(unplaced.count for unplaced in made.unplaced)


def _states(report: Report) -> dict[str, tuple[str, int]]:
    return {replica.replica: (replica.state, replica.restarts) for replica in report.replicas}
