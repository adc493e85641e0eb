"""`plan`: demands, hosts and what is assigned now in; who runs what, and why not, out.

Pure and in integers, so that the same input in any order gives the same plan. What is placed and
still allowed stays where it is; a plan of a plan changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace

from lattice.model.ids import HostId
from scheduler.placement.explain import explain
from scheduler.placement.filters import Room, interface_refusal, refusal, standing_refusal
from scheduler.placement.model import Candidate, Counts, Demand, Key, Plan

_Draft = dict[HostId, dict[Key, int]]


def plan(demands: Iterable[Demand], hosts: Iterable[Candidate], current: Counts) -> Plan:
    """Return who runs what from now on.

    A replica stays on its host while the host is not lost, still offers the interfaces, has the
    capacity, and the replica did not fail there; labels and cordons matter only to new replicas.
    New ones go to the host with the fewest replicas of the same generation, then with the smallest
    dominant share in use, then by a hash of deployment and host. Hosts of `current` that are not
    among `hosts` are gone with all they ran. Demands are unique by key, hosts by id.
    """
    ordered = sorted(demands, key=lambda demand: demand.key)
    rooms = {host.id: Room(host) for host in sorted(hosts, key=lambda host: host.id)}
    draft: _Draft = {host: {} for host in rooms}
    kept = {demand.key: _keep(demand, rooms, current, draft) for demand in ordered}
    missing: list[tuple[Demand, int]] = []
    for demand in ordered:
        if demand.is_kept_only:
            continue
        left = _place(demand, demand.count - kept[demand.key], rooms, draft)
        if left > 0:
            missing.append((demand, left))
    unplaced = tuple(
        explain(demand, left, [r for room in rooms.values() if (r := refusal(demand, room))])
        for demand, left in missing
    )
    return Plan(assignments=draft, unplaced=unplaced)


def tie_break(deployment: str, host: str) -> int:
    """Return a number that orders hosts differently for each deployment, the same everywhere."""
    digest = hashlib.blake2b(f"{deployment}\0{host}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _keep(demand: Demand, rooms: dict[HostId, Room], current: Counts, draft: _Draft) -> int:
    """Draft what stays of a demand, take its room, and return how many replicas stay."""
    kept: dict[HostId, int] = {}
    frozen = 0
    for host, room in rooms.items():
        count = current.get(host, {}).get(demand.key, 0)
        if not count or room.candidate.state == "lost":
            continue
        if room.candidate.is_frozen:
            frozen += count
        elif host in demand.avoid or interface_refusal(demand, room.candidate):
            continue
        else:
            count = min(count, room.fitting(demand))
        if count:
            kept[host] = count
    surplus = sum(kept.values()) - max(demand.count, frozen)
    for _ in range(surplus):
        victim = max(
            (host for host in kept if not rooms[host].candidate.is_frozen),
            key=lambda host: (kept[host], tie_break(demand.deployment, host)),
        )
        kept[victim] -= 1
        if not kept[victim]:
            del kept[victim]
    for host, count in kept.items():
        draft[host][demand.key] = count
        rooms[host].take(demand, count)
    return sum(kept.values())


def _place(demand: Demand, count: int, rooms: dict[HostId, Room], draft: _Draft) -> int:
    """Draft up to `count` new replicas and return how many fit nowhere."""
    if count <= 0:
        return 0
    heap = [
        (draft[host].get(demand.key, 0), room.share(demand), tie_break(demand.deployment, host),
         host)
        for host, room in rooms.items()
        if room.fitting(demand) and standing_refusal(demand, room.candidate) is None
    ]  # fmt: skip
    heapify(heap)
    while count and heap:
        own, _, tie, host = heap[0]
        room = rooms[host]
        if room.fitting(demand):
            room.take(demand, 1)
            draft[host][demand.key] = own + 1
            count -= 1
            heapreplace(heap, (own + 1, room.share(demand), tie, host))
        else:
            heappop(heap)
    return count
