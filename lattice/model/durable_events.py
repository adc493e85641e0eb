"""Which events about durable jobs are told one by one, and which only counted. Pure.

A lattice may run thousands of jobs in a second, and the event log holds days of a few a second: it
is there for what changed, the stream of jobs for what became of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BURST = 200
"""Events that one process tells one by one after it was quiet."""

EACH_S = 0.5
"""Seconds in which one more may be told."""

COUNTED_S = 15.0
"""Seconds from the first event that was not told to the one that tells how many there were."""

COUNTED_MAX = 1024
"""Kinds and deployments that are counted apart; what is over it is counted together, as of `""`."""

Told = tuple[str, dict[str, Any]]
"""A kind of event and its data."""


@dataclass(slots=True)
class JobEvents:
    """What one process tells about jobs."""

    _left: float = BURST
    _refilled_s: float = 0.0
    _counted_s: float = 0.0
    _counts: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def take(self, now_s: float, kind: str, deployment: str, data: Mapping[str, Any]) -> list[Told]:
        """Return what is to be told now that something happened; times by a monotonic clock."""
        told = self.due(now_s)
        self._left = min(self._left + (now_s - self._refilled_s) / EACH_S, BURST)
        self._refilled_s = now_s
        if self._left >= 1:
            self._left -= 1
            return [*told, (kind, {"deployment": deployment, **data})]
        if not self._counts:
            self._counted_s = now_s
        key = (kind, deployment)
        if key not in self._counts and len(self._counts) >= COUNTED_MAX:
            key = (kind, "")
        self._counts[key] = self._counts.get(key, 0) + 1
        return told

    def due(self, now_s: float) -> list[Told]:
        """Return the counts of what was not told one by one, if it is time for them."""
        if not self._counts or now_s - self._counted_s < COUNTED_S:
            return []
        counts, self._counts = self._counts, {}
        return [
            (kind, {"deployment": deployment, "count": count, "reason": f"{count} more"})
            for (kind, deployment), count in counts.items()
        ]
