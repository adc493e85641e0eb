"""What is placed, seen as mappings by host: made when somebody looks, host by host.

A million replicas are some MiB of columns and some hundred MiB of mappings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lattice.model.ids import HostId
from scheduler.placement.book import Book
from scheduler.placement.columns import Fleet
from scheduler.placement.draft import Placed
from scheduler.placement.model import Key


class Assignments(Mapping[HostId, Mapping[Key, int]]):
    """Replicas by host and key; every host of the fleet is in it, lost ones with nothing."""

    __slots__ = ("_book", "_fleet", "_order", "_placed", "_starts")

    def __init__(self, book: Book, fleet: Fleet, placed: Placed) -> None:
        self._book, self._fleet, self._placed = book, fleet, placed
        self._order = np.zeros(0, np.intp)
        self._starts: list[int] = []

    def __getitem__(self, host: HostId) -> Mapping[Key, int]:
        row = self._fleet.rows[host]
        if not self._starts:
            self._index()
        at = self._order[self._starts[row] : self._starts[row + 1]]
        who, many = self._placed.who[at].tolist(), self._placed.many[at].tolist()
        demand = self._book.demand
        return {demand(number).key: count for number, count in zip(who, many, strict=True)}

    def __iter__(self) -> Iterator[HostId]:
        return iter(self._fleet.rows)

    def __len__(self) -> int:
        return len(self._fleet.rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.keys() == other.keys() and all(counts == other[h] for h, counts in self.items())

    __hash__ = None  # type: ignore[assignment]  # as any mapping that compares by content

    def __repr__(self) -> str:
        return repr(dict(self))

    def _index(self) -> None:
        hosts = len(self._fleet)
        where = self._placed.where
        # Of 16 bits, the sort is a quick one that counts.
        self._order = np.argsort(where.astype(np.uint16) if hosts < 1 << 16 else where,
                                 kind="stable")  # fmt: skip
        self._starts = np.searchsorted(where[self._order], np.arange(hosts + 1)).tolist()
