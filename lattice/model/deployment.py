"""The desired state: a deployment and the workload that it describes, as the manifest says it.

These are checked values: `lattice.model.manifest` is the only place that makes them from text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lattice.model.http import HttpAddress
from lattice.model.ids import DeploymentName
from lattice.model.labels import Labels
from lattice.model.mounts import Mount
from lattice.model.network import NOTHING, Network
from lattice.model.scheduling import Daemon, Job, Placement, Probe, Scale, Update

Route = Literal["auto", "local", "remote", "durable"]
"""How a call through a link may travel; `auto` is local when the callee shares the host, `durable`
is a stored job whose outcome the caller waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one instance of a component or service may use; over a limit, the caller is told."""

    memory_bytes: int = 256 * 1024 * 1024
    deadline_s: float = 30.0
    concurrency: int = 32  # calls that run at once in one replica
    queue: int = 256  # calls that wait in one replica; one more is `overloaded`
    fuel: int = 0  # instructions, roughly, that one call may run; 0: they are not counted


InstanceMode = Literal["fresh", "reuse"]
"""Whether an instance of a component takes one call, or several one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """How instances of a component are kept; of components that are composed, the strictest wins.

    A component whose instances are reused must not rely on what an earlier call left behind, and
    must not leave behind what a later call should not see.
    """

    mode: InstanceMode = "fresh"
    invocations_max: int = 1000  # calls that one instance takes, when it is reused
    idle_s: float = 30.0  # time without a call until idle instances are closed
    ready: int = 1  # instances made ahead of the next call, once there was a call


Compose = Literal["eager", "lazy"]
"""Whether a component is merged into the program of its workload, or is a program of its own that
is compiled and loaded at its first call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A stateless part: what one call leaves in memory is no concern of the next."""

    name: str
    image: str  # `sha256:...`, or a path that `apply` uploads
    compose: Compose = "eager"
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    network: Network = NOTHING
    args: tuple[str, ...] = ()  # after the part's name, which comes first
    scratch_bytes: int = 0  # of a directory of its own, gone with the replica; 0: none
    directories: tuple[Mount, ...] = ()
    instances: Instances = field(default_factory=Instances)


RestartPolicy = Literal["always", "on-failure", "never"]
"""After which ends a service begins again: every one, failures only, none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """How a service that ended comes back: after a backoff that doubles.

    After `attempts` failures in a row its replica fails, which the host then retries as a whole.
    The count starts again after the service ran for ten times the longest backoff.
    """

    policy: RestartPolicy = "on-failure"
    backoff_min_s: float = 0.1
    backoff_max_s: float = 30.0
    attempts: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A part with a life and a state of its own.

    An actor exports functions and takes one call at a time, FIFO. When it exports a function
    `start` (no parameters, at the root or in any exported interface), the replica is ready only
    after `start` returned; a function `stop` of that kind is called before it ends. A process
    exports `wasi:cli/run` and nothing else: it runs by itself, beside the calls of others.
    It sees `files` as read-only files under `/files/<name>`.
    """

    name: str
    image: str
    restart: Restart = field(default_factory=Restart)
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    network: Network = NOTHING
    args: tuple[str, ...] = ()  # after the part's name, which comes first
    scratch_bytes: int = 0  # of a directory of its own, gone with the replica; 0: none
    directories: tuple[Mount, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """Data that services start from, by digest (or a path that `apply` uploads)."""

    name: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """`part`'s import `interface` is satisfied by the part `to` of the same workload."""

    part: str
    interface: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Imports of `interface` are satisfied by another deployment's export."""

    interface: str
    to: DeploymentName
    route: Route = "auto"
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Imports of `interface` are satisfied by a capability of the host."""

    interface: str
    name: str = "default"
    config: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One named unit of desired state: a workload and how many replicas of it should run.

    At most one of `daemon`, `is_singleton`, `scale` and `job` is given; then `replicas` says
    nothing. A strict singleton never takes calls on two hosts at once, and so on none for a while
    after its host was lost.
    """

    name: DeploymentName
    replicas: int = 1
    daemon: Daemon | None = None
    is_singleton: bool = False
    scale: Scale | None = None
    job: Job | None = None
    labels: Labels = field(default_factory=dict)
    components: tuple[Component, ...] = ()
    services: tuple[Service, ...] = ()
    files: tuple[File, ...] = ()
    wiring: tuple[Wire, ...] = ()
    expose: tuple[str, ...] | None = None  # None: every export that nobody inside imports
    http: tuple[HttpAddress, ...] = ()  # requests that it answers
    http_route: Literal["auto", "remote"] = "auto"
    # http_route: requests to and from deployments on the same host; auto is in memory
    links: tuple[Link, ...] = ()
    bindings: tuple[Binding, ...] = ()
    ready: Probe | None = None  # a replica takes calls while it answers
    live: Probe | None = None  # a replica that does not answer is started again
    placement: Placement = field(default_factory=Placement)
    update: Update = field(default_factory=Update)
    lost_after_s: float | None = None  # silence of a host until replicas move; None: the lattice's

    @property
    def parts(self) -> tuple[Component | Service, ...]:
        """Return components, then services, in the order of the manifest."""
        return (*self.components, *self.services)
