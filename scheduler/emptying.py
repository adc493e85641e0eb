"""Which hosts a deployment should leave although they are there, and which it should not leave yet
although they are not; a core.

Drained hosts, hosts with a taint that evicts, hosts whose labels no longer fit where that matters,
and the silence that a deployment bears for itself. It names hosts; counts are made elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from lattice.model.host import Inventory
from lattice.model.ids import HostId
from scheduler.generations import Wanted
from scheduler.membership import Membership
from scheduler.placement.filters import is_tolerated
from scheduler.profile import Profile

SILENT_HEARTBEATS = 1.5
"""Heartbeats without which a host is silent: no deployment moves earlier than that."""


def is_emptied(inventory: Inventory) -> bool:
    """Tell whether some deployments may have to leave a host because of what it says of itself."""
    return inventory.is_draining or any(taint.evicts for taint in inventory.taints)


def should_leave(wanted: Wanted, inventory: Inventory) -> bool:
    """Tell whether a deployment's replicas on a host should move to others."""
    if inventory.is_draining:
        return True
    placement = wanted.placement
    if any(taint.evicts and not is_tolerated(placement, taint) for taint in inventory.taints):
        return True
    if placement.on_label_change != "evict":
        return False
    return any(s.refusal(inventory.labels) is not None for s in placement.require_labels)


def hosts_to_leave(
    wanted: Wanted, emptied: Iterable[HostId], places: Iterable[HostId], membership: Membership
) -> frozenset[HostId]:
    """Return the hosts, of those that are `emptied` and of a deployment's places, that it should
    leave although they are there."""
    hosts = set(emptied)
    if wanted.placement.on_label_change == "evict":
        hosts.update(places)
    members = ((host, membership.member(host)) for host in hosts)
    return frozenset(
        host
        for host, member in members
        if member is not None and should_leave(wanted, member.inventory)
    )


def patience_s(wanted: Wanted, profile: Profile) -> float:
    """Return the silence of a host after which a deployment leaves it."""
    if wanted.lost_after_s is None:
        return profile.lost_after_s
    return max(wanted.lost_after_s, SILENT_HEARTBEATS * profile.heartbeat_s)


def silent_for(
    now_s: float,
    wanted: Wanted,
    profile: Profile,
    places: Iterable[HostId],
    membership: Membership,
) -> frozenset[HostId]:
    """Return the hosts that are not lost, but silent for longer than a deployment bears."""
    limit_s = patience_s(wanted, profile)
    if limit_s >= profile.lost_after_s:
        return frozenset()
    return frozenset(host for host in places if membership.silence_s(now_s, host) > limit_s)
