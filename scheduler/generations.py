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

    @property
    def key(self) -> Key:
        """Return deployment and generation."""
        return (self.name, self.generation)
