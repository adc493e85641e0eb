"""Water-filling: many replicas of one demand over many hosts or domains at once.

The outcome equals placing one replica after the other, each where the score is best at that moment,
because a host's score falls with every replica that it takes: so there is a level down to which
every host is filled. Pure functions of columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.columns import CPU, MEMORY, SLOTS, Bools, Ints, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How the scores of some hosts fall while they take replicas of one demand.

    The k-th replica scores `start - max(load + k * step) - price * (own + k - 1)`, the maximum over
    the capacities. All columns have one entry for each host; `load` and `step` have a row for each
    capacity.
    """

    start: Ints
    load: Ints
    step: Ints
    own: Ints
    limit: Ints  # replicas that fit
    tie: NDArray[np.uint64]  # of equal scores the larger wins
    price: int  # at least 1, so that scores do fall

    def first(self) -> Ints:
        """Return the score of the next replica on each host."""
        return self.start - highest(self.load + self.step) - self.price * self.own


def fill(slope: Slope, count: int) -> Ints:
    """Return how many of `count` replicas each host takes; fewer in all when no more fit."""
    taken = np.zeros(len(slope.limit), np.int64)
    chosen = np.flatnonzero(slope.limit > 0)
    if count <= 0 or not len(chosen):
        return taken
    first = slope.first()[chosen]
    if len(chosen) > count:
        best = _best(first, slope.tie[chosen], count)
        chosen, first = chosen[best], first[best]
    limit = slope.limit[chosen]
    if int(limit.sum()) <= count:
        taken[chosen] = limit
    else:
        taken[chosen] = _level(_Lines(slope, chosen), first, count)
    return taken


def fill_domains(slope: Slope, domains: Rows, shares: Ints) -> Ints:
    """Return what each host takes when each domain takes its share, which must fit there.

    `domains` has the domain of each host, -1 for none. In every domain the outcome is that of
    `fill`.
    """
    taken = np.zeros(len(slope.limit), np.int64)
    asked = np.append(shares, 0)[domains]
    chosen = np.flatnonzero((slope.limit > 0) & (asked > 0))
    if not len(chosen):
        return taken
    if len(asking := np.flatnonzero(shares)) == 1:
        inside = replace(slope, limit=np.where(domains == asking[0], slope.limit, 0))
        return fill(inside, int(shares[asking[0]]))
    first = slope.first()
    order = chosen[np.lexsort((slope.tie[chosen], first[chosen], domains[chosen]))]
    codes, starts = np.unique(domains[order], return_index=True)
    sizes = np.diff(np.append(starts, len(order)))
    # Only the best hosts of a domain, as many as its share, can take any.
    from_end = np.repeat(starts + sizes, sizes) - np.arange(len(order))
    order = order[from_end <= np.repeat(shares[codes], sizes)]
    part = np.searchsorted(codes, domains[order])
    taken[order] = _levels(_Lines(slope, order), part, first[order], shares[codes])
    return taken


class _Lines:
    """The scores of some hosts as lines: how many replicas a host takes down to a level.

    Whole numbers below 2^53 divide exactly enough in floating point: the quotient is rounded
    correctly, and one just below a whole number does not reach it at this size.
    """

    __slots__ = ("fall", "limit", "price", "tie", "top")

    def __init__(self, slope: Slope, chosen: NDArray[np.intp]) -> None:
        base = slope.start[chosen] - slope.price * (slope.own[chosen] - 1)
        self.top = (base - slope.load[:, chosen]).astype(np.float64)
        self.fall = (slope.step[:, chosen] + slope.price).astype(np.float64)
        self.limit = slope.limit[chosen].astype(np.float64)
        self.tie = slope.tie[chosen]
        self.price = slope.price

    def takes(self, level: int | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many replicas each host takes with a score of `level` or better."""
        many = (self.top - level) / self.fall
        # Row by row: numpy is several times slower at the minimum over a short first axis.
        lowest: NDArray[np.float64] = np.minimum(np.minimum(many[0], many[1]), many[2])
        np.floor(lowest, out=lowest)
        np.maximum(lowest, 0.0, out=lowest)
        return np.minimum(lowest, self.limit, out=lowest)


def highest(shares: Ints) -> Ints:
    """Return the largest of the three shares of each host."""
    found: Ints = np.maximum(np.maximum(shares[CPU], shares[MEMORY]), shares[SLOTS])
    return found


def _best(scores: Ints, tie: NDArray[np.uint64], count: int) -> NDArray[np.intp]:
    """Return where the `count` best scores are, in the order of the hosts."""
    threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
    sure = scores > threshold
    equal = np.flatnonzero(scores == threshold)
    need = count - int(sure.sum())
    if need < len(equal):
        equal = equal[np.argsort(tie[equal], kind="stable")[len(equal) - need :]]
    sure[equal] = True
    return np.flatnonzero(sure)


def _level(lines: _Lines, first: Ints, count: int) -> Ints:
    """Return what each host takes when not all can take what fits on them."""
    high = int(first.max()) + 1  # nobody takes any
    low = int(first.min()) if len(first) >= count else high - 1
    above, below = 0, int(lines.takes(low).sum())
    step = lines.price
    while below < count:
        high, above = low, below
        low, step = low - step, step * 4
        below = int(lines.takes(low).sum())
    is_guess = True
    while high - low > 1:
        # Guess along a straight line, and halve every other time: lines may be crooked.
        part = (count - above) * (high - low) // max(1, below - above) if is_guess else 0
        is_guess = not is_guess
        middle = high - part if 0 < part < high - low else (high + low) // 2
        many = int(lines.takes(middle).sum())
        if many >= count:
            low, below = middle, many
        else:
            high, above = middle, many
    many_each = lines.takes(high).astype(np.int64)
    equal = np.flatnonzero(lines.takes(low) > many_each)  # one more each: scores do fall
    last = equal[np.argsort(lines.tie[equal], kind="stable")]
    many_each[last[len(last) - (count - above) :]] += 1
    return many_each


def _levels(lines: _Lines, part: NDArray[np.intp], first: Ints, shares: Ints) -> Ints:
    """Return what each host takes; hosts are in the order of their parts, each with its share."""
    starts = np.searchsorted(part, np.arange(len(shares)))

    def sums(levels: Ints) -> NDArray[np.float64]:
        return np.add.reduceat(lines.takes(levels[part].astype(np.float64)), starts)

    high = np.maximum.reduceat(first, starts) + 1
    low = high - 1
    step = np.full(len(shares), lines.price, np.int64)
    while (lacking := sums(low) < shares).any():
        high = np.where(lacking, low, high)
        low = np.where(lacking, low - step, low)
        step *= 4
    while (high - low > 1).any():
        middle = (high + low) // 2
        enough = sums(middle) >= shares
        low = np.where(enough, middle, low)
        high = np.where(enough, high, middle)
    many = lines.takes(high[part].astype(np.float64)).astype(np.int64)
    more = lines.takes(low[part].astype(np.float64)) > many
    need = shares - np.add.reduceat(many, starts)
    equal = np.flatnonzero(more)
    order = equal[np.lexsort((lines.tie[equal], part[equal]))][::-1]  # the largest of a part first
    ranks = np.arange(len(order)) - np.searchsorted(-part[order], -part[order])
    many[order[ranks < need[part[order]]]] += 1
    return many


def quotas(
    have: Ints, room: Ints, counts: Bools, tie: Ints, count: int, skew: int | None, floor: int = -1
) -> Ints:
    """Return how many of `count` replicas each domain takes, the emptiest domain first.

    `have` replicas are there and `room` more fit. With a `skew`, no domain gets more than that many
    above the emptiest of those that `counts` (or above `floor`, if that is not negative). Of
    equally full domains the one with the larger `tie` comes first.
    """
    top = have + room
    if skew is not None:
        lowest = floor if floor >= 0 else int(top[counts].min())
        top = np.minimum(top, np.maximum(have, lowest + skew))
    count = min(count, int((top - have).sum()))
    if count <= 0:
        return np.zeros(len(have), np.int64)
    low, high = int(have.min()), int(top.max())

    def fits(level: int) -> Ints:
        more: Ints = np.maximum(np.minimum(top, level) - have, 0)
        return more

    while high - low > 1:
        middle = (low + high) // 2
        if int(fits(middle).sum()) <= count:
            low = middle
        else:
            high = middle
    if int(fits(high).sum()) <= count:
        low = high
    taken = fits(low)
    more = np.flatnonzero(fits(low + 1) > taken)
    more = more[np.argsort(tie[more], kind="stable")]
    need = count - int(taken.sum())
    taken[more[len(more) - need :]] += 1
    return taken
