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
from lattice.wire.past import ranges_of
from scheduler.delivery import Changed
from scheduler.generations import Wanted
from scheduler.membership import Member, MembershipChanged
from scheduler.placement.model import Eviction, Key, Unplaced
from scheduler.placement.rebalance import Move
from scheduler.rebalancing import points, reason
from scheduler.rollout import Progress
from scheduler.wishes import Wish

REPLICA_EVENTS_MAX = 16
"""Events of one kind about one change of a target; more replicas than that are told in one event,
with a count and ranges. A thousand hosts that get a hundred each are a thousand events, not more
than may wait for the log."""


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
        return (
            deployment_applied(
                name, wanted.generation, wanted.replicas, revision, is_paused=wanted.is_paused
            ),
        )

    def target(self, changed: Changed, member: Member | None) -> tuple[Emit, ...]:
        """Tell which replicas a written target has more or less than the one before."""
        host_name = member.inventory.name if member is not None else ""
        before, after = (
            replicas_of(changed.host, changed.before),
            replicas_of(changed.host, changed.after),
        )
        numbers = count()
        events: list[Emit] = []
        for kind, ids, source in (
            ("replica-withdrawn", [r for r in before if r not in after], before),
            ("replica-placed", [r for r in after if r not in before], after),
        ):
            is_many = len(ids) > REPLICA_EVENTS_MAX
            for replica in () if is_many else ids:
                item = source[replica]
                data = {
                    "deployment": item.deployment,
                    "generation": item.generation,
                    "host": changed.host,
                    "host_name": host_name,
                }
                number = f"{changed.revision}.{next(numbers)}"
                events.append(Emit(id=number, kind=kind, entity=replica, data=data))
            if is_many:
                summary = {
                    "host": changed.host,
                    "host_name": host_name,
                    "count": len(ids),
                    "ranges": _ranges(changed.host, source, ids),
                }
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

    def reverted(self, wanted: Wanted, revision: int) -> Emit:
        """Tell that an earlier generation is desired again."""
        data = {
            "deployment": wanted.name,
            "generation": wanted.generation,
            "given_up": wanted.reverted,
            "reason": wanted.reason,
        }
        kind = "rollout-reverted"
        return Emit(id=f"{revision}.{kind}", kind=kind, entity=wanted.name, data=data)

    def rollout(self, wanted: Wanted, revision: int, wish: Wish) -> list[Emit]:
        """Tell of each step of a rollout and of a job's end. The id derives from the revision of
        what is desired, so that the next leader's same step is the same event.
        """
        before = wish.before.phase if wish.before is not None else None
        progress = wish.progress
        kinds: list[tuple[str, dict[str, object]]] = []
        if progress is not None and progress.phase != before:
            is_replacing = any(demand.is_kept_only for demand in wish.demands)
            kinds += _steps(before, progress, is_replacing=is_replacing)
        if wish.status is not None:
            verdict, was = wish.status[1].verdict, wish.status[0].verdict
            if verdict and verdict != was:
                counts: dict[str, object] = {
                    "completed": wish.status[1].completed,
                    "failed": wish.status[1].failed,
                }
                kinds.append((f"job-{verdict}", counts))
        data: dict[str, object] = {"deployment": wanted.name, "generation": wanted.generation}
        return [
            Emit(id=f"{revision}.{kind}", kind=kind, entity=wanted.name, data=data | facts)
            for kind, facts in kinds
        ]

    def preempted(
        self, evictions: Sequence[Eviction], members: Mapping[HostId, Member]
    ) -> list[Emit]:
        """Tell which replicas leave a host because one of a higher priority needs the room."""
        found: list[Emit] = []
        for eviction in evictions:
            member = members.get(eviction.host)
            data = {
                "deployment": eviction.victim[0],
                "generation": eviction.victim[1],
                "host": eviction.host,
                "host_name": member.inventory.name if member is not None else "",
                "count": eviction.count,
                "by": eviction.by[0],
                "by_generation": eviction.by[1],
            }
            found.append(self._emit("replica-preempted", eviction.victim[0], data))
        return found

    def moved(self, moves: Sequence[Move], members: Mapping[HostId, Member]) -> list[Emit]:
        """Tell which replicas begin to move to hosts that joined, and what that gains."""
        found: list[Emit] = []
        for move in moves:
            data: dict[str, object] = {"deployment": move.key[0], "generation": move.key[1]}
            for prefix, host in (("", move.source), ("to_", move.target)):
                member = members.get(host)
                data[f"{prefix}host"] = host
                data[f"{prefix}host_name"] = member.inventory.name if member is not None else ""
            data |= {"points": points(move.gain.total), "reason": reason(move.gain)}
            found.append(self._emit("replica-moving", move.key[0], data))
        return found

    def scaled(self, name: DeploymentName, before: int, now: int) -> Emit:
        """Tell that a deployment's load gave it another number of replicas."""
        return self._emit(
            "deployment-scaled", name, {"deployment": name, "before": before, "replicas": now}
        )

    def braked(self, lost: int, hosts: int) -> Emit:
        """Tell that so many hosts are gone that replicas are moved slowly."""
        return self._emit("mass-failure", "lattice", {"lost": lost, "hosts": hosts})

    def brake_released(self) -> Emit:
        """Tell that all that was lost with a mass of hosts is replaced, as far as it can be."""
        return self._emit("mass-failure-over", "lattice", {})

    def held_off(self, host: HostId, losses: int) -> Emit:
        """Tell that a host that comes and goes gets nothing new for a while."""
        return self._emit("host-held-off", host, {"host": host, "losses": losses})

    def malformed(self, key: str, reason: str) -> Emit:
        """Tell that a record cannot be read and is left alone."""
        return self._emit("record-malformed", key, {"key": key, "reason": reason})

    def _emit(self, kind: str, entity: str, data: Mapping[str, object]) -> Emit:
        return Emit(id=f"{self._epoch}.{next(self._numbers)}", kind=kind, entity=entity, data=data)


def _steps(
    before: str | None, progress: Progress, *, is_replacing: bool
) -> list[tuple[str, dict[str, object]]]:
    """Return the events of one change of phase."""
    match progress.phase:
        case "stuck":
            return [("rollout-stuck", {"reason": progress.reason})]
        case "paused":
            return [("rollout-paused", {})]
        case "canary":
            return [("rollout-canary", {})]
        case "steady":
            return [("rollout-completed", {})] if before is not None else []
        case "rolling":
            kind = {"paused": "rollout-resumed", "canary": "canary-passed"}.get(before or "")
            if kind is None and not is_replacing:
                return []
            return [(kind or "rollout-started", {})]


def deployment_applied(
    name: str, generation: int, replicas: int, revision: int, *, is_paused: bool = False
) -> Emit:
    """Tell of a submitted deployment; whoever tells it first, it has the same id."""
    data = {
        "deployment": name,
        "generation": generation,
        "replicas": replicas,
        "revision": revision,
        "paused": is_paused,
    }
    return Emit(id=f"{revision}.0", kind="deployment-applied", entity=name, data=data)


def deployment_deleted(name: str, revision: int) -> Emit:
    """Tell of a deleted deployment."""
    data = {"deployment": name, "revision": revision}
    return Emit(id=f"{revision}.0", kind="deployment-deleted", entity=name, data=data)


def _ranges(
    host: HostId, items: Mapping[str, TargetItem], replicas: Sequence[str]
) -> list[list[object]]:
    """Return many replicas of one host in few words (see `lattice.wire.past.ranges_of`)."""
    wanted = set(replicas)
    return ranges_of(
        [
            (item.deployment, item.generation, item.assignment, ordinal)
            for item in {id(each): each for each in items.values()}.values()
            for ordinal in range(item.count)
            if replica_id(item.deployment, item.generation, host, item.assignment, ordinal)
            in wanted
        ]
    )


def replicas_of(host: HostId, items: Sequence[TargetItem]) -> dict[str, TargetItem]:
    """Return the item of each replica that a host's target lists, by the replica's id."""
    return {
        replica_id(item.deployment, item.generation, host, item.assignment, ordinal): item
        for item in items
        for ordinal in range(item.count)
    }
