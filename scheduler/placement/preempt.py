"""Which replicas make room for those of higher priority that fit nowhere else.

A demand that may drive out lower priorities never touches an equal or higher one, so nothing that
was driven out can drive back. Of all ways it takes the one that stays within what the updates of
the victims allow, then the one whose highest victim is lowest, then the one with fewest victims.
Nothing is placed here but what was missing, and the victims elsewhere where they fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

import numpy as np

from scheduler.placement.columns import Bools, Ints
from scheduler.placement.draft import Draft
from scheduler.placement.model import Demand, Eviction
from scheduler.placement.place import allowed, domain_state, place
from scheduler.placement.scores import Weights
from scheduler.placement.victims import Choice, Victims

PASSES_MAX = 8
"""Passes over what is missing; each further one only fills room that larger victims left."""

LOOKED_AT_MIN = 64
"""Hosts of the lowest cut whose victims are counted one by one before the best are taken."""

Missing = dict[int, int]
"""How many replicas have no host, by the number of the demand."""


def drive_out(
    draft: Draft, missing: Mapping[int, int], weights: Weights
) -> tuple[Missing, tuple[Eviction, ...]]:
    """Place what is missing, driving out lower priorities where demands allow it.

    Return what is missing afterwards, victims included, and who was driven out by whom.
    Nothing changes when no demand may drive out. The outcome is a fixed point: done again, it
    changes nothing.
    """
    left = {number: count for number, count in missing.items() if count > 0}
    if not any(_may_drive_out(draft.book.demand(number)) for number in left):
        return left, ()
    evictions: list[Eviction] = []
    gone = left.copy()
    for _ in range(PASSES_MAX):
        before = draft.totals.copy()
        _pass(draft, left, gone, weights, evictions)
        if (before == draft.totals).all():
            break
    return {number: count for number, count in left.items() if count > 0}, tuple(evictions)


def _may_drive_out(demand: Demand) -> bool:
    return demand.placement.preempt == "lower" and not demand.is_kept_only


def _pass(
    draft: Draft,
    left: dict[int, int],
    gone: dict[int, int],
    weights: Weights,
    evictions: list[Eviction],
) -> None:
    """Go once through what is missing by priority; victims have lower ones and so come later.

    `gone` counts what was missing at first and all victims, also those that found another host.
    """

    def rank(number: int) -> tuple[int, str, int, int]:
        demand = draft.book.demand(number)
        return (-demand.placement.priority, demand.deployment, -demand.generation, number)

    waiting = [rank(number) for number, count in left.items() if count > 0]
    heapify(waiting)
    while waiting:
        number = heappop(waiting)[3]
        demand = draft.book.demand(number)
        if not demand.per_host:
            left[number] = place(draft, number, left[number], weights)
        if not left[number] or not _may_drive_out(demand):
            continue
        for eviction in _preempt(draft, number, left, gone):
            evictions.append(eviction)
            victim = draft.book.numbers[eviction.victim]
            gone[victim] = gone.get(victim, 0) + eviction.count
            if draft.book.demand(victim).is_kept_only:
                continue
            if not left.get(victim):
                heappush(waiting, rank(victim))
            left[victim] = left.get(victim, 0) + eviction.count


def _preempt(
    draft: Draft, number: int, left: dict[int, int], gone: dict[int, int]
) -> list[Eviction]:
    """Place replicas of one demand by driving out others, as many as can be, and count them off."""
    demand = draft.book.demand(number)
    victims = Victims(draft, demand, gone)
    made: list[Eviction] = []
    for is_sparing in (True, False):
        while left[number] > 0:
            cut = victims.cuts(_hosts(draft, number), is_sparing=is_sparing)
            done = _round(draft, number, left[number], victims, cut, is_sparing=is_sparing)
            if done is None:
                break
            left[number] -= done[0]
            made += done[1]
    return made


def _round(
    draft: Draft, number: int, count: int, victims: Victims, cut: Ints, *, is_sparing: bool
) -> tuple[int, list[Eviction]] | None:
    """Put one replica each on the best hosts and return how many, and whom they drove out."""
    open_rows = np.flatnonzero(cut < victims.levels)
    if not len(open_rows):
        return None
    demand = draft.book.demand(number)
    ties = draft.fleet.ties(demand.deployment)
    lowest = open_rows[cut[open_rows] == cut[open_rows].min()]
    order = lowest[np.argsort(ties[lowest], kind="stable")[::-1]]
    looked_at = order[: max(LOOKED_AT_MIN, count)]
    level = int(cut[looked_at[0]])
    choices = [victims.choice(row, level, is_sparing=is_sparing) for row in looked_at.tolist()]
    # What a replica on one host changes for another one is looked at in the next round.
    most = 1 if any(spread.is_hard for spread in demand.placement.spread) else count
    taken: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.count, -int(ties[choice.row]))):
        if len(taken) == most:
            break
        if not is_sparing or victims.spares(choice):
            victims.drop(choice)
            taken.append(choice)
    return (len(taken), _carry_out(draft, number, victims, taken)) if taken else None


def _carry_out(
    draft: Draft, number: int, victims: Victims, choices: Sequence[Choice]
) -> list[Eviction]:
    """Take the victims out of the draft and put one replica on each host."""
    by = draft.book.demand(number).key
    made: list[Eviction] = []
    leaving: dict[int, list[tuple[int, int]]] = {}
    for choice in choices:
        host = draft.fleet.candidates[choice.row].id
        for position, many in choice.leaving:
            victim = int(victims.who[position])
            leaving.setdefault(victim, []).append((choice.row, many))
            key = draft.book.demand(victim).key
            made.append(Eviction(host=host, victim=key, count=many, by=by))
            if draft.granting is not None:
                draft.granting.release(victim, choice.row, many)
    for victim, pairs in sorted(leaving.items()):
        ordered = np.array(sorted(pairs), np.int64)
        draft.put(victim, ordered[:, 0].astype(np.int32), -ordered[:, 1])
    rows = np.array(sorted(choice.row for choice in choices), np.int32)
    draft.put(number, rows, np.ones(len(rows), np.int64))
    if draft.granting is not None and draft.book.demand(number).placement.devices:
        for row in rows.tolist():
            is_granted = draft.granting.regrant(draft, number, row)
            assert is_granted, "a choice frees the devices that are asked for"
    return made


def _hosts(draft: Draft, number: int) -> Bools:
    """Return which hosts could take one more replica of a demand, but for their capacity."""
    demand, fleet = draft.book.demand(number), draft.fleet
    found = allowed(draft, number)
    own = draft.own(number)
    if demand.per_host:
        return found & (own < demand.per_host)
    if demand.placement.per_host_max:
        found = found & (own < demand.placement.per_host_max)
    for spread in demand.placement.spread:
        if spread.is_hard:
            have, counts, floor = domain_state(draft, number, spread)
            least = floor if floor >= 0 else int(have[counts].min())
            codes = fleet.label_domains(spread.key)
            fits = np.append(have + 1 - least <= spread.max_skew, False)
            found = found & fits[codes]
    return found
