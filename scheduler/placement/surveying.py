"""Why a demand fits nowhere, of all hosts at once: the counts of `explain.first_reasons`, from the
columns of a plan.

Every refusal is worded by the scalar filters, asked of one host of each kind; that the counts are
the same is tested. Plans that leave something unplaced are made as often as others, so this must
not look at each host by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scheduler.placement.columns import CPU, MEMORY, SLOTS, Bools, Ints, Rows
from scheduler.placement.draft import Draft
from scheduler.placement.explain import Counted, Reason, grouped
from scheduler.placement.filters import (
    capacity_refusals,
    is_passing,
    neighbour_refusals,
    standing_refusals,
)
from scheduler.placement.model import Demand
from scheduler.placement.rooms import Domains, Room, Surroundings


def surveyed(draft: Draft, number: int) -> tuple[Reason, ...]:
    """Return which constraint was the first to refuse how many hosts, the most frequent first."""
    return grouped(_Survey(draft, number).entries())


class _Survey:
    """The hosts, less and less of them, while one rule after the other is asked."""

    def __init__(self, draft: Draft, number: int) -> None:
        self._draft, self._number = draft, number
        self._demand: Demand = draft.book.demand(number)
        self._own = draft.own(number)
        self._around = Surroundings()

    def entries(self) -> Iterator[Counted]:
        """Yield refusals with how many hosts they are the first of."""
        kinds = self._kinds()
        count = int(kinds.max(initial=-1)) + 1
        first = np.full(count, -1, np.int64)
        first[kinds[::-1]] = np.arange(len(kinds))[::-1]
        numbers = np.bincount(kinds, minlength=count)
        is_open, is_eligible = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        for kind, row in enumerate(first.tolist()):
            candidate = self._draft.fleet.candidates[row]
            refused = tuple(standing_refusals(self._demand, candidate))
            is_open[kind] = not refused
            is_eligible[kind] = all(map(is_passing, refused))
            if refused:
                yield Counted(refused[0], candidate.id, int(numbers[kind]))
        left = is_open[kinds]
        eligible = is_eligible[kinds]
        if self._demand.placement.devices:
            eligible &= self._draft.fleet.equipped(self._demand)
        self._around = self._surroundings(eligible)
        for mask, alike in self._neighbours():
            yield from self._taken(left & mask, alike)
            left &= ~mask
        yield from self._capacities(left)

    def _kinds(self) -> Rows:
        """Return a number for each host, the same for hosts that no standing rule tells apart."""
        demand, fleet = self._demand, self._draft.fleet
        keys = {selector.key for selector in demand.placement.require_labels} & fleet.labels.keys()
        texts: dict[str, int] = {}
        special = np.zeros(len(fleet), np.int32)
        for host in {*demand.avoid, *demand.keep_max}:
            if (row := fleet.rows.get(host)) is not None:
                mark = f"{host in demand.keep_max}{demand.avoid.get(host)!r}"
                special[row] = texts.setdefault(mark, len(texts) + 1)
        kinds: Ints = fleet.profiles.codes.astype(np.int64)
        for codes in (*(fleet.labels[key].codes for key in sorted(keys)), special):
            # Made dense each time, so that the products stay small.
            both = kinds * (int(codes.max(initial=0)) + 1) + codes
            kinds = np.unique(both, return_inverse=True)[1].astype(np.int64)
        return kinds.astype(np.int32)

    def _surroundings(self, eligible: Bools) -> Surroundings:
        names = self._draft.book.refusing_names(self._demand.deployment)
        spread: dict[str, Domains] = {}
        for each in self._demand.placement.spread:
            column = self._draft.fleet.labels.get(each.key)
            if not each.is_hard or self._demand.per_host or column is None:
                continue
            have = np.bincount(column.codes, weights=self._own, minlength=len(column.values))
            counts = {
                str(value): int(many)
                for value, many in zip(column.values, have.tolist(), strict=True)
                if value is not None
            }
            open_values = {column.values[code] for code in np.unique(column.codes[eligible])}
            values = [counts[str(value)] for value in open_values if value is not None]
            is_short = not values or len(values) < each.domains_min
            spread[each.key] = Domains(counts=counts, fewest=0 if is_short else min(values))
        return Surroundings(spread=spread, refusing=frozenset(names))

    def _neighbours(self) -> Iterator[tuple[Bools, Rows]]:
        """Yield which hosts each rule about neighbours refuses, and which of them say the same."""
        draft, asked = self._draft, self._demand.placement
        same = np.zeros(len(draft.fleet), np.int32)
        for name in asked.together:
            yield ~draft.presence(name), same
        for name in (*asked.apart, *draft.book.refusing_names(self._demand.deployment)):
            yield draft.presence(name), same
        for each in asked.spread if not self._demand.per_host else ():
            if each.is_hard:
                yield self._unbalanced(each.key, each.max_skew)
        if asked.per_host_max:
            yield self._own >= asked.per_host_max, self._own.astype(np.int32)

    def _unbalanced(self, key: str, max_skew: int) -> tuple[Bools, Rows]:
        column = self._draft.fleet.labels.get(key)
        if column is None:
            size = len(self._draft.fleet)
            return np.ones(size, np.bool_), np.zeros(size, np.int32)
        domains = self._around.spread[key]
        is_full = [
            value is None or domains.counts[value] + 1 - domains.fewest > max_skew
            for value in column.values
        ]
        return np.array(is_full, np.bool_)[column.codes], column.codes

    def _taken(self, refused: Bools, alike: Rows) -> Iterator[Counted]:
        """Yield what the filters say of one host of each kind that a rule refuses."""
        rows = np.flatnonzero(refused)
        _, first, numbers = np.unique(alike[rows], return_index=True, return_counts=True)
        for at, count in zip(rows[first].tolist(), numbers.tolist(), strict=True):
            room = self._room(at)
            refusal = next(neighbour_refusals(self._demand, room, self._around))
            yield Counted(refusal, room.candidate.id, count)

    def _room(self, row: int) -> Room:
        """Return the room of one host, with all that runs there and matters to the demand."""
        draft, asked = self._draft, self._demand.placement
        room = self._bare(row)
        names = {self._demand.deployment, *asked.together, *asked.apart, *self._around.refusing}
        for number in sorted(n for name in names for n in draft.book.by_name.get(name, ())):
            rows, many = draft.pairs(number)
            if (at := np.flatnonzero(rows == row)).size:
                room.counts[draft.book.demand(number).key] = int(many[at[0]])
        return room

    def _bare(self, row: int) -> Room:
        """Return the room of one host without what runs there."""
        cpu, memory, slots = self._draft.used[:, row].tolist()
        candidate, granting = self._draft.fleet.candidates[row], self._draft.granting
        room = Room(candidate, cpu_milli=cpu, memory_bytes=memory, slots=slots)
        if granting is not None and candidate.devices:
            room.taken = granting.taken(row)
        return room

    def _capacities(self, left: Bools) -> Iterator[Counted]:
        """Yield the lacks of each capacity, in the words of the host that has most left of it."""
        asked, candidates = self._demand.placement, self._draft.fleet.candidates
        free: Ints = self._draft.fleet.capacity - self._draft.used
        for kind, needs in (
            (SLOTS, max(asked.slots, 1)),
            (CPU, asked.cpu_milli),
            (MEMORY, asked.memory_bytes),
        ):
            rows = np.flatnonzero(left & (free[kind] < needs)) if needs else np.zeros(0, np.intp)
            if len(rows):
                best = int(rows[np.argmax(free[kind, rows])])
                refusal = next(capacity_refusals(self._demand, self._bare(best)))
                yield Counted(refusal, candidates[best].id, len(rows))
                left[rows] = False
        if asked.devices:
            rows = np.flatnonzero(left)
            bare = [row for row in rows.tolist() if not candidates[row].devices]
            others = [row for row in rows.tolist() if candidates[row].devices]
            for count, row in [(len(bare), row) for row in bare[:1]] + [(1, r) for r in others]:
                for refusal in capacity_refusals(self._demand, self._bare(row)):
                    yield Counted(refusal, candidates[row].id, count)
