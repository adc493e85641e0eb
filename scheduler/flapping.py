"""Hosts that come and go: how long they take nothing new after they came back; a core.

The first loss costs nothing. Each further one doubles the time for which a host takes no new
replicas, so that a host at the edge of its time-out does not draw replicas to and fro.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lattice.model.ids import HostId
from lattice.model.labels import Selector
from lattice.model.scheduling import Placement
from scheduler.profile import Profile

TAINT = "lattice/flapping"
"""Taint of a host that is held off: replicas go there only when there is room nowhere else."""

CLEAN_HEARTBEATS = 3
"""Heartbeats in a row, after the penalty, with which a host is taken back."""

PENALTY_MAX_S = 300.0
"""Longest penalty: a host that was mended is of use again within minutes."""

MEMORY_S = 900.0
"""Seconds without a loss after which earlier ones are forgotten."""


def tolerant(placement: Placement) -> Placement:
    """Return a placement that does not mind hosts that are held off."""
    return replace(placement, tolerate=(*placement.tolerate, Selector(TAINT, "exists")))


@dataclass(slots=True)
class _Record:
    losses: int = 0
    lost_s: float = 0.0
    held_until_s: float = 0.0
    clean: int = 0


class Flapping:
    """The losses of each host. Time goes in with each call."""

    def __init__(self, profile: Profile) -> None:
        self._base_s = profile.lost_after_s
        self._records: dict[HostId, _Record] = {}

    def lost(self, now_s: float, host: HostId) -> None:
        """Note that a host was lost."""
        record = self._records.setdefault(host, _Record())
        if record.losses and now_s - record.lost_s > MEMORY_S:
            record.losses = 0
        record.losses, record.lost_s, record.clean = record.losses + 1, now_s, 0

    def returned(self, now_s: float, host: HostId) -> bool:
        """Note that it is back, and tell whether it is held off."""
        record = self._records.get(host)
        if record is None or record.losses < 2:
            return False
        penalty_s = min(self._base_s * 2.0 ** min(record.losses - 1, 16), PENALTY_MAX_S)
        record.held_until_s, record.clean = now_s + penalty_s, 0
        return True

    def heard(self, now_s: float, host: HostId) -> bool:
        """Note a report in time, and tell whether it ends a penalty."""
        record = self._records.get(host)
        if record is None or not record.held_until_s or now_s < record.held_until_s:
            return False
        record.clean += 1
        if record.clean < CLEAN_HEARTBEATS:
            return False
        record.held_until_s = 0.0
        return True

    def losses(self, host: HostId) -> int:
        """Return how often a host that is held off was lost lately; 0 for one that is not."""
        record = self._records.get(host)
        return record.losses if record is not None and record.held_until_s else 0

    @property
    def is_any(self) -> bool:
        """Tell whether any host is held off."""
        return any(record.held_until_s for record in self._records.values())

    def forget(self, host: HostId) -> None:
        """Drop a host that left."""
        self._records.pop(host, None)
