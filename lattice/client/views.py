"""What a client is told about a lattice: answers of the scheduler and the hosts as values.

Fields that a newer peer leaves out have defaults, so that a client of this release reads the
answers of the next one. Nothing here asks anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """A deployment as desired."""

    name: str
    generation: int = 0
    replicas: int = 0
    revision: int = 0
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    http: list[str] = field(default_factory=list[str])  # routes: host, `*` for every one, and path


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
