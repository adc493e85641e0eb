"""Which replicas make room for those of higher priority that fit nowhere else.

A demand that may drive out lower priorities never touches an equal or higher one, so nothing that
was driven out can drive back. Of all ways it takes the one that stays within what the updates of
the victims allow, then the one whose highest victim is lowest, then the one with fewest victims.
Nothing is placed here but what was missing, and the victims elsewhere where they fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from scheduler.placement.columns import Bools, Ints, Rows
from scheduler.placement.draft import Draft, request
from scheduler.placement.model import Demand, Eviction
from scheduler.placement.place import allowed, domain_state, place
from scheduler.placement.scores import Weights

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
    # Not for devices: what is driven out frees a host's room, not surely the right device.
    asked = demand.placement
    return asked.preempt == "lower" and not demand.is_kept_only and not asked.devices


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
    victims = _Victims(draft, demand, gone)
    made: list[Eviction] = []
    for is_sparing in (True, False):
        while left[number] > 0:
            hosts = _hosts(draft, number)
            cut = victims.cuts(hosts, demand, is_sparing=is_sparing)
            done = _round(draft, number, left[number], victims, cut, is_sparing=is_sparing)
            if done is None:
                break
            left[number] -= done[0]
            made += done[1]
    return made


def _round(
    draft: Draft, number: int, count: int, victims: _Victims, cut: Ints, *, is_sparing: bool
) -> tuple[int, list[Eviction]] | None:
    """Put one replica each on the best hosts and return how many, and whom they drove out."""
    open_rows = np.flatnonzero(cut < victims.levels)
    if not len(open_rows):
        return None
    demand = draft.book.demand(number)
    ties = draft.fleet.ties(demand.deployment)
    lowest = open_rows[cut[open_rows] == cut[open_rows].min()]
    order = lowest[np.argsort(ties[lowest], kind="stable")[::-1]]
    looked_at = order[: max(LOOKED_AT_MIN, count)].astype(np.int32)
    choices = victims.choices(looked_at, int(cut[looked_at[0]]), demand, is_sparing=is_sparing)
    # What a replica on one host changes for another one is looked at in the next round.
    most = 1 if any(spread.is_hard for spread in demand.placement.spread) else count
    taken: list[_Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.count, -int(ties[choice.row]))):
        if len(taken) == most:
            break
        if not is_sparing or victims.spares(choice):
            victims.drop(choice)
            taken.append(choice)
    return (len(taken), _carry_out(draft, number, victims, taken)) if taken else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """Whom to drive out of one host: positions of pairs, and how many replicas of each."""

    row: int
    leaving: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        return sum(many for _, many in self.leaving)


def _carry_out(
    draft: Draft, number: int, victims: _Victims, choices: Sequence[_Choice]
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
    for victim, pairs in sorted(leaving.items()):
        ordered = np.array(sorted(pairs), np.int64)
        draft.put(victim, ordered[:, 0].astype(np.int32), -ordered[:, 1])
    rows = np.array(sorted(choice.row for choice in choices), np.int32)
    draft.put(number, rows, np.ones(len(rows), np.int64))
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


class _Victims:
    """All replicas of lower priority, as pairs of demand and host, and what driving them out gives.

    Levels are their distinct priorities in ascending order. `spare` says for each demand how many
    replicas may still be missing.
    """

    def __init__(self, draft: Draft, demand: Demand, gone: dict[int, int]) -> None:
        self._draft = draft
        placed = draft.placed()
        numbers = placed.who[np.flatnonzero(np.diff(placed.who, prepend=-1))]
        demands = [draft.book.demand(int(number)) for number in numbers]
        priority = np.array([each.placement.priority for each in demands], np.int64)
        # What it must run beside is no victim, nor is another generation of its own.
        spared = {demand.deployment, *demand.placement.together}
        is_lower = priority < demand.placement.priority
        is_lower &= np.array([each.deployment not in spared for each in demands], np.bool_)
        at = np.searchsorted(numbers, placed.who)
        is_victim = is_lower[at] & ~draft.fleet.frozen[placed.where] if len(at) else at == -1
        self.who, self.where = placed.who[is_victim], placed.where[is_victim]
        self.many = placed.many[is_victim].astype(np.int64)
        self._at = at[is_victim]
        known, level = np.unique(priority[self._at], return_inverse=True)
        self.levels = len(known)
        self.level: Ints = level.astype(np.int64)
        self._sizes = np.array([request(each.placement) for each in demands], np.int64).reshape(
            -1, 3
        )
        self._spare = np.array(
            [
                max(0, each.unavailable_max - gone.get(int(number), 0))
                for number, each in zip(numbers, demands, strict=True)
            ],
            np.int64,
        )

    def cuts(self, hosts: Bools, demand: Demand, *, is_sparing: bool) -> Ints:
        """Return for each host the lowest level up to which all must go so that one replica fits.

        `levels` where nothing helps. With `is_sparing` only replicas count that may be missing.
        """
        draft = self._draft
        lack = draft.used + np.array(request(demand.placement), np.int64)[:, None]
        lack -= draft.fleet.capacity
        cut = np.full(len(draft.fleet), self.levels, np.int64)
        many = np.minimum(self.many, self._spare[self._at]) if is_sparing else self.many
        is_open = hosts & (lack > 0).any(0)
        useful = (many > 0) & is_open[self.where]
        for level in range(self.levels):
            at = np.flatnonzero(useful & (self.level == level))
            if not len(at):
                continue
            for kind in range(3):
                freed = many[at] * self._sizes[self._at[at], kind]
                np.subtract.at(lack[kind], self.where[at], freed)
            fits = is_open & (lack <= 0).all(0)
            cut[fits] = level
            is_open &= ~fits
        return cut

    def choices(self, rows: Rows, level: int, demand: Demand, *, is_sparing: bool) -> list[_Choice]:
        """Return whom to drive out of each host, of priorities up to the level: no one in vain."""
        is_asked = np.zeros(len(self._draft.fleet), np.bool_)
        is_asked[rows] = True
        at = np.flatnonzero(is_asked[self.where] & (self.level <= level) & (self.many > 0))
        by_row: dict[int, list[int]] = {int(row): [] for row in rows}
        for position in at:
            by_row[int(self.where[position])].append(int(position))
        return [
            self._choice(row, positions, demand, is_sparing=is_sparing)
            for row, positions in by_row.items()
        ]

    def _choice(
        self, row: int, positions: Sequence[int], demand: Demand, *, is_sparing: bool
    ) -> _Choice:
        """Let all go, then let stay whoever has room, the highest priority and the smallest first.

        Those whose update allows fewer to be missing than would go stay before their equals.
        """
        draft = self._draft
        leaving = {
            position: min(int(self.many[position]), int(self._spare[self._at[position]]))
            if is_sparing
            else int(self.many[position])
            for position in positions
        }
        free = draft.fleet.capacity[:, row] - draft.used[:, row] - request(demand.placement)
        for position, many in leaving.items():
            free = free + many * self._sizes[self._at[position]]

        def rank(position: int) -> tuple[int, bool, tuple[int, ...], int]:
            owner = self._at[position]
            spares = leaving[position] <= self._spare[owner]
            size = tuple(int(each) for each in self._sizes[owner])
            return (-int(self.level[position]), bool(spares), size, int(self.who[position]))

        for position in sorted(leaving, key=rank):
            size = self._sizes[self._at[position]]
            is_used = size > 0
            stays = int((free[is_used] // size[is_used]).min()) if is_used.any() else 0
            stays = min(leaving[position], max(0, stays))
            leaving[position] -= stays
            free = free - stays * size
        return _Choice(row=row, leaving=tuple((p, many) for p, many in leaving.items() if many))

    def spares(self, choice: _Choice) -> bool:
        """Tell whether everybody who goes may still be missing."""
        return all(many <= self._spare[self._at[position]] for position, many in choice.leaving)

    def drop(self, choice: _Choice) -> None:
        """Count off who goes."""
        for position, many in choice.leaving:
            self.many[position] -= many
            owner = self._at[position]
            self._spare[owner] = max(0, self._spare[owner] - many)
