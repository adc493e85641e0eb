"""What the host's core takes in and gives out: events, and the commands that follow from them.

Plain values; `hosts.lifecycle` decides, the agent and the runner carry out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from lattice.model.host import Load, Report, Revision
from lattice.model.ids import DeploymentName, ReplicaId
from lattice.wire.messages import Target

# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSeen:
    """The document under this host's key, from the watch or a re-read."""

    revision: Revision
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetUnreadable:
    """The document under this host's key, at this sequence of its bucket, is no target."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReady:
    """A replica answers calls now."""

    replica: ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFailed:
    """A replica could not start, or stopped by itself; what it held is released."""

    replica: ReplicaId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStopped:
    """A replica that was told to stop is gone; what it held is released."""

    replica: ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatDue:
    """It is time to report. `restarts` counts those of services since their replica started,
    `looping` are replicas that run although a service of theirs fails again and again.
    """

    load: Load
    calls: dict[ReplicaId, int] = field(default_factory=dict[ReplicaId, int])
    fuel: dict[ReplicaId, int] = field(default_factory=dict[ReplicaId, int])
    restarts: dict[ReplicaId, int] = field(default_factory=dict[ReplicaId, int])
    troubles: dict[ReplicaId, str] = field(default_factory=dict[ReplicaId, str])  # of services
    looping: frozenset[ReplicaId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acked:
    """The active scheduler answered a report."""

    sequence: int
    required: Revision
    lease_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed; see `Lifecycle.next_due_s`."""


Outcome: TypeAlias = ReplicaReady | ReplicaFailed | ReplicaStopped

Event: TypeAlias = TargetSeen | TargetUnreadable | Outcome | HeartbeatDue | Acked | Ticked


# --- commands ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartReplica:
    """Fetch, compose, compile, instantiate; ends as `ReplicaReady` or `ReplicaFailed`."""

    replica: ReplicaId
    deployment: DeploymentName
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReplica:
    """Take no new calls, finish running ones, release; ends as `ReplicaStopped`."""

    replica: ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReport:
    """Send the report to the active scheduler; its answer comes back as `Acked`."""

    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportNow:
    """Something changed that the scheduler waits for: make the next `HeartbeatDue` now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTarget:
    """The scheduler knows a newer target than we adopted: read the document again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Publish an event about a replica, or about this host when `replica` is None."""

    kind: str
    replica: ReplicaId | None = None
    reason: str = ""


Command: TypeAlias = StartReplica | StopReplica | SendReport | ReportNow | ReadTarget | Announce
