"""What targets list and what hosts report of it, counted by generation and host; a core.

It is brought up to date host by host, as documents and reports change, so that a decision about one
deployment costs nothing for all the others. It counts; it decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lattice.model.host import Report
from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.wire.messages import TargetItem
from scheduler.placement.model import Key

Items = tuple[TargetItem, ...]


@dataclass(slots=True)
class Load:
    """What the replicas of one generation on one host do, in sum."""

    in_flight: int = 0
    waiting: int = 0
    calls: int = 0
    errors: int = 0
    busy_ms: int = 0

    def add(self, other: Load) -> None:
        """Add another one's figures."""
        self.in_flight += other.in_flight
        self.waiting += other.waiting
        self.calls += other.calls
        self.errors += other.errors
        self.busy_ms += other.busy_ms


@dataclass(slots=True)
class _Host:
    listed: dict[Key, int] = field(default_factory=dict[Key, int])  # the most that a target lists
    certain: dict[Key, int] = field(default_factory=dict[Key, int])  # the fewest
    running: dict[Key, int] = field(default_factory=dict[Key, int])  # reported, long enough
    present: dict[Key, int] = field(default_factory=dict[Key, int])  # reported and not at an end
    over: dict[Key, int] = field(default_factory=dict[Key, int])  # reported and at an end
    starting: frozenset[Key] = frozenset()  # reported as such
    seen: frozenset[Key] = frozenset()  # reported at all
    loads: dict[Key, Load] = field(default_factory=dict[Key, Load])
    since_s: dict[ReplicaId, float] = field(default_factory=dict[ReplicaId, float])
    is_reported: bool = False

    def ready(self, key: Key) -> int:
        return min(self.certain.get(key, 0), self.running.get(key, 0))


class Ledger:
    """The counts of one term. Change it only through `target`, `report` and `watch`."""

    def __init__(self) -> None:
        self._hosts: dict[HostId, _Host] = {}
        self._assigned: Counter[Key] = Counter()
        self._ready: Counter[Key] = Counter()
        self._present: dict[DeploymentName, Counter[int]] = {}
        self._places: dict[Key, set[HostId]] = {}
        self._keys: dict[DeploymentName, set[Key]] = {}
        self._ready_min_s: dict[DeploymentName, float] = {}
        self._watched: set[DeploymentName] = set()

    # --- changes --------------------------------------------------------------------------

    def watch(self, name: DeploymentName, *, loads: bool, ready_min_s: float) -> None:
        """Say what is to be noted of a deployment besides its counts, from the next reports on."""
        (self._watched.add if loads else self._watched.discard)(name)
        if ready_min_s > 0:
            self._ready_min_s[name] = ready_min_s
        else:
            self._ready_min_s.pop(name, None)

    def target(self, host: HostId, possible: Sequence[Items]) -> set[DeploymentName]:
        """Take everything that a host's document may hold now, with whatever writes are in flight;
        return the deployments of which something changed.
        """
        entry = self._hosts.setdefault(host, _Host())
        counts = [_counts(items) for items in possible]
        if all(each == entry.listed == entry.certain for each in counts):
            return set()
        keys = {key for each in counts for key in each}
        listed = {key: max(each.get(key, 0) for each in counts) for key in keys}
        certain = {key: least for key in keys if (least := min(c.get(key, 0) for c in counts))}
        touched = listed.keys() ^ entry.listed.keys()
        touched |= {key for key, count in listed.items() if entry.listed.get(key) != count}
        touched |= {key for key in certain.keys() | entry.certain.keys()
                    if certain.get(key) != entry.certain.get(key)}  # fmt: skip
        ready = {key: entry.ready(key) for key in touched}
        before, entry.listed, entry.certain = entry.listed, listed, certain
        for key in touched:
            self._ready[key] += entry.ready(key) - ready[key]
            self._shift(key, host, before.get(key, 0), listed.get(key, 0))
        return {name for name, _ in touched}

    def report(
        self, now_s: float, host: HostId, report: Report | None, *, is_same: bool = False
    ) -> set[DeploymentName]:
        """Take a report, None for a host that is given up; return the deployments of which the
        number of ready or present replicas changed.

        One whose replicas are the same as in the report before is not looked at again.
        """
        entry = self._hosts.setdefault(host, _Host())
        if is_same and entry.is_reported and not entry.since_s:
            return set()
        entry.is_reported = report is not None
        running: Counter[Key] = Counter()
        present: Counter[Key] = Counter()
        over: Counter[Key] = Counter()
        starting: set[Key] = set()
        loads: dict[Key, Load] = {}
        since_s: dict[ReplicaId, float] = {}
        for replica in report.replicas if report is not None else ():
            key = (replica.deployment, replica.generation)
            state = replica.state
            if state in ("completed", "failed", "crash-loop"):
                over[key] += 1
                continue
            present[key] += 1
            if state == "running":
                wait_s = self._ready_min_s.get(replica.deployment, 0.0)
                if wait_s > 0:
                    began_s = since_s[replica.replica] = entry.since_s.get(replica.replica, now_s)
                    running[key] += now_s - began_s >= wait_s
                else:
                    running[key] += 1
            elif state == "starting":
                starting.add(key)
            if replica.deployment in self._watched:
                loads.setdefault(key, Load()).add(
                    Load(replica.in_flight, replica.waiting, replica.calls, replica.errors,
                         replica.busy_ms)
                )  # fmt: skip
        entry.loads, entry.since_s = loads, since_s
        entry.seen, entry.starting = frozenset(present | over), frozenset(starting)
        ended = {name for name, _ in _differing(over, entry.over)}
        entry.over = dict(over)
        return ended | self._reported(entry, dict(+running), dict(present))

    def _reported(
        self, entry: _Host, running: dict[Key, int], present: dict[Key, int]
    ) -> set[DeploymentName]:
        if running == entry.running and present == entry.present:
            return set()
        changed = _differing(running, entry.running)
        moved = _differing(present, entry.present)
        for key in moved:
            counts = self._present.setdefault(key[0], Counter())
            counts[key[1]] += present.get(key, 0) - entry.present.get(key, 0)
            if not counts[key[1]]:
                del counts[key[1]]
            if not counts:
                del self._present[key[0]]
        before = {key: entry.ready(key) for key in changed}
        entry.running, entry.present = running, present
        for key in changed:
            self._ready[key] += entry.ready(key) - before[key]
        return {name for name, _ in changed | moved}

    def _shift(self, key: Key, host: HostId, before: int, after: int) -> None:
        self._assigned[key] += after - before
        if after and not before:
            self._places.setdefault(key, set()).add(host)
            self._keys.setdefault(key[0], set()).add(key)
        elif before and not after:
            self._places[key].discard(host)
        if not self._assigned[key]:
            del self._assigned[key], self._places[key]
            self._ready.pop(key, None)
            self._keys[key[0]].discard(key)
            if not self._keys[key[0]]:
                del self._keys[key[0]]

    # --- counts ---------------------------------------------------------------------------

    def assigned(self, key: Key) -> int:
        """Return how many replicas targets list at most."""
        return self._assigned.get(key, 0)

    def ready(self, key: Key) -> int:
        """Return how many of them take calls, long enough."""
        return self._ready.get(key, 0)

    def generations(self, name: DeploymentName) -> tuple[int, ...]:
        """Return the generations that targets list, oldest first."""
        return tuple(sorted(generation for _, generation in self._keys.get(name, ())))

    def lingering(self, name: DeploymentName, generation: int) -> int:
        """Return how many replicas of other generations hosts report and no target lists."""
        return sum(
            max(0, count - self.assigned((name, other)))
            for other, count in self._present.get(name, {}).items()
            if other != generation
        )

    def names(self) -> Iterable[DeploymentName]:
        """Return every deployment that a target lists."""
        return self._keys.keys()

    def keys(self) -> Iterable[Key]:
        """Return every generation that a target lists."""
        return self._assigned.keys()

    def places(self, key: Key) -> frozenset[HostId]:
        """Return the hosts whose targets list a generation."""
        return frozenset(self._places.get(key, ()))

    def at(self, host: HostId, key: Key) -> tuple[int, int]:
        """Return how many replicas a host's target lists, and how many of them are ready."""
        entry = self._hosts.get(host)
        return (entry.listed.get(key, 0), entry.ready(key)) if entry else (0, 0)

    def fading(self, host: HostId, key: Key) -> int:
        """Return how many of the replicas that a host's target lists at most it may list no more:
        a write that withdraws them is under way. None of them counts as ready."""
        entry = self._hosts.get(host)
        return entry.listed.get(key, 0) - entry.certain.get(key, 0) if entry else 0

    def listed(self, host: HostId) -> Mapping[Key, int]:
        """Return what a host's target lists at most."""
        entry = self._hosts.get(host)
        return entry.listed if entry else {}

    def beginning(self, host: HostId) -> int:
        """Return how many generations a host has still to start."""
        entry = self._hosts.get(host)
        if entry is None:
            return 0
        return sum(key in entry.starting or key not in entry.seen for key in entry.listed)

    def load(self, key: Key) -> Load:
        """Return what the replicas of a watched generation do, in sum."""
        found = Load()
        for host in self._places.get(key, ()):
            if (load := self._hosts[host].loads.get(key)) is not None:
                found.add(load)
        return found


def _differing(first: Mapping[Key, int], second: Mapping[Key, int]) -> set[Key]:
    return {key for key in first.keys() | second.keys() if first.get(key, 0) != second.get(key, 0)}


def _counts(items: Items) -> dict[Key, int]:
    return {(DeploymentName(i.deployment), i.generation): i.count for i in items if i.count}
