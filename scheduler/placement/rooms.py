"""What is taken of a host, and what is placed around it: all that a rule may look at beside the
demand and the host itself.

Values and sums only; the rules are in `filters`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lattice.model.ids import DeploymentName
from scheduler.placement.devices import Taken
from scheduler.placement.model import Candidate, Demand, Key

SHARE_ONE = 1 << 20
"""A whole capacity of a host, in the unit of shares and scores."""


@dataclass(slots=True)
class Room:
    """What is taken of a candidate, and by whom, while a plan is made."""

    candidate: Candidate
    cpu_milli: int = 0
    memory_bytes: int = 0
    slots: int = 0
    counts: dict[Key, int] = field(default_factory=dict[Key, int])  # replicas there, none of zero
    taken: Mapping[str, Taken] = field(default_factory=dict[str, Taken])  # of its devices, by id

    def take(self, demand: Demand, count: int) -> None:
        """Take the room of `count` replicas (give it back when negative)."""
        self.cpu_milli += demand.placement.cpu_milli * count
        self.memory_bytes += demand.placement.memory_bytes * count
        self.slots += max(demand.placement.slots, 1) * count
        left = self.counts.get(demand.key, 0) + count
        if left > 0:
            self.counts[demand.key] = left
        else:
            self.counts.pop(demand.key, None)

    def fitting(self, demand: Demand) -> int:
        """Return how many replicas more fit by capacity alone; never negative.

        Each replica takes at least one slot: slots bound the size of a host's target.
        """
        capacity, asked = self.candidate.capacity, demand.placement
        fits = (capacity.slots - self.slots) // max(asked.slots, 1)
        if asked.cpu_milli:
            fits = min(fits, (capacity.cpu_milli - self.cpu_milli) // asked.cpu_milli)
        if asked.memory_bytes:
            fits = min(fits, (capacity.memory_bytes - self.memory_bytes) // asked.memory_bytes)
        return max(fits, 0)

    def share(self, demand: Demand) -> int:
        """Return the largest share of a capacity in use after one replica more, in 2^-20."""
        capacity = self.candidate.capacity
        return max(
            _share(self.slots + max(demand.placement.slots, 1), capacity.slots),
            _share(self.cpu_milli + demand.placement.cpu_milli, capacity.cpu_milli),
            _share(self.memory_bytes + demand.placement.memory_bytes, capacity.memory_bytes),
        )

    def has(self, deployment: DeploymentName) -> bool:
        """Tell whether a replica of any generation of a deployment is there."""
        return any(name == deployment for name, _ in self.counts)

    def deployments(self) -> Iterator[DeploymentName]:
        """Yield the deployments that have a replica there, each once, by name."""
        yield from sorted({name for name, _ in self.counts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """How the replicas of one generation lie over the values of a label."""

    counts: Mapping[str, int]  # value of the label -> replicas there; values without one may lack
    fewest: int  # replicas in the emptiest domain that could take one


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is placed elsewhere, as far as it matters to one demand; the same for every host.

    `spread` has an entry for the key of each hard spread of the demand. `refusing` are the
    deployments that want to be apart from the demand's one, wherever they are.
    """

    spread: Mapping[str, Domains] = field(default_factory=dict[str, Domains])
    refusing: frozenset[DeploymentName] = frozenset()


ALONE = Surroundings()
"""Nothing is placed anywhere else."""


def _share(used: int, total: int) -> int:
    if total <= 0:
        return 0 if used <= 0 else 2 * SHARE_ONE
    return used * SHARE_ONE // total
