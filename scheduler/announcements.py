"""Which events the leader tells the lattice, and under which ids; a core.

The id derives from the revision of the write that the event is about, or from the epoch and a
counter, so that an event told twice is stored once. Texts and selection only: nothing is decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from lattice.model.ids import DeploymentName, HostId, replica_id
from lattice.wire.messages import TargetItem
from scheduler.delivery import Changed
from scheduler.generations import Wanted
from scheduler.membership import Member, MembershipChanged
from scheduler.placement.model import Key, Unplaced

REPLICA_EVENTS_MAX = 64
"""Events of one kind about one change of a target; what is over it is one event with a count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """Publish an event; an equal id is the same event."""

    id: str
    kind: str
    entity: str
    data: Mapping[str, object] = field(default_factory=dict[str, object])


class Announcements:
    """The events of one term."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._numbers = count(1)
        self._unplaced: dict[Key, tuple[int, tuple[str, ...]]] = {}

    def elected(self, identity: str) -> Emit:
        """Tell who leads."""
        return Emit(
            id=f"{self._epoch}.0", kind="leader-elected", entity=identity,
            data={"scheduler": identity, "epoch": self._epoch},
        )  # fmt: skip

    def host(self, change: MembershipChanged, members: Mapping[HostId, Member]) -> Emit:
        """Tell that a host came or went."""
        data: dict[str, object] = {"host": change.host}
        if (member := members.get(change.host)) is not None:
            data |= {"name": member.inventory.name, "labels": dict(member.inventory.labels)}
        if change.reason:
            data["reason"] = change.reason
        return self._emit(f"host-{change.change}", change.host, data)

    def desired(
        self, name: DeploymentName, wanted: Wanted | None, revision: int
    ) -> tuple[Emit, ...]:
        """Tell of a change of desired state in this term; older ones have been told before."""
        if revision <= self._epoch:
            return ()
        if wanted is None:
            return (deployment_deleted(name, revision),)
        return (deployment_applied(name, wanted.generation, wanted.replicas, revision),)

    def target(self, changed: Changed, member: Member | None) -> tuple[Emit, ...]:
        """Tell which replicas a written target has more or less than the one before."""
        host_name = member.inventory.name if member is not None else ""
        before, after = (
            _replicas(changed.host, changed.before),
            _replicas(changed.host, changed.after),
        )
        numbers = count()
        events: list[Emit] = []
        for kind, ids, source in (
            ("replica-withdrawn", [r for r in before if r not in after], before),
            ("replica-placed", [r for r in after if r not in before], after),
        ):
            for replica in ids[:REPLICA_EVENTS_MAX]:
                item = source[replica]
                data = {
                    "deployment": item.deployment,
                    "generation": item.generation,
                    "host": changed.host,
                    "host_name": host_name,
                }
                number = f"{changed.revision}.{next(numbers)}"
                events.append(Emit(id=number, kind=kind, entity=replica, data=data))
            if (rest := len(ids) - REPLICA_EVENTS_MAX) > 0:
                summary = {"host": changed.host, "host_name": host_name, "count": rest}
                number = f"{changed.revision}.{next(numbers)}"
                events.append(Emit(id=number, kind=kind, entity=changed.host, data=summary))
        return tuple(events)

    def unplaced(self, unplaced: Sequence[Unplaced]) -> tuple[Emit, ...]:
        """Tell what fits nowhere when that is news: another count, or another kind of reason."""
        now = {(u.deployment, u.generation): (u.count, u.kinds) for u in unplaced}
        events = [
            self._emit(
                "deployment-unplaced",
                u.deployment,
                {"generation": u.generation, "count": u.count, "reasons": list(u.reasons)},
            )
            for u in unplaced
            if self._unplaced.get((u.deployment, u.generation)) != (u.count, u.kinds)
        ]
        self._unplaced = now
        return tuple(events)

    def malformed(self, key: str, reason: str) -> Emit:
        """Tell that a record cannot be read and is left alone."""
        return self._emit("record-malformed", key, {"key": key, "reason": reason})

    def _emit(self, kind: str, entity: str, data: Mapping[str, object]) -> Emit:
        return Emit(id=f"{self._epoch}.{next(self._numbers)}", kind=kind, entity=entity, data=data)


def deployment_applied(name: str, generation: int, replicas: int, revision: int) -> Emit:
    """Tell of a submitted deployment; whoever tells it first, it has the same id."""
    data = {"deployment": name, "generation": generation, "replicas": replicas}
    return Emit(id=f"{revision}.0", kind="deployment-applied", entity=name, data=data)


def deployment_deleted(name: str, revision: int) -> Emit:
    """Tell of a deleted deployment."""
    data = {"deployment": name}
    return Emit(id=f"{revision}.0", kind="deployment-deleted", entity=name, data=data)


def _replicas(host: HostId, items: Sequence[TargetItem]) -> dict[str, TargetItem]:
    return {
        replica_id(item.deployment, item.generation, host, item.assignment, ordinal): item
        for item in items
        for ordinal in range(item.count)
    }
