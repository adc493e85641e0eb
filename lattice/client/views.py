"""What a client is told about a lattice: answers of the scheduler and the hosts as values.

Fields that a newer peer leaves out have defaults, so that a client of this release reads the
answers of the next one. Nothing here asks anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lattice.model.host import Taint
from lattice.wire.messages import DeploymentRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """A host as the active scheduler sees it."""

    id: str
    name: str = ""
    state: str = ""  # "joined", "lost", ...
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    interfaces: list[str] = field(default_factory=list[str])
    http: list[str] = field(default_factory=list[str])  # where it takes requests, as URLs
    capacity: Mapping[str, Any] = field(default_factory=dict[str, Any])  # in all
    free: Mapping[str, Any] = field(default_factory=dict[str, Any])  # not yet promised
    boot: str = ""
    version: str = ""
    adopted: Any = None  # the revision of the target that the host runs
    replicas: Any = 0
    last_seen_s: float | None = None  # seconds since its last heartbeat
    cordoned: bool = False  # it takes no new replicas
    draining: bool = False  # its replicas move to others
    taints: list[Taint] = field(default_factory=list[Taint])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """A deployment as desired."""

    name: str
    generation: int = 0
    replicas: int = 0  # says something in the mode `replicas` only
    mode: str = "replicas"  # or "daemon", "singleton", "scale", "job"
    paused: bool = False
    revision: int = 0
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    http: list[str] = field(default_factory=list[str])  # routes: host, `*` for every one, and path


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantView:
    """A device, or a share of one, that a replica was granted."""

    device: str  # its id on the host
    share_milli: int = 1000
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One replica as its host reports it."""

    replica: str
    deployment: str
    generation: int = 0
    host: str = ""
    host_name: str = ""
    state: str = ""
    reason: str = ""  # the host's own error text
    restarts: int = 0
    calls: int = 0
    fuel: int = 0  # that its calls used, those with `limits.fuel`
    in_flight: int = 0  # calls that it works on
    waiting: int = 0  # calls that wait in it for their turn
    errors: int = 0  # of `calls`, those that ended in a trap or an error of the platform
    busy_ms: int = 0  # time that `calls` took in all
    devices: list[GrantView] = field(default_factory=list[GrantView])


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplacedView:
    """Replicas that no host can take, and why: one reason for each host or group of hosts."""

    deployment: str
    generation: int = 0
    count: int = 0
    reasons: list[Any] = field(default_factory=list[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaList:
    """Replicas that have a host, and those that have none."""

    replicas: list[ReplicaView] = field(default_factory=list[ReplicaView])
    unplaced: list[UnplacedView] = field(default_factory=list[UnplacedView])


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a deployment is from what is wanted of it."""

    name: str
    generation: int = 0
    wanted: int = 0
    placed: int = 0
    running: int = 0
    failed: int = 0
    unplaced: int = 0
    state: str = ""
    reasons: list[Any] = field(default_factory=list[Any])
    revision: int = 0  # of the desired record that this is about; 0: not told
    good_generation: int = 0  # the last one that was rolled out in full
    reverted: int = 0  # the generation that this one replaced because it did not do well
    completed: int = 0  # replicas of a job that succeeded
    failed_runs: int = 0  # replicas of a job that failed
    progress: str = ""  # what an update does now


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationView:
    """One generation of a deployment that is kept."""

    generation: int
    submitted_by: str = ""
    current: bool = False  # it is desired now
    good: bool = False  # the last one that was rolled out in full
    given_up: bool = False  # it was gone back from
    images: Mapping[str, str] = field(default_factory=dict[str, str])  # by component and service


@dataclass(frozen=True, slots=True, kw_only=True)
class Generations:
    """The generations of a deployment that are kept, newest first."""

    name: str
    revision: int = 0
    reverted: int = 0  # the generation that the current one replaced, when it was gone back to
    reason: str = ""  # why
    generations: list[GenerationView] = field(default_factory=list[GenerationView])


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What holds for a host until somebody takes it back."""

    cordoned: bool = False
    draining: bool = False
    taints: list[Taint] = field(default_factory=list[Taint])


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """All that is known of one deployment now."""

    record: DeploymentRecord
    revision: int
    status: Status | None  # None: no scheduler leads now
    replicas: ReplicaList
    urls: list[str] = field(default_factory=list[str])  # where it answers requests over HTTP


@dataclass(frozen=True, slots=True, kw_only=True)
class PingView:
    """A host's own answer to a ping."""

    host: str
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    version: str = ""
    uptime_s: float = 0.0


def reason_text(reason: object) -> str:
    """Return one reason of an answer as a line for people."""
    if isinstance(reason, Mapping):
        return ", ".join(f"{name}: {value}" for name, value in reason.items())
    if isinstance(reason, list | tuple):
        return ": ".join(str(item) for item in reason)
    return str(reason)
