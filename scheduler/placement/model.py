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

Key = tuple[DeploymentName, int]
"""A deployment and one of its generations."""

Counts = Mapping[HostId, Mapping[Key, int]]
"""How many replicas of what each host is assigned."""

CandidateState = Literal["ready", "silent", "lost"]
"""`silent`: not heard of since the scheduler took over, and not yet long enough to be lost."""


NEEDS = ("replicas@1",)
"""The features that a host must understand to read the targets that this release writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """`count` replicas of one generation of a deployment, and what each needs of its host.

    `interfaces` and `needs` must all be among those of the host. With `per_host` above 0 that many
    are wanted on every host that can take them, and `count` says nothing. `avoid` names hosts on
    which it failed lately, with what they said. A demand that `is_kept_only` keeps replicas where
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
    is_kept_only: bool = False

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
class Plan:
    """Who runs what. Every replica that is wanted is assigned or unplaced, never both.

    `assignments` has every candidate, an empty map for one that runs nothing.
    """

    assignments: Counts
    unplaced: tuple[Unplaced, ...]
