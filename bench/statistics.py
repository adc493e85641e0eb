"""Medians, ratios and their intervals: pure functions of the samples and a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.case import Direction

RESAMPLES = 4000
"""Bootstrap resamples: the ends of an interval then move by less than the samples' own noise."""

LEVEL = 0.95

Verdict = Literal["pass", "fail", "none"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval, both ends included."""

    low: float
    high: float

    def verdict(self, target: float) -> Verdict:
        """Return whether the target is met, or `none` when it lies inside the interval."""
        if self.low >= target:
            return "pass"
        return "fail" if self.high < target else "none"


def median(samples: Sequence[float]) -> float:
    """Return the middle of the samples, of which there is at least one."""
    return float(np.median(np.asarray(samples)))


def ratio(ours: Sequence[float], peer: Sequence[float], direction: Direction) -> float:
    """Return how many times better ours is than the peer: above 1 is better for ours."""
    if direction == "time":
        return median(peer) / median(ours)
    return median(ours) / median(peer)


def ratio_interval(
    ours: Sequence[float],
    peer: Sequence[float],
    direction: Direction,
    *,
    seed: int,
    is_paired: bool = True,
) -> Interval:
    """Return the percentile bootstrap interval of `ratio`.

    Paired samples (taken next to each other in time) are drawn as pairs, so that noise that hits
    both at once is not counted twice; then both have the same length.
    """
    random = np.random.default_rng(seed)
    mine, theirs = np.asarray(ours, float), np.asarray(peer, float)
    if is_paired and len(mine) != len(theirs):
        message = f"paired samples differ in number: {len(mine)} and {len(theirs)}"
        raise ValueError(message)
    draw_mine = random.integers(0, len(mine), (RESAMPLES, len(mine)))
    draw_theirs = (
        draw_mine if is_paired else random.integers(0, len(theirs), (RESAMPLES, len(theirs)))
    )
    medians_mine = np.median(mine[draw_mine], axis=1)
    medians_theirs = np.median(theirs[draw_theirs], axis=1)
    if direction == "time":
        return _interval(medians_theirs / medians_mine)
    return _interval(medians_mine / medians_theirs)


def median_interval(samples: Sequence[float], *, seed: int) -> Interval:
    """Return the percentile bootstrap interval of the median."""
    values = np.asarray(samples, float)
    draw = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    return _interval(np.median(values[draw], axis=1))


def _interval(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Interval:
    edge = (1 - LEVEL) / 2
    low, high = np.quantile(values, [edge, 1 - edge])
    return Interval(float(low), float(high))
