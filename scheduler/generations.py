"""From deployments and what is assigned now to demands: how much of which generation is wanted; a
core.

A new generation replaces the old one: old replicas stay until as many new ones run, and the last
old one stays until a new one runs. This decides counts, never hosts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lattice.model.ids import DeploymentName, HostId
from lattice.model.scheduling import Daemon, Job, Placement, Scale, Update
from lattice.wire.messages import TargetItem
from scheduler.placement.filters import CAPACITY_KINDS
from scheduler.placement.model import Demand, Key, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the scheduler needs to know of a deployment's desired state."""

    name: DeploymentName
    generation: int
    replicas: int
    placement: Placement = field(default_factory=Placement)
    interfaces: tuple[str, ...] = ()
    daemon: Daemon | None = None
    is_singleton: bool = False
    scale: Scale | None = None
    job: Job | None = None
    update: Update = field(default_factory=Update)
    is_paused: bool = False
    lost_after_s: float | None = None

    @property
    def key(self) -> Key:
        """Return deployment and generation."""
        return (self.name, self.generation)


@dataclass(slots=True)
class Assigned:
    """The replicas of one generation that targets list, on all hosts together."""

    count: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0


def assigned_by_key(items: Iterable[TargetItem]) -> dict[Key, Assigned]:
    """Return what targets list, by deployment and generation."""
    found: dict[Key, Assigned] = {}
    for item in items:
        entry = found.setdefault((DeploymentName(item.deployment), item.generation), Assigned())
        entry.count += item.count
        entry.cpu_milli = max(entry.cpu_milli, item.cpu_milli)
        entry.memory_bytes = max(entry.memory_bytes, item.memory_bytes)
    return found


def demands(
    wanted: Mapping[DeploymentName, Wanted | None],
    assigned: Mapping[Key, Assigned],
    running: Mapping[Key, int],
    avoided: Mapping[Key, Mapping[HostId, str]],
    withdrawn: Mapping[DeploymentName, int],
) -> list[Demand]:
    """Return the demands of one plan.

    `wanted` maps to None for a deployment whose record cannot be read: all it has stays where it
    is. `withdrawn` counts old replicas that give way although nothing replaces them yet.
    """
    made: list[Demand] = []
    old: dict[DeploymentName, list[int]] = {}
    for name, generation in sorted(assigned):
        current = wanted.get(name)
        if name in wanted and (current is None or current.generation != generation):
            old.setdefault(name, []).append(generation)
    for name, current in sorted(wanted.items()):
        generations = sorted(old.get(name, ()), reverse=True)
        if current is None:
            left = sum(assigned[name, generation].count for generation in generations)
        else:
            made.append(_new(current, avoided.get(current.key, {})))
            left = max(0, current.replicas - running.get(current.key, 0) - withdrawn.get(name, 0))
        for generation in generations:
            entry = assigned[name, generation]
            count = min(entry.count, left)
            left -= count
            made.append(
                Demand(
                    deployment=name,
                    generation=generation,
                    count=count,
                    placement=Placement(cpu_milli=entry.cpu_milli, memory_bytes=entry.memory_bytes),
                    is_kept_only=True,
                )
            )
    return made


def giving_way(
    plan: Plan,
    wanted: Mapping[DeploymentName, Wanted | None],
    assigned: Mapping[Key, Assigned],
    running: Mapping[Key, int],
) -> dict[DeploymentName, int]:
    """Return the deployments of which one old replica should give way to a new one.

    That is so when new replicas lack room, none is on its way, and an old replica can be spared:
    it is not the last one of a deployment of which no new replica runs.
    """
    spared: dict[DeploymentName, int] = {}
    placed: Counter[Key] = Counter()
    for counts in plan.assignments.values():
        placed.update(counts)
    for unplaced in plan.unplaced:
        name = unplaced.deployment
        current = wanted.get(name)
        key = (name, unplaced.generation)
        kept = sum(count for (owner, gen), count in placed.items()
                   if owner == name and gen != unplaced.generation)  # fmt: skip
        if current is None or not kept or not CAPACITY_KINDS & set(unplaced.kinds):
            continue
        is_on_its_way = placed[key] > running.get(key, 0)
        is_last = kept == 1 and not running.get(key, 0)
        if not is_on_its_way and not is_last:
            need = max(0, current.replicas - running.get(key, 0))
            spared[name] = need - kept + 1
    return spared


def _new(wanted: Wanted, avoid: Mapping[HostId, str]) -> Demand:
    return Demand(
        deployment=wanted.name,
        generation=wanted.generation,
        count=wanted.replicas,
        placement=wanted.placement,
        interfaces=wanted.interfaces,
        avoid=avoid,
    )
