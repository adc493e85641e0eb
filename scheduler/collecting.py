"""What the leader removes because nothing uses it any more; a core, one for each term.

Inventories of hosts that were killed, targets of hosts that are gone, and old generations. Nothing
is removed at sight: it must have been of no use for a while in this term, which a new term counts
anew. This decides what; `scheduler.reconciler` feeds it, `scheduler.sweeping` carries it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from lattice.model.ids import DeploymentName, HostId
from scheduler.placement.model import Key

HISTORY_MAX = 20
"""Generations of one deployment that are kept: enough to go back, far from filling the bucket."""

DELETED_AFTER_S = 3600.0
"""Seconds for which all generations of a deleted deployment are kept: hosts that still run one need
to read it, and whoever deleted it by mistake has the time to notice."""

DELETED_MAX = 1000
"""Deleted deployments whose last generation is kept, so that its number is not used again while a
host may remember it. With some kilobytes each they are a small part of the bucket."""

HOST_GONE_S = 6 * 3600.0
"""Seconds of silence after which a lost host's inventory is removed; it writes it again if it comes
back. A working day would keep much rubbish, an hour would forget a host under repair."""

TARGET_IDLE_S = 3600.0
"""Seconds after which the empty target of a host without inventory is removed."""

REMOVALS_MAX = 100
"""Removals of each kind at one look, so that they never crowd out what the lattice is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRead:
    """Every generation that history keeps: the occasion to remove what nothing uses."""

    generations: tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DropGenerations:
    """Remove generations under the fence of the term `epoch`. No outcome is awaited."""

    generations: tuple[Key, ...]
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DropInventory:
    """Remove the inventory that a host's process `boot` wrote. No outcome is awaited."""

    host: HostId
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What stands. `wanted` maps to None where the record cannot be read."""

    lost: frozenset[HostId] = frozenset()  # silent hosts whose inventory stands
    idle: frozenset[HostId] = frozenset()  # hosts that are not there and have an empty target
    history: tuple[Key, ...] = ()
    wanted: Mapping[DeploymentName, int | None]
    assigned: frozenset[Key] = frozenset()  # generations that a target lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What is to be removed now, each sorted."""

    inventories: tuple[HostId, ...] = ()
    targets: tuple[HostId, ...] = ()
    generations: tuple[Key, ...] = ()


_Kind = Literal["lost", "idle", "deleted"]


class Collector:
    """Remembers since when what is of no use. Time goes in with each look."""

    def __init__(self) -> None:
        self._since_s: dict[tuple[_Kind, str], float] = {}

    def look(self, now_s: float, found: Found) -> Garbage:
        """Return what has been of no use for long enough."""
        deleted = {name for name, _ in found.history if name not in found.wanted}
        useless: set[tuple[_Kind, str]] = {("lost", host) for host in found.lost}
        useless |= {("idle", host) for host in found.idle}
        useless |= {("deleted", name) for name in deleted}
        self._since_s = {entry: self._since_s.get(entry, now_s) for entry in useless}
        return Garbage(
            inventories=self._due(now_s, "lost", found.lost, HOST_GONE_S),
            targets=self._due(now_s, "idle", found.idle, TARGET_IDLE_S),
            generations=self._generations(now_s, found, deleted),
        )

    def _due(
        self, now_s: float, kind: _Kind, hosts: Iterable[HostId], after_s: float
    ) -> tuple[HostId, ...]:
        due = (host for host in sorted(hosts) if now_s - self._since_s[kind, host] >= after_s)
        return tuple(due)[:REMOVALS_MAX]

    def _generations(
        self, now_s: float, found: Found, deleted: set[DeploymentName]
    ) -> tuple[Key, ...]:
        ages = sorted((self._since_s["deleted", name], name) for name in deleted)
        due = [name for since_s, name in ages if now_s - since_s >= DELETED_AFTER_S]
        forgotten = set(due[: max(0, len(due) - DELETED_MAX)])
        kept_count = {name: 0 if name in forgotten else 1 for name in due}
        by_name: dict[DeploymentName, list[int]] = {}
        for name, generation in sorted(found.history):
            by_name.setdefault(name, []).append(generation)
        garbage: list[Key] = []
        for name, generations in by_name.items():
            if name in deleted:
                count = kept_count.get(name, len(generations))
            elif found.wanted[name] is None:
                continue  # somebody may still repair it, by hand from what was
            else:
                count = HISTORY_MAX
            garbage += [
                (name, generation)
                for generation in generations[: max(0, len(generations) - count)]
                if (name, generation) not in found.assigned and generation != found.wanted.get(name)
            ]
        return tuple(garbage[:REMOVALS_MAX])
