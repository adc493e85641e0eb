"""What the active scheduler answers when asked: hosts, replicas, status. Pure: state in, maps out.

The maps are bodies of replies; the client's views read them. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lattice.errors import NotFoundError
from lattice.model.host import ReplicaReport
from lattice.model.ids import DeploymentName, HostId, host_short, replica_id
from lattice.wire.messages import TargetItem
from lattice.wire.requests import Listing, ReplicaListing
from scheduler.generations import Wanted
from scheduler.membership import Member
from scheduler.paging import page
from scheduler.reconciler import FAILURES_MIN, Reconciler

Map = dict[str, object]

DeploymentState = Literal["ready", "progressing", "degraded", "failed"]


def hosts(core: Reconciler, now_s: float, asked: Listing) -> Map:
    """Return a page of the hosts with an inventory, by name, then id."""
    members = core.membership.members()
    listed = [_host(core, now_s, host, member) for host, member in members.items()]
    found = page(
        ((f"{view['name']}\0{view['id']}", view) for view in listed),
        after=asked.after,
        limit=asked.limit,
    )
    return found.body(hosts=[view for _, view in found.entries])


def replicas(core: Reconciler, asked: ReplicaListing) -> Map:
    """Return a page of the replicas as their hosts report them, then of what is unplaced."""
    deployment = asked.deployment
    members = core.membership.members()
    listed: list[Map] = []
    for host, document in core.delivery.documents.items():
        reports = _reports(members.get(host))
        for item in document.items:
            if deployment is None or item.deployment == deployment:
                listed += _replica_views(host, item, members.get(host), reports)
    unplaced: list[Map] = [
        {
            "deployment": entry.deployment,
            "generation": entry.generation,
            "count": entry.count,
            "reasons": list(entry.reasons),
        }
        for entry in core.unplaced.values()
        if deployment is None or entry.deployment == deployment
    ]
    placed_entries = [(f"placed {view['replica']}", view) for view in listed]
    unplaced_entries = [
        (f"unplaced {view['deployment']}/{view['generation']}", view) for view in unplaced
    ]
    found = page([*placed_entries, *unplaced_entries], after=asked.after, limit=asked.limit)
    return found.body(
        replicas=[view for place, view in found.entries if place.startswith("placed ")],
        unplaced=[view for place, view in found.entries if place.startswith("unplaced ")],
    )


def status(core: Reconciler, name: str) -> Map:
    """Return how far a deployment is from what is wanted of it.

    Raises:
        NotFoundError: there is no such deployment.
    """
    deployment = DeploymentName(name)
    if deployment not in core.wanted:
        raise NotFoundError(f"there is no deployment {name}", name=name)
    wanted = core.wanted[deployment]
    if wanted is None:
        reason = f"the record desired.{name} cannot be read: submit the deployment again"
        return _status(name, 0, Counted(), 0, "degraded", [reason])
    counted = Counted.of(core, wanted)
    entry = core.unplaced.get(wanted.key)
    reasons = [*_failure_reasons(core, wanted), *(entry.reasons if entry else ())]
    state = _state(core, wanted, counted)
    return _status(name, wanted.generation, counted, wanted.replicas, state, reasons)


class Counted:
    """The replicas of one generation, by what their hosts say of them."""

    def __init__(self) -> None:
        self.placed = 0
        self.running = 0
        self.failing = 0
        self.outgoing = 0  # replicas of other generations
        self.unplaced = 0

    @classmethod
    def of(cls, core: Reconciler, wanted: Wanted) -> Counted:
        """Count what the targets list, as reported."""
        found = cls()
        members = core.membership.members()
        for host, document in core.delivery.documents.items():
            reports = _reports(members.get(host))
            for item in document.items:
                if item.deployment != wanted.name:
                    continue
                if item.generation != wanted.generation:
                    found.outgoing += item.count
                    continue
                found.placed += item.count
                for replica in _ids(host, item):
                    report = reports.get(replica)
                    found.running += report is not None and report.state == "running"
                    found.failing += report is not None and _is_failing(report)
        entry = core.unplaced.get(wanted.key)
        found.unplaced = entry.count if entry else 0
        return found


def _state(core: Reconciler, wanted: Wanted, counted: Counted) -> DeploymentState:
    """Return the state in one word.

    `failed`: nothing runs, and every replica either fails or was driven away by failures.
    `degraded`: something is wrong with some. `progressing`: nothing is wrong yet.
    """
    if counted.running >= wanted.replicas and not counted.outgoing and not counted.failing:
        return "ready"
    entry = core.unplaced.get(wanted.key)
    has_failed = counted.failing > 0 or (entry is not None and "failed" in entry.kinds)
    is_pending = counted.placed > counted.running + counted.failing
    if has_failed and not counted.running and not is_pending:
        return "failed"
    return "degraded" if counted.failing or counted.unplaced else "progressing"


def _failure_reasons(core: Reconciler, wanted: Wanted) -> list[str]:
    """Return the hosts' own error texts about this generation, each once for each host."""
    members = core.membership.members()
    texts: dict[HostId, str] = {
        host: failure.reason for host, failure in core.failures.failures(wanted.key).items()
    }
    for host, member in members.items():
        for report in _reports(member).values():
            is_own = (report.deployment, report.generation) == wanted.key
            if is_own and report.reason and _is_failing(report):
                texts[host] = report.reason
    return [f"{_name(host, members.get(host))}: {text}" for host, text in sorted(texts.items())]


def _is_failing(report: ReplicaReport) -> bool:
    """Tell whether a replica has failed more than once, whatever its host is doing about it."""
    if report.state in ("running", "stopping"):
        return False
    return report.state == "crash-loop" or report.restarts >= FAILURES_MIN


def _status(
    name: str,
    generation: int,
    counted: Counted,
    wanted: int,
    state: DeploymentState,
    reasons: list[str],
) -> Map:
    return {
        "name": name,
        "generation": generation,
        "wanted": wanted,
        "placed": counted.placed,
        "running": counted.running,
        "failed": counted.failing,
        "unplaced": counted.unplaced,
        "state": state,
        "reasons": reasons,
    }


def _host(core: Reconciler, now_s: float, host: HostId, member: Member) -> Map:
    inventory, report = member.inventory, member.report
    items = core.delivery.expected_items(host)
    capacity = inventory.capacity
    state = "cordoned" if member.state == "ready" and inventory.is_cordoned else member.state
    return {
        "id": host,
        "name": inventory.name,
        "labels": dict(inventory.labels),
        "state": state,
        "interfaces": list(inventory.interfaces),
        "http": list(inventory.http),
        "capacity": capacity,
        "free": {
            "cpu_milli": capacity.cpu_milli - sum(i.cpu_milli * i.count for i in items),
            "memory_bytes": capacity.memory_bytes - sum(i.memory_bytes * i.count for i in items),
            "slots": capacity.slots - sum(i.count for i in items),
        },
        "boot": inventory.boot,
        "version": inventory.version,
        "adopted": report.adopted if report else None,
        "replicas": sum(item.count for item in items),
        "last_seen_s": None if member.heard_at_s is None else round(now_s - member.heard_at_s, 3),
    }


def _replica_views(
    host: HostId,
    item: TargetItem,
    member: Member | None,
    reports: Mapping[str, ReplicaReport],
) -> list[Map]:
    is_lost = member is None or member.state == "lost"
    views: list[Map] = []
    for replica in _ids(host, item):
        report = reports.get(replica)
        state = report.state if report else "assigned"
        reason = report.reason if report else "its host has not reported it yet"
        views.append(
            {
                "replica": replica,
                "deployment": item.deployment,
                "generation": item.generation,
                "host": host,
                "host_name": _name(host, member),
                "state": "lost" if is_lost else state,
                "reason": "its host is lost" if is_lost else reason,
                "restarts": report.restarts if report else 0,
                "calls": report.calls if report else 0,
                "fuel": report.fuel if report else 0,
            }
        )
    return views


def _reports(member: Member | None) -> dict[str, ReplicaReport]:
    if member is None or member.report is None or member.state == "lost":
        return {}
    return {report.replica: report for report in member.report.replicas}


def _ids(host: HostId, item: TargetItem) -> list[str]:
    return [
        replica_id(item.deployment, item.generation, host, item.assignment, ordinal)
        for ordinal in range(item.count)
    ]


def _name(host: HostId, member: Member | None) -> str:
    return member.inventory.name if member is not None else host_short(host)
