"""How many replicas a deployment should have for its load; a core.

The load is what its replicas report, or how many durable jobs wait for it.

More replicas come at once, fewer only when for a while fewer were enough; without a call for long
enough it is the minimum, which may be none. Time and load go in with each look.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lattice.model.ids import DeploymentName
from lattice.model.scheduling import Scale

STABLE_S = 60.0
"""Seconds for which fewer replicas must have been enough before any is withdrawn: the gaps between
bursts of calls are shorter."""

SLACK_PERCENT = 10
"""Share by which the load may exceed what the replicas are wanted for: without it, a load right at
the border adds and takes a replica for ever."""

LOOK_S = 1.0
"""Least time between two looks that are remembered; hosts report their load about as often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSeen:
    """So many durable jobs of a deployment wait to be run or are run."""

    name: DeploymentName
    depth: int


@dataclass(slots=True)
class Scaler:
    """One deployment's number of replicas. Begin with the number that stands."""

    count: int
    active_s: float  # when there was a call last
    _calls: int = 0
    _looked_s: float = float("-inf")
    _wishes: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])

    def wake(self, now_s: float, scale: Scale) -> bool:
        """Note that a call waits although there is no replica; tell whether one may be started."""
        self.active_s = now_s
        if self.count == 0 and scale.maximum > 0:
            self.count = 1
        return self.count > 0

    def look(self, now_s: float, scale: Scale, load: int, calls: int) -> int:
        """Return the number of replicas to have.

        `load` is the number of calls or jobs at work or waiting, `calls` how many began so far;
        the latter falls when replicas go or start again, which counts as no call.
        """
        if load or calls > self._calls:
            self.active_s = now_s
        self._calls = calls
        needed = -(-load * 100 // (max(1, scale.target) * (100 + SLACK_PERCENT)))
        is_idle = now_s - self.active_s >= scale.idle_s
        floor = scale.minimum if is_idle or not self.count else max(1, scale.minimum)
        wish = max(floor, min(needed, scale.maximum))
        if now_s - self._looked_s >= LOOK_S or not self._wishes or wish > self._wishes[-1][1]:
            self._looked_s = now_s
            self._wishes.append((now_s, wish))
        window_s = min(STABLE_S, scale.idle_s)
        self._wishes = [each for each in self._wishes if now_s - each[0] <= window_s]
        self.count = max((count for _, count in self._wishes), default=wish)
        if is_idle:
            self.count = wish
        self.count = max(scale.minimum, min(self.count, scale.maximum))
        return self.count
