"""What stays of what is placed: all that is still allowed, less what is too much.

Nothing is placed anew here. Which replicas leave depends on the draft alone, not on the order in
which anything was given.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from scheduler.placement.columns import Ints, Rows
from scheduler.placement.draft import Draft, request
from scheduler.placement.filters import interface_refusal
from scheduler.placement.scores import NORMAL, first_scores


def keep(draft: Draft, numbers: Collection[int]) -> set[int]:
    """Take away what may not stay, of those demands and of hosts that have too little room.

    A demand that is not among `numbers` must be as the last plan left it. Returns the demands that
    may lack replicas now: those given, and those that shared a host with too little room.
    """
    ordered = sorted(numbers, key=lambda number: draft.book.demand(number).key)
    for number in ordered:
        _forbidden(draft, number)
    for number in ordered:
        _surplus(draft, number)
    found = set(numbers)
    used = draft.used > draft.fleet.capacity
    for row in np.flatnonzero(used.any(0) & ~draft.fleet.frozen):
        found |= _overfull(draft, int(row))
    return found


def held(draft: Draft, number: int) -> int:
    """Return how many replicas of a demand are on hosts whose assignments cannot change now."""
    rows, many = draft.pairs(number)
    return int(many[draft.fleet.frozen[rows]].sum())


def _forbidden(draft: Draft, number: int) -> None:
    """Take away replicas from hosts that are lost, or that may not have them any more."""
    rows, many = draft.pairs(number)
    if not len(rows):
        return
    fleet, demand = draft.fleet, draft.book.demand(number)
    allowed = many.astype(np.int64)
    if demand.interfaces:
        allowed[~fleet.offering(demand, interface_refusal)[rows]] = 0
    most = demand.per_host or demand.placement.per_host_max
    if most:
        np.minimum(allowed, most, out=allowed)
    for host, cap in (*((host, 0) for host in demand.avoid), *demand.keep_max.items()):
        if host in fleet.rows:
            at = rows == fleet.rows[host]
            allowed[at] = np.minimum(allowed[at], cap)
    is_frozen = fleet.frozen[rows]
    allowed[is_frozen] = many[is_frozen]
    allowed[fleet.gone[rows]] = 0
    _cut(draft, number, rows, many, allowed)


def _surplus(draft: Draft, number: int) -> None:
    """Take away what is more than wanted: the victims, one after the other."""
    demand = draft.book.demand(number)
    if demand.per_host or draft.totals[number] <= demand.count:
        return
    rows, many = draft.pairs(number)
    is_free = ~draft.fleet.frozen[rows]
    surplus = int(draft.totals[number]) - max(demand.count, int(many[~is_free].sum()))
    left = many.astype(np.int64)
    if surplus >= left[is_free].sum():
        left[is_free] = 0
    else:
        _victims(draft, number, rows, left, surplus)
    _cut(draft, number, rows, many, left)


def _victims(draft: Draft, number: int, rows: Rows, left: Ints, surplus: int) -> None:
    """Lower `left` by the surplus.

    Each victim is taken from a host that drains, if there is one, then from the fullest domain of
    each spread, then from the host with most replicas, then from the one with the worst score.
    """
    fleet, demand = draft.fleet, draft.book.demand(number)
    drains = np.array([fleet.candidates[row].is_draining for row in rows], np.bool_)
    scores = first_scores(draft, number, NORMAL)[rows]
    # The last criteria never change, so that they are one rank.
    rank = np.empty(len(rows), np.int64)
    rank[np.lexsort((fleet.ties(demand.deployment)[rows], scores))] = np.arange(len(rows))
    domains = [fleet.label_domains(spread.key)[rows] for spread in demand.placement.spread]
    counts = [_counts(codes, left) for codes in domains]
    fixed = fleet.frozen[rows]
    for _ in range(surplus):
        at = np.flatnonzero((left > 0) & ~fixed)
        if drains[at].any():
            at = at[drains[at]]
        for codes, many in zip(domains, counts, strict=True):
            sizes = many[codes[at]]
            at = at[sizes == sizes.max()]
        sizes = left[at]
        at = at[sizes == sizes.max()]
        victim = at[np.argmin(rank[at])]
        left[victim] -= 1
        for codes, many in zip(domains, counts, strict=True):
            many[codes[victim]] -= 1


def _counts(codes: Rows, many: Ints) -> Ints:
    """Return the replicas of each domain; those outside of all domains count as the last one."""
    sizes = np.zeros(int(codes.max(initial=0)) + 2, np.int64)
    np.add.at(sizes, codes, many)
    return sizes


def _overfull(draft: Draft, row: int) -> set[int]:
    """Take away what does not fit, lower priorities first, then by name; return what is there."""
    there = np.flatnonzero((draft.base.where == row) & (draft.many > 0))
    numbers = [int(number) for number in draft.base.who[there]]
    counts = dict(zip(numbers, (int(many) for many in draft.many[there]), strict=True))
    free = [int(capacity) for capacity in draft.fleet.capacity[:, row]]

    def order(number: int) -> tuple[int, object]:
        demand = draft.book.demand(number)
        return (-demand.placement.priority, demand.key)

    for number in sorted(numbers, key=order):
        demand = draft.book.demand(number)
        asked = request(demand.placement)
        fits = min(
            counts[number],
            *(max(0, has) // ask for has, ask in zip(free, asked, strict=True) if ask),
        )
        free = [has - fits * ask for has, ask in zip(free, asked, strict=True)]
        if fits < counts[number]:
            lost = np.array([fits - counts[number]], np.int64)
            draft.put(number, np.array([row], np.int32), lost)
    return set(numbers)


def _cut(draft: Draft, number: int, rows: Rows, many: Rows, allowed: Ints) -> None:
    less = allowed - many
    is_less = less < 0
    if is_less.any():
        draft.put(number, rows[is_less], less[is_less])
