"""The messages between the parts of a lattice: the only place where a field is added.

Rules of change: new fields have defaults; no field is renamed, retyped or removed; a new meaning
is a new message. Every message has a golden vector in tests/golden.

What each call makes is a `msgspec.Struct`: it is made, copied, written and read in a fifth of the
time that a dataclass takes (docs/decisions/044).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lattice.model.host import Revision

VERSION = 1
"""`v` of every message made by this release."""

HOPS_MAX = 16
"""Calls in one chain of calls; the next one is refused as `conflict` with the chain."""


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """One typed call. `args` are WIT values as `lattice.wire.values` writes them."""

    op: str  # `<interface>#<function>`, `#<function>` at the root
    args: list[Any] = msgspec.field(default_factory=list[Any])
    id: str = ""
    deadline_ms: int = 30_000  # what is left for the caller, not a clock time
    key: str | None = None  # deduplicates on the durable route; passed on elsewhere
    attempt: int = 1
    hops: int = 0
    type: str = ""  # fingerprint of the function's type as the caller knows it; "" = unchecked
    trace: str = ""  # W3C traceparent
    caller: str = ""  # deployment (or client id) that calls
    chain: list[str] = msgspec.field(default_factory=list[str])  # on the way, outermost first
    v: int = VERSION


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One hop of a call, for the call report: who was called, how, where, for how long."""

    deployment: str
    op: str
    route: str  # "local", "remote" or "durable", as seen from the caller of this hop
    host: str
    took_us: int


LEGS_MAX = 64
"""Hops that a reply reports; later ones of a chatty guest are only counted by telemetry."""


class CallReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an `Invocation`: exactly one of `ok` and `err` is meaningful.

    `ok` is a list of no or one value, so that "no result" differs from a nil result.
    """

    ok: list[Any] | None = None
    err: dict[str, Any] | None = None
    host: str = ""  # who ran it
    generation: int = 0
    legs: list[Leg] = msgspec.field(default_factory=list[Leg])  # calls made on the way, in order
    load: int = 0  # calls at work or waiting on that host, for each of its replicas
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatAck:
    """The active scheduler's answer to a `Report`."""

    sequence: int  # of the report that is answered
    required: Revision  # the target that the scheduler believes current for this host
    lease_ms: int = 0  # the host's lease, from the sending of its report; 0 grants none
    heartbeat_ms: int = 0  # the pace of reports that the scheduler wants; 0: as it is
    is_inventory_wanted: bool = False  # the host's inventory is not there: write it again
    is_base_unknown: bool = False  # the report's `base` is not what stands here: begin anew
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceGrant:
    """A device, or a share of one, for the replica `ordinal` of an item."""

    ordinal: int
    device: str
    share_milli: int = 1000
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetItem:
    """`count` replicas of one generation of a deployment."""

    deployment: str
    generation: int
    count: int
    assignment: int = 0  # makes replica ids new for every assignment
    cpu_milli: int = 0  # that each replica reserves, so that whoever reads the target can count
    memory_bytes: int = 0
    slots: int = 1
    priority: int = 0
    grants: list[DeviceGrant] = field(default_factory=list[DeviceGrant])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one host should run: a document under `target.<host>`.

    `needs` lists `feature@n` that the host must understand; a host refuses a target whose needs
    it does not know and keeps what it runs. `host` guards against a document that was copied to
    another key. The revision is (incarnation, sequence of the key).
    """

    epoch: int
    host: str = ""
    incarnation: str = ""
    needs: list[str] = field(default_factory=list[str])
    items: list[TargetItem] = field(default_factory=list[TargetItem])
    body: str = ""  # digest of the object with the whole target, when it is too large for a key
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The value of `leader`: who leads. It is renewed before `ttl_ms` ran out."""

    holder: str
    ttl_ms: int
    renewals: int = 0
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """The value of `term`, written once for each leadership."""

    holder: str
    incarnation: str  # born with the bucket and handed from term to term
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The value of `desired._restore`: a backup is being written, or was.

    It stands in the family of desired state so that whoever follows that sees it in order.
    """

    is_running: bool
    floor: int = 0  # no generation up to this number is given to a deployment from now on
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRecord:
    """The value of `desired.<name>` and of `history.<name>.<generation>`."""

    name: str
    generation: int
    manifest: dict[str, Any]  # in the form `lattice.model.manifest` reads and writes
    interfaces: list[str] = field(default_factory=list[str])  # that a host must offer
    exposed: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    # exposed: interface -> function -> type fingerprint; "" is the root
    submitted_by: str = ""
    since: int = 0  # revision of the control bucket at which the deployment was submitted first
    is_paused: bool = False  # what runs stays as it is, whatever is desired
    reverted: int = 0  # the generation that this one replaced because it did not do well; 0: none
    reason: str = ""  # why it was reverted, or what whoever rolled back said
    given_up: list[int] = field(default_factory=list[int])  # generations that were gone back from
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    """The value of `status.<name>`: what the leader must remember of a deployment beyond its term.

    It is written under the fence of the term, and only when it changed.
    """

    name: str
    good_generation: int = 0  # the last one that was rolled out in full
    generation: int = 0  # the one that the rest is about
    completed: int = 0  # replicas of a job that succeeded
    failed: int = 0  # replicas of a job that failed
    counted: list[str] = field(default_factory=list[str])  # replicas in these, still in a target
    verdict: str = ""  # "", "completed", "failed", "reverted"
    reason: str = ""
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteGeneration:
    """One generation of a deployment that takes calls."""

    generation: int
    weight: int  # its part of the calls, out of the sum of all weights; 0: none
    hosts: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRoute:
    """The value of `route.<name>`: which generations take which part of the calls, and where.

    It stands only while the calls are to be divided, or the deployment may be scaled to zero.
    """

    name: str
    generations: list[RouteGeneration] = field(default_factory=list[RouteGeneration])
    wakes: bool = False  # with no replica at all, `lead.wake` starts one
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened: the data of a CloudEvent (1.0, binary mode)."""

    id: str
    kind: str  # `host-joined`, `replica-running`, ...
    source: str  # `/lattice/<name>/host/<id>` or `/lattice/<name>/scheduler/<id>`
    entity: str  # the deployment, replica or host that it is about
    time_s: float
    data: Mapping[str, Any]
    run: str = ""  # of the process that told it: `sequence` counts from 1 within one run
    sequence: int = 0  # 0: its source does not number its events
    position: int = 0  # its place in the log; 0: not read from there
    v: int = VERSION
