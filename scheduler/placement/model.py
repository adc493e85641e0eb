"""What placement works on: demands, hosts as candidates, and the plan that comes out.

Values only; the rules are in `filters` and `plan`, the words in `explain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lattice.model.host import Capacity, Device, Taint
from lattice.model.ids import DeploymentName, HostId
from lattice.model.labels import Labels
from lattice.model.scheduling import Placement
from lattice.wire.messages import DeviceGrant

Key = tuple[DeploymentName, int]
"""A deployment and one of its generations."""

Counts = Mapping[HostId, Mapping[Key, int]]
"""How many replicas of what each host is assigned."""

Grants = Mapping[HostId, Mapping[Key, tuple[DeviceGrant, ...]]]
"""Which devices the replicas of each host hold; only entries that are not empty."""

CandidateState = Literal["ready", "silent", "lost"]
"""`silent`: not heard of since the scheduler took over, and not yet long enough to be lost."""


NEEDS = ("replicas@1",)
"""The features that a host must understand to read the targets that this release writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """`count` replicas of one generation of a deployment, and what each needs of its host.

    `interfaces` and `needs` must all be among those of the host. With `per_host` above 0 that many
    are wanted on every host that can take them, and `count` says nothing. `avoid` names hosts on
    which it failed lately, with what they said; hosts of `keep_max` keep at most so many and take
    no new one, because they are being emptied. A demand that `is_kept_only` keeps replicas where
    they are, at most `count`, and places none anew: an outgoing generation.
    """

    deployment: DeploymentName
    generation: int
    count: int
    placement: Placement = field(default_factory=Placement)
    interfaces: tuple[str, ...] = ()
    needs: tuple[str, ...] = NEEDS
    per_host: int = 0
    avoid: Mapping[HostId, str] = field(default_factory=dict[HostId, str])
    keep_max: Mapping[HostId, int] = field(default_factory=dict[HostId, int])
    is_kept_only: bool = False
    unavailable_max: int = 0  # replicas that may be missing for a while, as its update allows

    @property
    def key(self) -> Key:
        """Return what tells this demand from all others."""
        return (self.deployment, self.generation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A host as placement sees it.

    The assignments of a host that `is_frozen` cannot change now, because the outcome of a write of
    its target is not known yet.
    """

    id: HostId
    labels: Labels
    interfaces: tuple[str, ...]
    capacity: Capacity
    features: tuple[str, ...] = NEEDS
    state: CandidateState = "ready"
    is_cordoned: bool = False
    is_draining: bool = False
    is_frozen: bool = False
    taints: tuple[Taint, ...] = ()
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """`count` replicas that fit nowhere. `reasons` has one text for each first failing reason, most
    frequent first, each with the number of hosts that it kept away."""

    deployment: DeploymentName
    generation: int
    count: int
    reasons: tuple[str, ...]
    kinds: tuple[str, ...]  # the filters that refused, sorted
    text: str  # all of it in one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """`count` replicas of `victim` leave a host to make room for one of `by`, which goes first."""

    host: HostId
    victim: Key
    count: int
    by: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who runs what. Every replica that is wanted is assigned or unplaced, never both.

    `assignments` has every candidate, an empty map for one that runs nothing. `changed` names the
    hosts whose assignments or grants differ from what was given as current, hosts that are gone
    left out.
    """

    assignments: Counts
    unplaced: tuple[Unplaced, ...]
    grants: Grants = field(default_factory=dict[HostId, Mapping[Key, tuple[DeviceGrant, ...]]])
    changed: frozenset[HostId] = frozenset()
    evictions: tuple[Eviction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is new since a state; None: it is gone.

    `assigned` and `grants` have, in full, what hosts are really assigned, of those where it is not
    what the last plan said: a write that did not happen, or additions that were left out.
    """

    hosts: Mapping[HostId, Candidate | None] = field(default_factory=dict[HostId, Candidate | None])
    demands: Mapping[Key, Demand | None] = field(default_factory=dict[Key, Demand | None])
    assigned: Counts = field(default_factory=dict[HostId, Mapping[Key, int]])
    grants: Grants = field(default_factory=dict[HostId, Mapping[Key, tuple[DeviceGrant, ...]]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan may spend."""

    variants_max: int = 4  # orders and weights that are tried when something fits nowhere
