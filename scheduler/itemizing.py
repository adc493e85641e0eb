"""What stands in a host's target for so many replicas of this and that; a core.

It knows which replicas of jobs came to an end, and which replicas on lost hosts are not given up:
placement counts neither, and targets list both. How many of what a host gets is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lattice.model.ids import DeploymentName, HostId, replica_id
from lattice.wire.messages import DeviceGrant, TargetItem
from scheduler import jobs
from scheduler.delivery import Delivery, Document
from scheduler.placement.model import Demand, Key
from scheduler.wishes import Wishes


class Items:
    """Makes the items of targets, for one term."""

    def __init__(self, wishes: Wishes, epoch: int) -> None:
        self.held: dict[DeploymentName, dict[HostId, int]] = {}  # on lost hosts, not given up
        self._wishes = wishes
        self._epoch = epoch

    def actual(self, host: HostId, sent: Delivery) -> dict[Key, int]:
        """Return what a host is assigned by its target, but for what ended there and what is not
        given up with it."""
        counts: dict[Key, int] = {}
        for item in sent.expected_items(host):
            key = key_of(item)
            count = item.count - self.held.get(key[0], {}).get(host, 0)
            if (ended := self._wishes.ended.get(key)) is not None:
                count -= len(ended.all & set(_ids(host, item)))
            if count > 0:
                counts[key] = count
        return counts

    def items(
        self,
        host: HostId,
        goal: Mapping[Key, int],
        document: Document,
        demands: Mapping[Key, Demand],
        grants: Mapping[Key, tuple[DeviceGrant, ...]],
    ) -> tuple[TargetItem, ...]:
        """Return a target's items; what stays keeps its assignment, and with it its replica ids."""
        standing = {key_of(item): item for item in document.items}
        # The revision that is replaced is new at each write, so ids never repeat.
        fresh = max(document.revision, self._epoch)
        items: list[TargetItem] = []
        held = {key for key in standing if self.held.get(key[0], {}).get(host)}
        ending = standing.keys() & self._wishes.ended.keys()
        for key in sorted(goal.keys() | held | ending):
            before = standing.get(key)
            count = goal.get(key, 0) + (self.held[key[0]][host] if key in held else 0)
            assignment = before.assignment if before is not None else fresh
            if before is not None and key in ending:
                count, assignment = self._job(host, key, before, count, fresh)
            if count:
                items.append(
                    _item(key, count, assignment, before, demands.get(key), grants.get(key))
                )
        return tuple(items)

    def _job(
        self, host: HostId, key: Key, before: TargetItem, active: int, fresh: int
    ) -> tuple[int, int]:
        """Return count and assignment of a job's item so that so many of its replicas are active.

        A replica that ended and is not counted for good stays listed; so do those at work. Where
        too many that ended are listed, no other one begins until all are at rest: then they make
        way for a new assignment.
        """
        wanted = self._wishes.wanted.get(key[0])
        ids = _ids(host, before)
        ended = self._wishes.ended[key].all
        sure = self._wishes.confirmed(wanted) if wanted is not None and wanted.key == key else ended
        at_work = [n for n, replica in enumerate(ids) if replica not in ended]
        needed = 1 + max((n for n, r in enumerate(ids) if r in ended and r not in sure), default=-1)
        if not at_work and not needed:
            return active, fresh  # as if nothing had been there
        if active >= len(at_work):
            count = before.count + active - len(at_work)
            return max(before.count, min(count, jobs.listed_max(active))), before.assignment
        kept = at_work[active - 1] + 1 if active else 0
        return max(kept, needed), before.assignment


def _item(
    key: Key,
    count: int,
    assignment: int,
    before: TargetItem | None,
    demand: Demand | None,
    grants: tuple[DeviceGrant, ...] | None,
) -> TargetItem:
    if demand is None:
        assert before is not None, "what nobody asks for is only ever kept"
        return replace(before, count=count)
    if grants is None:
        grants = tuple(before.grants) if before is not None else ()
    placement = demand.placement
    return TargetItem(
        deployment=key[0],
        generation=key[1],
        count=count,
        assignment=assignment,
        cpu_milli=placement.cpu_milli,
        memory_bytes=placement.memory_bytes,
        slots=placement.slots,
        priority=placement.priority,
        grants=[grant for grant in grants if grant.ordinal < count],
    )


def granted(items: Iterable[TargetItem]) -> dict[Key, tuple[DeviceGrant, ...]]:
    """Return which devices a target grants, only what is not empty."""
    return {key_of(item): tuple(item.grants) for item in items if item.grants}


def key_of(item: TargetItem) -> Key:
    """Return deployment and generation."""
    return (DeploymentName(item.deployment), item.generation)


def item_of(sent: Delivery, host: HostId, key: Key) -> TargetItem | None:
    """Return what a host's target lists of a generation, once nothing is in flight any more."""
    return next((item for item in sent.expected_items(host) if key_of(item) == key), None)


def _ids(host: HostId, item: TargetItem) -> list[str]:
    return [
        replica_id(item.deployment, item.generation, host, item.assignment, ordinal)
        for ordinal in range(item.count)
    ]
