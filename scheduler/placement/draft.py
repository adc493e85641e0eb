"""A plan in the making: what is placed, as columns, and what of each host is taken by it.

It counts; what may be placed where, and what had better, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lattice.model.ids import DeploymentName
from lattice.model.scheduling import Placement
from scheduler.placement.book import Book
from scheduler.placement.columns import MEMORY_UNIT_BITS, Bools, Fleet, Ints, Rows

if TYPE_CHECKING:
    from scheduler.placement.granting import Granting

FREE_MAX = 1 << 25
"""Bound of the free capacity of a host in mean capacities (2^20 is one): the root of a sum of two
squares is exact in floating point below 2^52."""

UNIT = 1 << 15
"""Length of the vectors whose products are the alignment of free capacity and request."""


class Placed:
    """What is placed: (number of the demand, row of the host, replicas), ordered by both.

    Read-only columns of equal length, shared between plans.
    """

    __slots__ = ("many", "where", "who")

    def __init__(self, who: Rows, where: Rows, many: Rows) -> None:
        self.who, self.where, self.many = who, where, many
        for column in (who, where, many):
            column.setflags(write=False)

    @classmethod
    def nothing(cls) -> Placed:
        """Return columns without rows."""
        return cls(*(np.zeros(0, np.int32) for _ in range(3)))

    def __len__(self) -> int:
        return len(self.who)

    def part(self, number: int) -> slice:
        """Return where the pairs of one demand are."""
        # Of the column's own type: numpy would else convert the whole column to compare.
        ends = np.searchsorted(self.who, np.array((number, number + 1), self.who.dtype))
        return slice(int(ends[0]), int(ends[1]))


def request(placement: Placement) -> tuple[int, int, int]:
    """Return what one replica takes, exactly: thousandths of a core, bytes, slots."""
    return (placement.cpu_milli, placement.memory_bytes, max(placement.slots, 1))


def request_units(placement: Placement) -> tuple[int, int, int]:
    """Return what one replica takes in the units of scores; a part of a MiB counts as one."""
    memory = -(-placement.memory_bytes >> MEMORY_UNIT_BITS)
    return (placement.cpu_milli, memory, max(placement.slots, 1))


class Draft:
    """What is placed so far. `many` follows `base` and is the draft's own; `added` comes on top."""

    __slots__ = ("added", "base", "book", "direction", "fleet", "granting", "load", "many",
                 "means", "totals", "used")  # fmt: skip

    def __init__(self, book: Book, fleet: Fleet, base: Placed) -> None:
        self.book, self.fleet, self.base = book, fleet, base
        self.many = base.many.copy()
        self.added: dict[int, list[tuple[Rows, Rows]]] = {}
        self.used = np.zeros((3, len(fleet)), np.int64)  # exact, in all
        self.load = np.zeros((3, len(fleet)), np.int64)  # shares of capacities, 2^20 is one
        self.direction = np.zeros((2, len(fleet)), np.int64)
        self.totals = np.zeros(len(book.demands), np.int64)
        self.granting: Granting | None = None  # where some demand asks for devices
        there = fleet.capacity[:2, ~fleet.gone]
        count = max(1, there.shape[1])
        cpu, memory = (int(total) // count for total in there.sum(1))
        self.means = (max(1, cpu), max(1, memory >> MEMORY_UNIT_BITS))

    def mean_units(self) -> tuple[int, int]:
        """Return the mean capacity of the hosts that are not lost, cpu and memory."""
        return self.means

    def fork(self) -> Draft:
        """Return a copy that goes its own way."""
        copy = Draft.__new__(Draft)
        copy.book, copy.fleet, copy.base = self.book, self.fleet, self.base
        copy.many, copy.used, copy.load = self.many.copy(), self.used.copy(), self.load.copy()
        copy.direction, copy.totals = self.direction.copy(), self.totals.copy()
        copy.added = {number: parts.copy() for number, parts in self.added.items()}
        copy.means = self.means
        copy.granting = self.granting.fork() if self.granting is not None else None
        return copy

    # --- what is there --------------------------------------------------------------------

    def pairs(self, number: int) -> tuple[Rows, Rows]:
        """Return the hosts of a demand and how many replicas each has, hosts once each."""
        part = self.base.part(number)
        rows, many = self.base.where[part], self.many[part]
        if number in self.added:
            parts = self.added[number]
            rows = np.concatenate([rows, *(part[0] for part in parts)])
            many = np.concatenate([many, *(part[1] for part in parts)])
        is_there = many > 0
        return (rows, many) if is_there.all() else (rows[is_there], many[is_there])

    def own(self, number: int) -> Ints:
        """Return how many replicas of a demand each host has."""
        own = np.zeros(len(self.fleet), np.int64)
        rows, many = self.pairs(number)
        own[rows] = many
        return own

    def presence(self, name: DeploymentName) -> Bools:
        """Return which hosts have a replica of a deployment, of any generation."""
        found = np.zeros(len(self.fleet), np.bool_)
        for number in self.book.by_name.get(name, ()):
            found[self.pairs(number)[0]] = True
        return found

    # --- changes --------------------------------------------------------------------------

    def put(self, number: int, rows: Rows, change: Ints) -> None:
        """Add replicas of a demand on hosts, each once (take them away where negative)."""
        if not len(rows):
            return
        part = self.base.part(number)
        there = self.base.where[part]
        rows = rows.astype(there.dtype, copy=False)
        at = np.searchsorted(there, rows)
        is_known = at < len(there)
        is_known[is_known] = there[at[is_known]] == rows[is_known]
        self.many[part.start + at[is_known]] += change[is_known].astype(np.int32)
        if not is_known.all():
            self._add(number, rows[~is_known], change[~is_known])
        self.totals[number] += int(change.sum())
        self.account(self.book.demand(number).placement, rows, change)

    def put_each(self, numbers: Sequence[int], rows: Rows) -> None:
        """Add one replica of each demand, none of which has any, on the host beside it.

        The room is the caller's to account, at once for all that ask for the same.
        """
        one = np.ones(1, np.int32)
        for number, row in zip(numbers, rows, strict=True):
            part = self.base.part(number)
            at = part.start + int(np.searchsorted(self.base.where[part], row))
            if at < part.stop and self.base.where[at] == row:
                self.many[at] += 1  # it was there before, and was taken away
            else:
                self.added.setdefault(number, []).append((np.array([row], np.int32), one.copy()))
            self.totals[number] += 1

    def account(self, placement: Placement, rows: Rows, change: Ints) -> None:
        """Take the room of replicas on hosts (give it back where negative), each host once."""
        # One host, the most frequent case, is a slice: to look it up by number takes far longer.
        at = slice(int(rows[0]), int(rows[0]) + 1) if len(rows) == 1 else rows
        exact = np.array(request(placement), np.int64)[:, None]
        units = np.array(request_units(placement), np.int64)[:, None]
        self.used[:, at] += exact * change
        self.load[:, at] += ((units * self.fleet.inverse[:, at]) >> 20) * change
        self.turn(at)

    def turn(self, rows: Rows | slice) -> None:
        """Compute again in which direction the free capacity of hosts points."""
        free = self.fleet.capacity[:2, rows] - self.used[:2, rows]
        free[1] >>= MEMORY_UNIT_BITS
        free <<= 20
        free //= np.array(self.means, np.int64)[:, None]
        np.minimum(np.maximum(free, 0, out=free), FREE_MAX, out=free)
        length = np.sqrt((free[0] * free[0] + free[1] * free[1]).astype(np.float64))
        length = length.astype(np.int64)
        self.direction[:, rows] = (free * UNIT) // np.maximum(length, 1)

    def _add(self, number: int, rows: Rows, change: Ints) -> None:
        """Count on top of what was added already, hosts once each."""
        parts = self.added.setdefault(number, [])
        for known, many in parts:
            order = np.argsort(known, kind="stable")
            at = np.searchsorted(known[order], rows)
            is_known = at < len(known)
            is_known[is_known] = known[order[at[is_known]]] == rows[is_known]
            many[order[at[is_known]]] += change[is_known].astype(np.int32)
            rows, change = rows[~is_known], change[~is_known]
        if len(rows):
            parts.append((rows.astype(np.int32), change.astype(np.int32)))

    # --- the outcome ----------------------------------------------------------------------

    def placed(self) -> Placed:
        """Return what is placed, as columns for the next plan."""
        base, is_left = self.base, self.many > 0
        who, where, many = base.who, base.where, self.many
        if not is_left.all():
            who, where, many = who[is_left], where[is_left], many[is_left]
        numbers = sorted(self.added)
        if not numbers:
            return Placed(who, where, many.copy() if many is self.many else many)
        new = [self._added(number) for number in numbers]
        rows = np.concatenate([part[0] for part in new])
        counts = np.concatenate([part[1] for part in new])
        owners = np.repeat(np.array(numbers, np.int32), [len(part[0]) for part in new])
        if len(who):
            width = max(1, len(self.fleet))
            at = np.searchsorted(_order(who, where, width), _order(owners, rows, width))
            owners, rows = np.insert(who, at, owners), np.insert(where, at, rows)
            counts = np.insert(many, at, counts)
        return Placed(owners, rows, counts)

    def begin(self) -> None:
        """Take what is placed so far as what was given: `changed` counts from here."""
        self.base = self.placed()
        self.many, self.added = self.base.many.copy(), {}

    def changed(self) -> Bools:
        """Return the hosts on which something is different from what was given."""
        found = np.zeros(len(self.fleet), np.bool_)
        found[self.base.where[self.many != self.base.many]] = True
        for number in self.added:
            found[self._added(number)[0]] = True
        return found

    def _added(self, number: int) -> tuple[Rows, Rows]:
        parts = self.added[number]
        rows = np.concatenate([part[0] for part in parts])
        many = np.concatenate([part[1] for part in parts])
        order = np.argsort(rows, kind="stable")
        order = order[many[order] > 0]
        return rows[order], many[order]


def _order(who: Rows, where: Rows, width: int) -> Ints:
    return who.astype(np.int64) * width + where
