"""Where the replicas of one demand go, given what is placed already.

Each finds the best host that may take it at that moment; `fill` does that for many at once where
the rules allow, else they are placed in steps.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lattice.model.ids import DeploymentName
from lattice.model.scheduling import Spread
from scheduler.placement.columns import Bools, Ints, Rows
from scheduler.placement.draft import Draft, request
from scheduler.placement.fill import Slope, fill, fill_domains, quotas
from scheduler.placement.model import Demand
from scheduler.placement.scores import Weights, preferences, standing_scores, steps


def place(draft: Draft, number: int, count: int, weights: Weights) -> int:
    """Draft up to `count` new replicas of a demand and return how many fit nowhere."""
    demand = draft.book.demand(number)
    if demand.placement.devices:
        return _place_granted(draft, number, count)
    size = count if not _looks_at_itself(demand) else 1
    while count > 0:
        placed = _batch(draft, number, min(size, count), weights)
        if not placed:
            break
        count -= placed
        if len(demand.placement.spread) <= 1:
            size *= 2  # what the first ones change for the others changes less and less
    return count


def _place_granted(draft: Draft, number: int, count: int) -> int:
    """Draft up to `count` replicas that need devices, one by one; return how many fit nowhere.

    What they wish for counts as for others; in place of balance, what is scored is how little of
    the devices is fragmented: such demands are packed.
    """
    granting, demand = draft.granting, draft.book.demand(number)
    assert granting is not None, "a plan with such demands has their grants"
    is_open = allowed(draft, number)
    wishes = preferences(draft, demand.placement)
    most = most_per_host(demand)
    while count > 0:
        if _looks_at_itself(demand):
            wishes = preferences(draft, demand.placement)
        now = is_open & spread_allows(draft, number)
        if most is not None:
            now &= draft.own(number) < most
        if granting.place(draft, number, now, wishes) is None:
            break
        count -= 1
    return count


def daemons_missing(draft: Draft, number: int) -> Ints:
    """Return how many replicas of a demand per host are missing on each host.

    They are wanted on every host that can take them as far as its own facts go. Where room or
    neighbours do not let them in, they are unplaced.
    """
    demand = draft.book.demand(number)
    missing = np.maximum(demand.per_host - draft.own(number), 0)
    missing[~draft.fleet.standing(demand)] = 0
    missing[draft.fleet.row_lists((*demand.avoid, *demand.keep_max))] = 0
    return missing


def place_daemons(draft: Draft, number: int) -> int:
    """Draft what is missing on each host and return how many replicas do not fit there."""
    missing = daemons_missing(draft, number)
    fits = np.minimum(missing, room(draft, draft.book.demand(number), draft.own(number)))
    fits[~allowed(draft, number)] = 0  # every host has its own: a spread has nothing to say
    rows = np.flatnonzero(fits).astype(np.int32)
    draft.put(number, rows, fits[rows])
    lost = 0
    if draft.granting is not None:
        lost = draft.granting.settle(draft).get(number, 0)
    return int(missing.sum() - fits.sum()) + lost


def place_units(draft: Draft, circle: Sequence[int], count: int, weights: Weights) -> int:
    """Draft up to `count` units of one replica of each demand on one host; return how many fit.

    The demands require each other, so that none can start anywhere alone.
    """
    demands = [draft.book.demand(number) for number in circle]
    names = frozenset(demand.deployment for demand in demands)
    is_stepwise = any(demand.placement.spread for demand in demands)
    total = 0
    while total < count:
        limit = unit_room(draft, circle)
        for number in circle:
            is_open = allowed(draft, number, names) & spread_allows(draft, number)
            limit = np.where(is_open, limit, 0)
        slope = Slope(
            start=sum((standing_scores(draft, demand.placement, weights) for demand in demands),
                      np.zeros(len(limit), np.int64)),
            load=draft.load,
            step=sum((steps(draft, demand.placement) for demand in demands),
                     np.zeros_like(draft.load)),
            own=draft.own(circle[0]), limit=limit, tie=draft.fleet.ties(demands[0].deployment),
            price=weights.own_price,
        )  # fmt: skip
        taken = fill(slope, 1 if is_stepwise else count - total)
        rows = np.flatnonzero(taken).astype(np.int32)
        if not len(rows):
            break
        for number in circle:
            draft.put(number, rows, taken[rows])
        total += int(taken.sum())
    return total


def unit_room(draft: Draft, circle: Sequence[int]) -> Ints:
    """Return how many units of one replica of each demand fit on each host."""
    demands = [draft.book.demand(number) for number in circle]
    sums = [sum(kinds) for kinds in zip(*(request(d.placement) for d in demands), strict=True)]
    free = draft.fleet.capacity - draft.used
    fits = [np.maximum(free[kind], 0) // asked for kind, asked in enumerate(sums) if asked]
    for number, demand in zip(circle, demands, strict=True):
        if (most := most_per_host(demand)) is not None:
            fits.append(np.maximum(most - draft.own(number), 0))
        if demand.placement.devices and draft.granting is not None:
            fits.append(draft.granting.fitting(draft, demand, np.minimum.reduce(fits)))
    return np.asarray(np.minimum.reduce(fits), np.int64)


def allowed(draft: Draft, number: int, present: Collection[DeploymentName] = ()) -> Bools:
    """Return which hosts may take one more replica, if they have the room and the domain does.

    The deployments of `present` count as being on every host.
    """
    fleet, demand = draft.fleet, draft.book.demand(number)
    placement = demand.placement
    found = fleet.standing(demand).copy()
    found[fleet.row_lists((*demand.avoid, *demand.keep_max))] = False
    for name in placement.together:
        if name not in present:
            found &= draft.presence(name)
    for name in placement.apart:
        found &= ~draft.presence(name)
        if name in present and name != demand.deployment:
            found[:] = False
    for name in draft.book.refusing_names(demand.deployment):
        found &= ~draft.presence(name)
    for spread in placement.spread:
        if spread.is_hard:
            found &= fleet.label_domains(spread.key) >= 0
    return found


def room(draft: Draft, demand: Demand, own: Ints, *, is_for_one: bool = False) -> Ints:
    """Return how many replicas more fit on each host by its capacity and `per_host_max`; where
    there is but one to place, whether it fits."""
    free = draft.fleet.capacity - draft.used
    asking = [(kind, asked) for kind, asked in enumerate(request(demand.placement)) if asked]
    if is_for_one:  # to compare takes a third of the time that it takes to divide
        fits = np.logical_and.reduce([free[kind] >= asked for kind, asked in asking])
        fits = fits.astype(np.int64)
    else:
        # Exact: amounts stay below 2^53, see `fill`. Every replica takes a slot.
        times = [np.floor(free[kind] / asked).astype(np.int64) for kind, asked in asking]
        fits = np.minimum.reduce(times)
    if (most := most_per_host(demand)) is not None:
        fits = np.minimum(fits, most - own)
    fits = np.asarray(np.maximum(fits, 0), np.int64)
    if demand.placement.devices and draft.granting is not None:
        return draft.granting.fitting(draft, demand, fits)
    return fits


def most_per_host(demand: Demand) -> int | None:
    """Return how many replicas of a demand one host may have at most; None for any number."""
    if demand.deployment in demand.placement.apart:
        return 1
    return demand.placement.per_host_max or None


def slope_of(draft: Draft, number: int, count: int, weights: Weights) -> Slope:
    """Return the scores of a demand's next replicas on every host, when `count` are to be placed;
    no room where not allowed."""
    demand, own = draft.book.demand(number), draft.own(number)
    fits = room(draft, demand, own, is_for_one=count == 1)
    limit = np.where(allowed(draft, number), fits, 0)
    return Slope(
        start=standing_scores(draft, demand.placement, weights),
        load=draft.load, step=steps(draft, demand.placement), own=own, limit=limit,
        tie=draft.fleet.ties(demand.deployment), price=weights.own_price,
    )  # fmt: skip


def _looks_at_itself(demand: Demand) -> bool:
    """Tell whether a replica changes where the next one had better go, but by room and number."""
    placement = demand.placement
    names = {*(wish.near for wish in placement.prefer), *(wish.apart for wish in placement.prefer)}
    return demand.deployment in names or len(placement.spread) > 1


def _batch(draft: Draft, number: int, count: int, weights: Weights) -> int:
    """Draft up to `count` replicas at once and return how many were placed."""
    spreads = draft.book.demand(number).placement.spread
    slope = slope_of(draft, number, count, weights)
    if not spreads:
        taken = fill(slope, count)
    elif len(spreads) == 1:
        taken = _spread(draft, number, slope, spreads[0], count)
    else:
        taken = _one_of_many_spreads(draft, number, slope)
    rows = np.flatnonzero(taken).astype(np.int32)
    draft.put(number, rows, taken[rows])
    return int(taken.sum())


def _spread(draft: Draft, number: int, slope: Slope, spread: Spread, count: int) -> Ints:
    """Return what each host takes: first how many go to each domain, then where in it."""
    codes = draft.fleet.label_domains(spread.key)
    have, counts, floor = domain_state(draft, number, spread)
    size = len(have)
    limit = np.bincount(codes + 1, slope.limit, size + 1)[1:].astype(np.int64)  # far below 2^53
    ties = _domain_ties(codes, slope)
    skew = spread.max_skew if spread.is_hard else None
    shares = quotas(have, np.minimum(limit, count), counts, ties, count, skew, floor)
    taken = fill_domains(slope, codes, shares)
    rest = count - int(taken.sum())
    if rest and not spread.is_hard:
        outside = replace(slope, limit=np.where(codes < 0, slope.limit, 0))
        taken += fill(outside, rest)
    return taken


def domain_state(draft: Draft, number: int, spread: Spread) -> tuple[Ints, Bools, int]:
    """Return the replicas of each domain, which domains count, and the floor of the emptiest.

    The domains that count are those of hosts that could take the demand as far as their own facts
    go. The floor is -1 but where there are fewer domains than the spread wants.
    """
    fleet, demand = draft.fleet, draft.book.demand(number)
    counts = fleet.eligible_domains(demand, spread.key)
    have = np.zeros(len(counts) + 1, np.int64)  # those outside of all domains are the last one
    rows, many = draft.pairs(number)
    np.add.at(have, fleet.label_domains(spread.key)[rows], many)
    have = have[:-1]
    floor = 0 if int(counts.sum()) < max(spread.domains_min, 1) else -1
    return have, counts, floor


def _domain_ties(codes: Rows, slope: Slope) -> Ints:
    """Return the rank of each domain: the one whose best host scores best is last, and wins."""
    first, usable = slope.first(), np.flatnonzero((slope.limit > 0) & (codes >= 0))
    lowest = np.iinfo(np.int64).min
    best = np.full(int(codes.max(initial=-1)) + 1, lowest, np.int64)
    np.maximum.at(best, codes[usable], first[usable])
    at_best = usable[first[usable] == best[codes[usable]]]
    tie = np.zeros(len(best), np.uint64)
    np.maximum.at(tie, codes[at_best], slope.tie[at_best])
    ranks = np.empty(len(best), np.int64)
    ranks[np.lexsort((tie, best))] = np.arange(len(best))
    return ranks


def spread_allows(draft: Draft, number: int) -> Bools:
    """Return on which hosts one more replica keeps every hard spread within its skew."""
    found = np.ones(len(draft.fleet), np.bool_)
    for spread in draft.book.demand(number).placement.spread:
        if spread.is_hard:
            have, counts, floor = domain_state(draft, number, spread)
            least = floor if floor >= 0 else int(have[counts].min())
            codes = draft.fleet.label_domains(spread.key)
            found &= np.append(have + 1 - least <= spread.max_skew, False)[codes]
    return found


def _one_of_many_spreads(draft: Draft, number: int, slope: Slope) -> Ints:
    """Return where one replica goes when several spreads bind it."""
    at = np.flatnonzero((slope.limit > 0) & spread_allows(draft, number))
    taken = np.zeros(len(slope.limit), np.int64)
    if len(at):
        first = slope.first()
        keys: list[NDArray[Any]] = [slope.tie[at], first[at]]
        for spread in reversed(draft.book.demand(number).placement.spread):
            have, _, _ = domain_state(draft, number, spread)
            codes = draft.fleet.label_domains(spread.key)
            keys.append(-np.append(have, np.iinfo(np.int64).max)[codes][at])
        taken[at[np.lexsort(keys)[-1]]] = 1
    return taken
