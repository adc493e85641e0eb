"""Plans in the making for tests: hosts, demands and what is placed, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from lattice.model.ids import HostId
from scheduler.placement.book import Book
from scheduler.placement.columns import Fleet
from scheduler.placement.draft import Draft, Placed
from scheduler.placement.model import Candidate, Counts, Demand, Key


def draft_of(demands: Iterable[Demand], hosts: Iterable[Candidate], counts: Counts) -> Draft:
    book = Book().updated({demand.key: demand for demand in demands})
    fleet = Fleet(sorted(hosts, key=lambda host: host.id))
    draft = Draft(book, fleet, Placed.nothing())
    draft.turn(slice(None))
    for key, number in sorted(book.numbers.items()):
        there = [(fleet.rows[host], each[key]) for host, each in counts.items() if each.get(key)]
        rows = np.array([row for row, _ in sorted(there)], np.int32)
        draft.put(number, rows, np.array([many for _, many in sorted(there)], np.int64))
    draft.begin()
    return draft


def counts_of(draft: Draft) -> dict[HostId, dict[Key, int]]:
    found: dict[HostId, dict[Key, int]] = {host.id: {} for host in draft.fleet.candidates}
    for key, number in sorted(draft.book.numbers.items()):
        for row, many in zip(*draft.pairs(number), strict=True):
            found[draft.fleet.candidates[row].id][key] = int(many)
    return found


def total(counts: Mapping[HostId, Mapping[Key, int]], key: Key) -> int:
    return sum(each.get(key, 0) for each in counts.values())
