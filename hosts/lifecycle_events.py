"""What the host's core takes in and gives out: events, and the commands that follow from them.

Plain values; `hosts.lifecycle` decides, the agent and the runner carry out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from lattice.model.host import Load, Report, Revision
from lattice.model.ids import DeploymentName, ReplicaId
from lattice.wire.messages import DeviceGrant, Target

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
class SingletonFound:
    """A replica that is to start is a strict singleton; nothing of it has run yet."""

    replica: ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReady:
    """A replica answers calls now, or again."""

    replica: ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaUnready:
    """A replica runs and takes no calls, because its readiness probe says so."""

    replica: ReplicaId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCompleted:
    """A job's replica ended well; what it held is released."""

    replica: ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFailed:
    """A replica could not start, or stopped by itself; what it held is released.

    `is_final`: it is a job's, about which the scheduler decides; it is not started again here.
    """

    replica: ReplicaId
    reason: str
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStopped:
    """A replica that was told to stop is gone; what it held is released."""

    replica: ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFigures:
    """What a replica that lives tells of itself, counted since it last started."""

    calls: int = 0
    fuel: int = 0
    in_flight: int = 0  # now
    waiting: int = 0  # now
    errors: int = 0
    busy_ms: int = 0
    restarts: int = 0  # of its services
    trouble: str = ""  # what is wrong with its services now
    is_looping: bool = False  # it runs although a service of it fails again and again


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatDue:
    """It is time to report; `figures` are those of the replicas that live."""

    load: Load
    figures: dict[ReplicaId, ReplicaFigures] = field(
        default_factory=dict[ReplicaId, ReplicaFigures]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Acked:
    """The active scheduler answered a report."""

    sequence: int
    required: Revision
    lease_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed; see `Lifecycle.next_due_s`."""


Outcome: TypeAlias = (
    ReplicaReady | ReplicaUnready | ReplicaCompleted | ReplicaFailed | ReplicaStopped
)

Event: TypeAlias = (
    TargetSeen | TargetUnreadable | SingletonFound | Outcome | HeartbeatDue | Acked | Ticked
)


# --- commands ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartReplica:
    """Fetch, compose, compile, instantiate; ends as `ReplicaReady`, `ReplicaUnready`,
    `ReplicaCompleted` or `ReplicaFailed`. A strict singleton is told of as `SingletonFound` first.

    `epoch` and `revision` are those of the target that is adopted now: of two starts of a strict
    singleton, the later one has the greater pair.
    """

    replica: ReplicaId
    deployment: DeploymentName
    generation: int
    epoch: int = 0
    revision: int = 0
    grants: tuple[DeviceGrant, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReplica:
    """Take no new calls, finish running ones, release; ends as `ReplicaStopped`.

    `at_once`: running calls are ended, and nothing of the guest runs any more.
    """

    replica: ReplicaId
    at_once: bool = False


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
