"""What the scheduler needs to know of a deployment's desired state. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from lattice.model.ids import DeploymentName
from lattice.model.scheduling import Daemon, Job, Placement, Scale, Update
from scheduler.placement.model import Key


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
    has_probes: bool = False
    is_paused: bool = False
    lost_after_s: float | None = None
    reverted: int = 0  # the generation that this one replaced because it did not do well
    reason: str = ""  # why
    since: int = 0  # the revision at which the deployment was made; another one once it was deleted
    past: int = 0  # generations up to here are of a deleted deployment of this name: all have to go

    @property
    def key(self) -> Key:
        """Return deployment and generation."""
        return (self.name, self.generation)

    def is_older(self, generation: int) -> bool:
        """Tell whether a generation is one that this deployment had before."""
        return self.past < generation != self.generation
