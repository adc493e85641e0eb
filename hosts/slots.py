"""What a host keeps of one replica of its target, and how it reads a target.

Plain values and functions of them, for the lifecycle core.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from lattice.model.host import ReplicaState
from lattice.model.ids import DeploymentName, HostId, ReplicaId, replica_id
from lattice.wire.messages import DeviceGrant, Target

REPLICAS_MAX = 10_000
"""Replicas of one target: far above what a scheduler assigns, far below what exhausts memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One replica on this host. `is_wanted` tells whether the adopted target lists it."""

    replica: ReplicaId
    deployment: DeploymentName
    generation: int
    state: ReplicaState
    is_wanted: bool = True
    reason: str = ""
    failures: int = 0
    since_s: float = 0.0  # when it came into this state
    retry_at_s: float | None = None  # set while failed, unless `is_final`
    is_final: bool = False  # a job's that failed: the scheduler decides what follows
    grants: tuple[DeviceGrant, ...] = ()
    is_strict: bool = False  # a strict singleton, known from its first start on
    is_held: bool = False  # it is or will be gone until this host has a lease again
    ends_at_s: float | None = None  # set for a withdrawn singleton: no later lease is for it

    @property
    def lives(self) -> bool:
        """Tell whether anything of it may be running, or about to."""
        match self.state:
            case "starting" | "running" | "stopping":
                return True
            case "unready":
                return not self.is_held
            case "completed" | "failed" | "crash-loop":
                return False

    @property
    def is_to_fence(self) -> bool:
        """Tell whether it is a strict singleton that may be at work."""
        return self.is_strict and not self.is_held and self.lives

    def works_until_s(self, fence_at_s: float) -> float:
        """Return when a strict singleton must be at rest, on a host that fences at `fence_at_s`."""
        return fence_at_s if self.ends_at_s is None else min(fence_at_s, self.ends_at_s)

    def withdrawn(self, fence_at_s: float) -> Slot:
        """Return it as one that the target lists no more.

        The scheduler waits for no lease that follows this target: a strict singleton uses none.
        """
        ends_at_s = self.works_until_s(fence_at_s) if self.is_strict else None
        return replace(self, is_wanted=False, ends_at_s=ends_at_s)


def slots_of(target: Target, host: HostId, now_s: float) -> Mapping[ReplicaId, Slot]:
    """Return the replicas that a target lists, as they are when they begin, in its order."""
    slots: dict[ReplicaId, Slot] = {}
    for item in target.items:
        grants: dict[int, tuple[DeviceGrant, ...]] = {}
        for grant in item.grants:
            grants[grant.ordinal] = (*grants.get(grant.ordinal, ()), grant)
        for ordinal in range(item.count):
            replica = replica_id(item.deployment, item.generation, host, item.assignment, ordinal)
            slots[replica] = Slot(
                replica=replica,
                deployment=DeploymentName(item.deployment),
                generation=item.generation,
                state="starting",
                since_s=now_s,
                grants=grants.get(ordinal, ()),
            )
    return slots


def refusal(target: Target, host: HostId, features: Collection[str]) -> str | None:
    """Return why a host that knows these features cannot take a target, None when it can."""
    if target.host not in ("", host):
        return f"target is meant for host {target.host}, this is {host}"
    if unknown := sorted(set(target.needs) - set(features)):
        return f"target needs {', '.join(unknown)}, this host knows {sorted(features)}"
    count = sum(item.count for item in target.items)
    if count > REPLICAS_MAX or any(item.count < 0 for item in target.items):
        return f"target lists {count} replicas, expected 0 to {REPLICAS_MAX}"
    return None
