"""Which replicas of lower priority stand where, and whom to drive out of a host so that one fits.

Counts only: whom a plan drives out in the end is the decision of `preempt`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from lattice.wire.messages import DeviceGrant
from scheduler.placement.columns import Bools, Ints
from scheduler.placement.devices import Taken, choose, taken_of
from scheduler.placement.draft import Draft, request
from scheduler.placement.model import Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whom to drive out of one host: positions of pairs, and how many replicas of each."""

    row: int
    leaving: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """Return how many replicas leave."""
        return sum(many for _, many in self.leaving)


@dataclass(slots=True)
class _Leaving:
    """How many replicas of a pair leave, and in which order it is tried to let them stay."""

    rank: tuple[int, bool, tuple[int, ...], int]
    position: int
    standing: int
    many: int
    size: tuple[int, int, int]


_rank = attrgetter("rank")


class Victims:
    """All replicas of lower priority than a demand has, as pairs of demand and host, and what
    driving them out gives.

    Levels are their distinct priorities in ascending order. `spare` says for each demand how many
    replicas may still be missing.
    """

    def __init__(self, draft: Draft, demand: Demand, gone: Mapping[int, int]) -> None:
        self._draft, self._demand = draft, demand
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
        self._owner = at[is_victim]
        known, level = np.unique(priority[self._owner], return_inverse=True)
        self.levels = len(known)
        self._level: Ints = level.astype(np.int64)
        self._of_level = [np.flatnonzero(self._level == each) for each in range(self.levels)]
        self._order = np.argsort(self.where, kind="stable")  # by host
        self._starts = np.searchsorted(self.where[self._order], np.arange(len(draft.fleet) + 1))
        self._sizes = [request(each.placement) for each in demands]
        self._freed = np.array(self._sizes, np.int64).reshape(-1, 3)
        spare = [
            max(0, each.unavailable_max - gone.get(int(number), 0))
            for number, each in zip(numbers, demands, strict=True)
        ]
        self._spare = np.array(spare, np.int64)

    def cuts(self, hosts: Bools, *, is_sparing: bool) -> Ints:
        """Return for each host the lowest level up to which all must go so that one replica fits,
        of those hosts where that is lowest; `levels` for all others.

        With `is_sparing` only replicas count that may be missing.
        """
        draft, asked = self._draft, self._demand.placement
        lack = draft.used + np.array(request(asked), np.int64)[:, None] - draft.fleet.capacity
        cut = np.full(len(draft.fleet), self.levels, np.int64)
        is_open = hosts if asked.devices else hosts & (lack > 0).any(0)
        for level, at in enumerate(self._of_level):
            many = self.many[at]
            if is_sparing:
                many = np.minimum(many, self._spare[self._owner[at]])
            useful = np.flatnonzero((many > 0) & is_open[self.where[at]])
            if not len(useful):
                continue
            where, owner = self.where[at[useful]], self._owner[at[useful]]
            for kind in range(3):
                np.subtract.at(lack[kind], where, many[useful] * self._freed[owner, kind])
            fits = np.unique(where)
            fits = fits[(lack[:, fits] <= 0).all(0)]
            if asked.devices:
                fits = np.array([row for row in fits.tolist()
                                 if self._frees_devices(row, level, is_sparing=is_sparing)],
                                np.intp)  # fmt: skip
            if len(fits):
                cut[fits] = level
                return cut
        return cut

    def choice(self, row: int, level: int, *, is_sparing: bool) -> Choice:
        """Return whom to drive out of a host, of priorities up to the level: no one in vain.

        Let all go, then let stay whoever has room, the highest priority and the smallest first.
        Those whose update allows fewer to be missing than would go stay before their equals. Of
        one demand the last ones leave, so that the others keep the devices that they hold.
        """
        draft, asked = self._draft, self._demand.placement
        free = draft.fleet.capacity[:, row] - draft.used[:, row] - request(asked)
        cpu, memory, slots = free.tolist()
        leaving = self._leaving(row, level, is_sparing=is_sparing)
        for each in leaving:
            cpu += each.many * each.size[0]
            memory += each.many * each.size[1]
            slots += each.many * each.size[2]
        devices = _Devices(self, row, leaving) if asked.devices else None
        # Written out for each capacity: this is done for every replica of a hundred hosts.
        for each in sorted(leaving, key=_rank):
            cpu_each, memory_each, slots_each = each.size
            stays = min(each.many, slots // slots_each)
            if cpu_each:
                stays = min(stays, cpu // cpu_each)
            if memory_each:
                stays = min(stays, memory // memory_each)
            if stays <= 0:
                continue
            if devices is not None:
                stays = devices.let_stay(each, stays)
            each.many -= stays
            cpu -= stays * cpu_each
            memory -= stays * memory_each
            slots -= stays * slots_each
        gone = tuple((each.position, each.many) for each in leaving if each.many)
        return Choice(row=row, leaving=gone)

    def spares(self, choice: Choice) -> bool:
        """Tell whether everybody who goes may still be missing."""
        return all(many <= self._spare[self._owner[position]] for position, many in choice.leaving)

    def drop(self, choice: Choice) -> None:
        """Count off who goes."""
        for position, many in choice.leaving:
            self.many[position] -= many
            owner = self._owner[position]
            self._spare[owner] = max(0, self._spare[owner] - many)

    # --- one host -------------------------------------------------------------------------

    def _leaving(self, row: int, level: int, *, is_sparing: bool) -> list[_Leaving]:
        """Return all who might go, with as many as might."""
        at = self._order[self._starts[row] : self._starts[row + 1]]
        at = at[(self._level[at] <= level) & (self.many[at] > 0)]
        owners, found = self._owner[at], list[_Leaving]()
        for position, its_level, owner, who, standing, spare in zip(
            at.tolist(), self._level[at].tolist(), owners.tolist(), self.who[at].tolist(),
            self.many[at].tolist(), self._spare[owners].tolist(), strict=True,
        ):  # fmt: skip
            many = min(standing, spare) if is_sparing else standing
            size = self._sizes[owner]
            rank = (-its_level, many <= spare, size, who)
            found.append(_Leaving(rank, position, standing, many, size))
        return found

    def _frees_devices(self, row: int, level: int, *, is_sparing: bool) -> bool:
        return _Devices(self, row, self._leaving(row, level, is_sparing=is_sparing)).is_enough()

    def held(self, row: int, position: int) -> tuple[tuple[DeviceGrant, ...], ...]:
        """Return what each replica of a pair holds, in the order of their ordinals."""
        granting = self._draft.granting
        assert granting is not None, "a plan with demands for devices has their grants"
        return granting.held.get(row, {}).get(int(self.who[position]), ())

    def chosen(self, row: int, taken: Mapping[str, Taken]) -> bool:
        """Tell whether the demand gets its devices on a host of which that much is taken."""
        devices = self._draft.fleet.candidates[row].devices
        return choose(self._demand.placement.devices, devices, taken) is not None

    def taken(self, row: int) -> dict[str, Taken]:
        """Return what is taken of the devices of a host."""
        granting = self._draft.granting
        assert granting is not None, "a plan with demands for devices has their grants"
        return granting.taken(row)


class _Devices:
    """The devices of one host, as far as those who might leave are gone."""

    def __init__(self, victims: Victims, row: int, leaving: Iterable[_Leaving]) -> None:
        self._victims, self._row = victims, row
        self._taken = victims.taken(row)
        for each in leaving:
            held = victims.held(row, each.position)
            self._count(held[each.standing - each.many : each.standing], -1)

    def is_enough(self) -> bool:
        """Tell whether the demand gets its devices now."""
        return self._victims.chosen(self._row, self._taken)

    def let_stay(self, each: _Leaving, most: int) -> int:
        """Let the first of those who might leave stay, at most so many, while the devices suffice;
        return how many do."""
        held = self._victims.held(self._row, each.position)
        first = each.standing - each.many
        for stays, grants in enumerate(held[first : first + most]):
            self._count((grants,), 1)
            if not self.is_enough():
                self._count((grants,), -1)
                return stays
        return most

    def _count(self, held: Iterable[tuple[DeviceGrant, ...]], sign: int) -> None:
        for device, more in taken_of(grant for grants in held for grant in grants).items():
            before = self._taken.get(device, Taken())
            self._taken[device] = Taken(
                before.milli + sign * more.milli, before.memory_bytes + sign * more.memory_bytes
            )
