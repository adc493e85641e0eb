"""What a deployment asks of the scheduler: how many, where, how it is replaced, when it is ready.

Checked values, part of a `Deployment`; hashable, so that equal wishes are one class to placement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lattice.model.ids import DeploymentName
from lattice.model.labels import Selector

HOST_TOPOLOGY = "host"
"""The topology in which every host is a domain of its own; any other is a label key."""

WEIGHT_MAX = 100
"""A preference of this weight counts as much as one whole dominant share of a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """One wish that adds to a host's score, or with a negative weight takes from it.

    Exactly one of `labels`, `near` and `apart` is given. `near`: hosts in whose domain a replica of
    that deployment is; `apart`: hosts in whose domain none is.
    """

    weight: int  # -100 to 100
    labels: tuple[Selector, ...] = ()
    near: DeploymentName | None = None
    apart: DeploymentName | None = None
    topology: str = HOST_TOPOLOGY


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Replicas are spread over the values of a label, per generation.

    A hard spread never places a replica that makes the skew (most minus fewest replicas of a domain
    that could take one) larger than `max_skew`; a soft one prefers not to. Hosts without the label
    take no replica of a hard spread.
    """

    key: str
    max_skew: int = 1
    is_hard: bool = False
    domains_min: int = 0  # fewer domains than this count as having empty ones; 0: no such rule


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """Devices that one replica is granted: `count` whole ones, or a share of one.

    Whole devices are nobody else's; shares of one device may be granted to several replicas.
    """

    kind: str = "gpu"  # class of the device
    count: int = 0  # whole devices; 0 when `share_milli` is given
    share_milli: int = 0  # thousandths of one device
    memory_bytes: int = 0  # of each device granted
    is_exclusive: bool = False  # a share of a device that nobody else has a share of
    require: str = ""  # expression over the device's attributes
    prefer: tuple[str, ...] = ()  # expressions; the more hold, the better
    allows_software: bool = False  # adapters that compute on the CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where replicas may run, where they had better, and what each takes from its host."""

    require_labels: tuple[Selector, ...] = ()
    require_interfaces: tuple[str, ...] = ()  # beyond what the components import
    cpu_milli: int = 0  # thousandths of a core
    memory_bytes: int = 0
    slots: int = 1
    devices: tuple[DeviceRequest, ...] = ()
    prefer: tuple[Preference, ...] = ()
    spread: tuple[Spread, ...] = ()
    together: tuple[DeploymentName, ...] = ()  # only on hosts with a replica of each of these
    apart: tuple[DeploymentName, ...] = ()  # never on a host with one of these, and vice versa
    per_host_max: int = 0  # replicas of one generation on one host; 0: any number
    tolerate: tuple[Selector, ...] = ()  # over the taints of a host, by key
    priority: int = 0  # 0 to 1000, higher first
    preempt: Literal["never", "lower"] = "never"  # lower: may drive out lower priorities
    on_label_change: Literal["keep", "evict"] = "keep"  # when a host no longer meets the labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """`per_host` replicas on every host that can take them, instead of a number of replicas."""

    per_host: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The number of replicas follows the load, between bounds.

    `on` is what `target` is wanted of for each replica: `concurrency` (calls at work or waiting) or
    `queue` (durable jobs to be run or running). Without either for `idle_s` it falls to `minimum`.
    """

    minimum: int = 0
    maximum: int = 1
    on: str = "concurrency"
    target: int = 16
    idle_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that ends: replicas of a process run until `completions` of them succeeded.

    At most `parallelism` run at once. After `attempts` failures in all the job has failed. What is
    known of a job that ended is kept for `ttl_s`, then the deployment is deleted.
    """

    completions: int = 1
    parallelism: int = 1
    attempts: int = 6
    ttl_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question that a replica must answer: an exported function without parameters, or a GET.

    `export` is `interface#function`; it succeeds when it returns anything but false or an error.
    `http` is a path; it succeeds with a status of 200 to 399.
    """

    export: str = ""
    http: str = ""
    every_s: float = 2.0
    timeout_s: float = 1.0
    failures_max: int = 3  # in a row, until the answer counts as no
    delay_s: float = 0.0  # after the start, before the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A first replica of a new generation takes a part of the calls before the others follow."""

    weight_percent: int = 10  # of the calls
    hold_s: float = 30.0  # time that it must do well
    errors_max_percent: int | None = None  # of its calls
    latency_max_s: float | None = None  # mean of its calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How a new generation replaces the one before it.

    `rolling`: at most `surge_max` replicas more and `unavailable_max` ready ones fewer than wanted;
    `canary`: rolling, after the canary did well; `recreate`: the old ones end first. A generation
    that makes no progress for `progress_deadline_s` is stuck, and with `reverts` the last good one
    is desired again.
    """

    strategy: Literal["rolling", "canary", "recreate"] = "rolling"
    unavailable_max: int = 0
    surge_max: int = 1
    ready_min_s: float = 0.0  # a replica counts only when it was ready for this long
    progress_deadline_s: float = 120.0
    reverts: bool = True
    canary: Canary = field(default_factory=Canary)
