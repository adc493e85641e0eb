"""Many deployments of one replica that ask for the same are placed as if they were one.

A lattice may have more small deployments than large ones. Which of them gets which place does not
matter, so that those of one class are filled at once, like replicas of one demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from scheduler.placement.columns import Rows, Signature, signature
from scheduler.placement.draft import Draft
from scheduler.placement.fill import Slope, fill
from scheduler.placement.place import allowed, room
from scheduler.placement.scores import Weights, standing_scores, steps

SINGLES_MIN = 3
"""Fewer deployments than these are placed one by one."""


def groups(draft: Draft, missing: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    """Return, for each demand that is placed with others like it, all of them in order of key.

    Those are demands for one replica, without one so far, to which it is all the same who their
    neighbours are.
    """
    classes: dict[Signature, list[int]] = {}
    for number, count in missing.items():
        if count == 1 and not draft.totals[number] and _is_simple(draft, number):
            classes.setdefault(signature(draft.book.demand(number)), []).append(number)
    found: dict[int, tuple[int, ...]] = {}
    for numbers in classes.values():
        if len(numbers) >= SINGLES_MIN:
            group = tuple(sorted(numbers, key=lambda number: draft.book.demand(number).key))
            found.update(dict.fromkeys(group, group))
    return found


def place_singles(draft: Draft, group: Iterable[int], weights: Weights) -> set[int]:
    """Draft one replica of each demand of a group and return those that fit nowhere.

    No host is shunned because others of the group are there: they are different deployments.
    """
    numbers = list(group)
    first = draft.book.demand(numbers[0])
    own = np.zeros(len(draft.fleet), np.int64)
    tie = draft.fleet.ties(first.deployment)
    slope = Slope(
        start=standing_scores(draft, first.placement, weights),
        load=draft.load, step=steps(draft, first.placement), own=own,
        limit=np.where(allowed(draft, numbers[0]), room(draft, first, own), 0),
        tie=tie, price=1,
    )  # fmt: skip
    taken = fill(slope, len(numbers))
    at = np.flatnonzero(taken)
    rows: Rows = at[np.argsort(tie[at], kind="stable")].astype(np.int32)
    homes: Rows = np.repeat(rows, taken[rows])
    draft.put_each(numbers[: len(homes)], homes)
    draft.account(first.placement, rows, taken[rows])
    return set(numbers[len(homes) :])


def _is_simple(draft: Draft, number: int) -> bool:
    demand = draft.book.demand(number)
    asked = demand.placement
    return not (
        demand.per_host
        or demand.avoid
        or demand.keep_max
        or asked.devices
        or asked.spread
        or asked.together
        or asked.apart
        or any(wish.near is not None or wish.apart is not None for wish in asked.prefer)
        or demand.deployment in draft.book.refusing
    )
