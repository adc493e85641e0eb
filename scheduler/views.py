"""What the active scheduler answers when asked: hosts, replicas, status. Pure: state in, maps out.

The maps are bodies of replies; the client's views read them. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Mapping

from lattice.model.host import ReplicaReport
from lattice.model.ids import HostId, host_short, replica_id
from lattice.wire.messages import TargetItem
from lattice.wire.requests import Listing, ReplicaListing
from scheduler.membership import Member
from scheduler.paging import page
from scheduler.reconciler import Reconciler

Map = dict[str, object]


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


def _host(core: Reconciler, now_s: float, host: HostId, member: Member) -> Map:
    inventory, report = member.inventory, member.report
    items = core.delivery.expected_items(host)
    capacity = inventory.capacity
    state: str = member.state
    if state == "ready" and (inventory.is_cordoned or inventory.is_draining):
        state = "draining" if inventory.is_draining else "cordoned"
    return {
        "id": host,
        "name": inventory.name,
        "labels": dict(inventory.labels),
        "state": state,
        "cordoned": inventory.is_cordoned,
        "draining": inventory.is_draining,
        "taints": list(inventory.taints),
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
    for ordinal, replica in enumerate(_ids(host, item)):
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
                "in_flight": report.in_flight if report else 0,
                "waiting": report.waiting if report else 0,
                "errors": report.errors if report else 0,
                "busy_ms": report.busy_ms if report else 0,
                "devices": [
                    {
                        "device": grant.device,
                        "share_milli": grant.share_milli,
                        "memory_bytes": grant.memory_bytes,
                    }
                    for grant in item.grants
                    if grant.ordinal == ordinal
                ],
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
