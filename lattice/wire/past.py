"""What stood at a moment, put together from the events up to it; a core.

`Past` takes events in the order of the log. Taking one twice changes nothing, and one that comes
too late does not undo what came after it. A snapshot of it is told as events of its own, so that a
replay need not begin at the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lattice.errors import DecodeError
from lattice.model.ids import replica_id
from lattice.wire.messages import Event

SNAPSHOT = "lattice-snapshot"
"""The kind of the events of which each holds a part of a snapshot."""

SNAPSHOT_ENTITY = "lattice"
"""What snapshots are about, so that they are found without reading the rest."""

PART_BYTES = 48 * 1024
"""Bytes of one part of a snapshot at which the next begins: within what an event may hold."""

EARLY_MAX = 10_000
"""Replicas of which something is known before they were placed, or after they were withdrawn: the
events of two sources come in any order, but close to each other."""

DELETED_MAX = 1000
"""Deleted deployments that are remembered, so that a late event does not bring one back."""

HOST_LOST = "its host is lost"
"""The reason of a replica that is lost with its host."""

STATES = {
    "replica-running": "running",
    "replica-unready": "unready",
    "replica-failed": "failed",
    "replica-crash-loop": "crash-loop",
    "replica-completed": "completed",
    "replica-stopped": "starting",
}
"""What a host's word makes of a replica. One that stopped and is still placed is begun again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDeployment:
    """A deployment as it was desired."""

    name: str
    generation: int = 0
    replicas: int = 0
    revision: int = 0
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PastReplica:
    """A replica that a host should have run, and what became of it."""

    replica: str
    deployment: str
    generation: int = 0
    host: str = ""
    state: str = "assigned"  # as `lattice get replicas` shows them
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastHost:
    """A host as the scheduler saw it."""

    id: str
    name: str = ""
    state: str = "ready"  # or "lost"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What stood at one moment, each list by name or id."""

    deployments: list[PastDeployment] = field(default_factory=list[PastDeployment])
    hosts: list[PastHost] = field(default_factory=list[PastHost])
    replicas: list[PastReplica] = field(default_factory=list[PastReplica])


class Past:
    """What stands after the events that were taken."""

    def __init__(self) -> None:
        self.deployments: dict[str, PastDeployment] = {}
        self.hosts: dict[str, PastHost] = {}
        self.replicas: dict[str, PastReplica] = {}
        self.position = 0  # of the last event that was taken
        self._deleted: dict[str, int] = {}
        self._early: dict[str, tuple[str, str]] = {}

    def state(self) -> State:
        """Return what stands; replicas of a lost host are lost."""
        lost = {host.id for host in self.hosts.values() if host.state == "lost"}
        return State(
            deployments=[self.deployments[name] for name in sorted(self.deployments)],
            hosts=sorted(self.hosts.values(), key=lambda host: (host.name, host.id)),
            replicas=[
                replace(each, state="lost", reason="its host is lost")
                if each.host in lost
                else each
                for _, each in sorted(self.replicas.items())
            ],
        )

    def take(self, event: Event) -> None:
        """Take one event in; one that says nothing of what stands, or is malformed, is passed."""
        self.position = max(self.position, event.position)
        try:
            self._take(event)
        except (KeyError, TypeError, ValueError):
            return  # Told by somebody who writes other data than we do.

    def _take(self, event: Event) -> None:
        match event.kind:
            case "deployment-applied":
                self._applied(event)
            case "deployment-deleted":
                self._gone(event.entity, _revision(event))
            case "replica-placed" | "replica-withdrawn":
                for placed in _placed(event):
                    if event.kind == "replica-placed":
                        self._place(placed)
                    else:
                        self.replicas.pop(placed.replica, None)
                        self._early.pop(placed.replica, None)
            case "host-joined" | "host-returned" | "host-lost" | "host-rebooted":
                self._host(event)
            case "host-labelled":
                if (host := self.hosts.get(event.entity)) is not None:
                    labels = {str(k): str(v) for k, v in dict(event.data["labels"]).items()}
                    self.hosts[host.id] = replace(host, labels=labels)
            case "host-left":
                self.hosts.pop(event.entity, None)
            case kind if kind in STATES:
                self._told(event.entity, STATES[kind], str(event.data.get("reason", "")))
            case _:
                return

    def _applied(self, event: Event) -> None:
        revision = _revision(event)
        name, data = event.entity, event.data
        known = self.deployments.get(name)
        if revision < max(self._deleted.get(name, 0), known.revision if known else 0):
            return
        self._deleted.pop(name, None)
        self.deployments[name] = PastDeployment(
            name=name,
            generation=int(data["generation"]),
            replicas=int(data["replicas"]),
            revision=revision,
            paused=bool(data.get("paused", False)),
        )

    def _gone(self, name: str, revision: int) -> None:
        known = self.deployments.get(name)
        if known is not None and known.revision > revision:
            return
        self.deployments.pop(name, None)
        self._deleted[name] = revision
        if len(self._deleted) > DELETED_MAX:
            del self._deleted[next(iter(self._deleted))]

    def _place(self, placed: PastReplica) -> None:
        if placed.replica not in self.replicas:
            state, reason = self._early.pop(placed.replica, ("assigned", ""))
            self.replicas[placed.replica] = replace(placed, state=state, reason=reason)

    def _told(self, replica: str, state: str, reason: str) -> None:
        if (known := self.replicas.get(replica)) is not None:
            self.replicas[replica] = replace(known, state=state, reason=reason)
        elif state == STATES["replica-stopped"]:
            self._early.pop(replica, None)
        else:
            # A host may tell of a replica before the scheduler tells that it placed it there.
            self._early[replica] = (state, reason)
            if len(self._early) > EARLY_MAX:
                del self._early[next(iter(self._early))]

    def _host(self, event: Event) -> None:
        host = event.entity
        known = self.hosts.get(host, PastHost(id=host))
        labels = event.data.get("labels", known.labels)
        self.hosts[host] = replace(
            known,
            name=str(event.data.get("name", known.name)),
            labels={str(key): str(value) for key, value in dict(labels).items()},
            state="lost" if event.kind == "host-lost" else "ready",
        )
        if event.kind == "host-rebooted":
            for replica, each in self.replicas.items():
                if each.host == host:
                    self.replicas[replica] = replace(each, state="assigned", reason="")

    # --- snapshots ------------------------------------------------------------------------

    def parts(self) -> list[dict[str, object]]:
        """Return the data of the events that tell all of this, each small enough for one."""
        bundles: list[dict[str, list[object]]] = [{}]
        size = 0
        for family, row in self._rows():
            length = len(json.dumps(row))
            if size + length > PART_BYTES and size:
                bundles.append({})
                size = 0
            bundles[-1].setdefault(family, []).append(row)
            size += length
        return [
            {"part": number, "parts": len(bundles), "through": self.position, **bundle}
            for number, bundle in enumerate(bundles)
        ]

    def _rows(self) -> Iterator[tuple[str, list[object]]]:
        for d in self.deployments.values():
            yield "deployments", [d.name, d.generation, d.replicas, d.revision, d.paused]
        for h in self.hosts.values():
            yield "hosts", [h.id, h.name, h.state, dict(h.labels)]
        for r in self.replicas.values():
            yield "replicas", [r.replica, r.deployment, r.generation, r.host, r.state, r.reason]
        for name, revision in self._deleted.items():
            yield "deleted", [name, revision]
        for replica, (state, reason) in self._early.items():
            yield "early", [replica, state, reason]

    @classmethod
    def from_parts(cls, parts: Iterable[Mapping[str, Any]]) -> Past:
        """Return what the parts of one snapshot tell.

        Raises:
            DecodeError: they are not what `parts` returned.
        """
        past = cls()
        try:
            for part in parts:
                past.position = int(part["through"])
                for name, generation, replicas, revision, paused in part.get("deployments", ()):
                    past.deployments[name] = PastDeployment(
                        name=name, generation=generation, replicas=replicas, revision=revision,
                        paused=paused,
                    )  # fmt: skip
                for host, name, state, labels in part.get("hosts", ()):
                    past.hosts[host] = PastHost(id=host, name=name, state=state, labels=labels)
                for replica, name, generation, host, state, reason in part.get("replicas", ()):
                    past.replicas[replica] = PastReplica(
                        replica=replica, deployment=name, generation=generation, host=host,
                        state=state, reason=reason,
                    )  # fmt: skip
                past._deleted |= dict(part.get("deleted", ()))
                for replica, state, reason in part.get("early", ()):
                    past._early[replica] = (state, reason)
        except (KeyError, TypeError, ValueError) as exc:
            raise DecodeError(f"not a snapshot: {type(exc).__name__} {exc}") from None
        return past


def ranges_of(replicas: Sequence[tuple[str, int, int, int]]) -> list[list[object]]:
    """Return (deployment, generation, assignment, ordinal) of replicas, each run of ordinals as
    `[deployment, generation, assignment, first ordinal, count]`.
    """
    runs: list[list[Any]] = []
    for *key, ordinal in sorted(replicas):
        if runs and runs[-1][:3] == key and runs[-1][3] + runs[-1][4] == ordinal:
            runs[-1][4] += 1
        else:
            runs.append([*key, ordinal, 1])
    return runs


def _placed(event: Event) -> Iterator[PastReplica]:
    """Return the replicas that an event is about: one, or many in ranges."""
    data = event.data
    host = str(data["host"])
    if "ranges" not in data:
        yield PastReplica(
            replica=event.entity,
            deployment=str(data["deployment"]),
            generation=int(data["generation"]),
            host=host,
        )
        return
    for name, generation, assignment, first, count in data["ranges"]:
        for ordinal in range(first, first + count):
            yield PastReplica(
                replica=replica_id(name, generation, host, assignment, ordinal),
                deployment=name,
                generation=generation,
                host=host,
            )


def _revision(event: Event) -> int:
    """Return the revision of the write that an event is about: its id begins with it."""
    told = event.data.get("revision")
    return int(told) if told is not None else int(event.id.partition(".")[0])


def snapshot_of(parts: Mapping[int, Event]) -> Past | None:
    """Return what a snapshot tells of which these parts are there, None if one is missing."""
    if not parts or set(parts) != set(range(int(parts[min(parts)].data.get("parts", 0)))):
        return None
    try:
        return Past.from_parts(parts[number].data for number in sorted(parts))
    except DecodeError:
        return None
