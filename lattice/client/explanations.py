"""Why replicas are where they are, and what a manifest would do: the scheduler's answers as values.

Fields that a newer peer leaves out have defaults. Scores are integers: 1,048,576 is 100 points, or
one whole capacity of a host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreView:
    """A host's score for one replica, with its terms: `score` is their sum.

    `domains` has, for each label that the deployment is spread over, how many replicas are on hosts
    with the same value: where there are fewest comes before any score.
    """

    host: str
    host_name: str = ""
    replicas: int = 0  # of the deployment that are there
    score: int = 0
    preferences: int = 0
    alignment: int = 0  # how well the shape of what is free fits what a replica asks for
    share: int = 0  # the largest share in use with the replica, negative
    own: int = 0  # price of the deployment's other replicas there, negative
    domains: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonView:
    """A constraint that was the first to refuse `hosts` hosts, and what it says of one of them: of
    a capacity, of the host that has most left."""

    kind: str
    subject: str = ""
    hosts: int = 0
    text: str = ""
    host: str | None = None
    host_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaxationView:
    """A constraint without which, all else as it is, `hosts` hosts could take one more replica."""

    kind: str
    subject: str = ""
    hosts: int = 0
    text: str = ""
    free: int = 0  # of a capacity: the most that one of them has left
    host: str | None = None
    host_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionView:
    """Replicas that leave a host to make room for a deployment of higher priority."""

    host: str
    host_name: str = ""
    deployment: str = ""
    generation: int = 0
    count: int = 0
    by: str = ""
    by_generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingView:
    """A replica that is being moved to a host that joined: it leaves once another one is ready."""

    deployment: str
    generation: int = 0
    host: str = ""
    host_name: str = ""
    to_host: str = ""
    to_host_name: str = ""
    points: int = 0  # that the move gains
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreemptionView:
    """What driving out lower priorities does for one more replica, or would do."""

    allowed: bool = False
    priority: int = 0
    text: str = ""
    evictions: list[EvictionView] = field(default_factory=list[EvictionView])


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why the replicas of a deployment are where they are, and what keeps one more away."""

    name: str
    generation: int = 0
    wanted: int = 0
    placed: int = 0
    unplaced: int = 0
    hosts: int = 0  # that are known
    feasible: int = 0  # that could take one more replica
    here: list[ScoreView] = field(default_factory=list[ScoreView])  # with replicas, best first
    best: list[ScoreView] = field(default_factory=list[ScoreView])  # feasible ones without
    reasons: list[ReasonView] = field(default_factory=list[ReasonView])
    relaxations: list[RelaxationView] = field(default_factory=list[RelaxationView])
    preemption: PreemptionView = field(default_factory=PreemptionView)
    moving: list[MovingView] = field(default_factory=list[MovingView])  # under way now
    planned_s: float | None = None  # seconds since the plan that this is told from
    oldest_heartbeat_s: float | None = None  # age of the oldest report of a host that is there


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """What one rule says of a host."""

    kind: str
    subject: str = ""
    met: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot:
    """Every rule of a deployment with its verdict on one host, in the order of the rules."""

    name: str
    host: str
    generation: int = 0
    host_name: str = ""
    replicas: int = 0
    feasible: bool = False
    verdicts: list[VerdictView] = field(default_factory=list[VerdictView])
    score: ScoreView | None = None
    chosen: list[ScoreView] = field(default_factory=list[ScoreView])  # of hosts that have replicas
    planned_s: float | None = None
    heartbeat_s: float | None = None  # age of the host's last report


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMoves:
    """How many replicas of a deployment start, stop and stay on one host."""

    host: str
    host_name: str = ""
    starts: int = 0
    stops: int = 0
    stays: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What would become of one deployment."""

    name: str
    generation: int = 0  # 0: of a deployment that is not in the manifest
    changed: bool = False
    paused: bool = False  # nothing of it moves until it is resumed
    starts: int = 0
    stops: int = 0
    stays: int = 0
    unplaced: int = 0
    reasons: list[str] = field(default_factory=list[str])
    hosts: list[HostMoves] = field(default_factory=list[HostMoves])
    hosts_left_out: int = 0  # beyond those listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What would happen if manifests were applied now, once all rollouts were over."""

    deployments: list[Moves] = field(default_factory=list[Moves])
    others: list[Moves] = field(default_factory=list[Moves])  # that would move because of it
    evictions: list[EvictionView] = field(default_factory=list[EvictionView])
    moving: list[MovingView] = field(default_factory=list[MovingView])  # now, whatever is applied
    planned_s: float | None = None
