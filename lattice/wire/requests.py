"""The bodies of requests to schedulers and hosts: what is asked, by verb.

The rules of change are those of `lattice.wire.messages`. Answers are maps; what stands in them is
told in docs/reference/protocol.md and read by `lattice.client.views`. Every body has a golden
vector in tests/golden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lattice.model.host import Taint


@dataclass(frozen=True, slots=True, kw_only=True)
class PutDeployment:
    """`api.put`: store a deployment. `expect`: the revision at which it must stand, 0 for none."""

    manifest: Mapping[str, Any]
    expect: int | None = None
    submitted_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneDeployment:
    """`api.get`, `api.history`, `lead.status` and `lead.explain`: what is known of a deployment."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreStep:
    """`api.restore`: one step of writing a backup: `begin`, `put` or `end`."""

    step: str
    is_replacing: bool = False  # of `begin`: the lattice need not be empty
    floor: int = 0  # of `begin`: the highest generation in the backup
    entries: Mapping[str, bytes] = field(default_factory=dict[str, bytes])  # of `put`: by key
    deployments: list[str] = field(default_factory=list[str])  # of `end`: all others are removed


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDeployment:
    """`api.delete`: remove a deployment, with `expect` only if it stands at this revision."""

    name: str
    expect: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """`api.rollback`: desire an earlier generation again, `None` for the one before."""

    name: str
    generation: int | None = None
    expect: int | None = None
    submitted_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReplicas:
    """`api.scale`: desire another number of replicas."""

    name: str
    replicas: int
    expect: int | None = None
    submitted_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPaused:
    """`api.pause` and `api.resume`: leave what runs as it is, or go on."""

    name: str
    expect: int | None = None
    submitted_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`api.list` and `lead.hosts`, one page: at most `limit` entries (0: as many as fit into a
    message) after the place `after`, which is the `next` of the page before.
    """

    after: str = ""
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaListing:
    """`lead.replicas`, one page as `Listing`; of one deployment or of all."""

    deployment: str | None = None
    after: str = ""
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OneHost:
    """`lead.why-not`: why a deployment has no replica on a host, by its id, or could have one."""

    name: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A deployment as it might be submitted, and the interfaces that it needs of its hosts."""

    manifest: Mapping[str, Any]
    interfaces: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """`lead.plan`: what would happen if all this were submitted; nothing is."""

    proposals: list[Proposal] = field(default_factory=list[Proposal])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """`ctl.host.<host>.labels`: labels to set and keys to remove."""

    set: Mapping[str, str] = field(default_factory=dict[str, str])
    remove: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaintChange:
    """`ctl.host.<host>.taint`: taints to set, each in place of one with its key, and keys to
    remove.
    """

    set: list[Taint] = field(default_factory=list[Taint])
    remove: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequest:
    """`ctl.host.<host>.stop`: the host leaves, after its replicas are elsewhere or `drain_s` are
    over; 0: now.
    """

    drain_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    """`ctl.host.<host>.logs`: the last `lines` of one deployment (`""`: the host's own), or all."""

    deployment: str | None = None
    lines: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a guest or a host wrote, published and in answers to `LogRequest`."""

    time_s: float = 0.0  # seconds since the Unix epoch, by the host's clock
    level: str = "info"
    deployment: str = ""  # "" for the host's own
    host: str = ""
    line: str = ""
