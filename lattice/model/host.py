"""What is known of a host: what it is (inventory) and what it does now (report)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.model.labels import Labels

ReplicaState = Literal[
    "starting", "unready", "running", "completed", "failed", "crash-loop", "stopping"
]
"""`unready`: it runs, and its probe says that it cannot take calls. `completed`: a job's replica
that ended well. `running` ones take calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a host can give in all to replicas."""

    cpu_milli: int
    memory_bytes: int
    slots: int = 1000  # replicas; bounds the size of a target document and of a heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Something of a host that is granted by itself, such as a GPU."""

    id: str  # unique on its host, the same after a restart
    kind: str = "gpu"  # its class
    vendor: str = ""
    model: str = ""
    memory_bytes: int = 0
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict[str, str | int | bool])
    features: tuple[str, ...] = ()
    is_software: bool = False  # it computes on the CPU
    is_healthy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """What keeps replicas away from a host that do not tolerate it; `evicts` also those there."""

    key: str
    value: str = ""
    evicts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A host's slow-changing facts: written when they change, purged when it leaves."""

    host: HostId
    boot: str  # new for every start of the process
    name: str  # for people; need not be unique
    labels: Labels
    interfaces: tuple[str, ...]  # WIT interfaces that the host itself satisfies
    capacity: Capacity
    features: tuple[str, ...]  # `feature@n` of targets that this host understands
    version: str
    curve_key: str = ""  # public curve key, for sealing secrets to this host
    is_cordoned: bool = False  # takes no new replicas
    is_draining: bool = False  # its replicas move to other hosts, at the pace of their updates
    taints: tuple[Taint, ...] = ()
    devices: tuple[Device, ...] = ()
    http: tuple[str, ...] = ()  # where it takes requests, such as http://127.0.0.1:8000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReport:
    """One replica as its host sees it."""

    replica: ReplicaId
    deployment: DeploymentName
    generation: int
    state: ReplicaState
    reason: str = ""  # the host's own error text when it failed, or a service of it did
    restarts: int = 0  # failures in a row, and restarts of its services since it last started
    calls: int = 0  # begun since the replica last started, from outside of it
    fuel: int = 0  # that its calls used since then, those with `limits.fuel`
    in_flight: int = 0  # calls that it works on now
    waiting: int = 0  # calls that wait in it for their turn
    errors: int = 0  # of `calls`, those that ended in a trap or an error of the platform
    busy_ms: int = 0  # time that `calls` took in all; with `calls` the mean latency


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldDevice:
    """A device of a host, or a share of one, that a replica was granted."""

    replica: ReplicaId
    device: str
    share_milli: int = 1000
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy a host is."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    calls_in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Revision:
    """A version of a host's target: (incarnation of the control bucket, sequence in it).

    Sequences compare only within one incarnation; another incarnation means that the bucket was
    restored or made anew.
    """

    incarnation: str = ""
    sequence: int = 0

    def is_behind(self, other: Revision) -> bool:
        """Tell whether a host at this revision should adopt the other one."""
        return self.incarnation != other.incarnation or self.sequence < other.sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The state of a host in full, as its heartbeat carries it."""

    host: HostId
    boot: str
    sequence: int  # grows by one with each heartbeat of one boot
    adopted: Revision
    replicas: tuple[ReplicaReport, ...] = ()
    load: Load = field(default_factory=Load)
    held: tuple[HeldDevice, ...] = ()  # in full, up to a bound: who holds which devices
    # A report that is too large for a message tells only what changed:
    base: str = ""  # digest of the state that `replicas` and `gone` change; "": they are complete
    digest: str = ""  # of the state after the change
    gone: tuple[ReplicaId, ...] = ()
    is_partial: bool = False  # more changes follow: nothing is known of replicas not told yet
