"""What one plan leaves behind for the next, and how changes are laid over it.

A state is a value: the columns in it are shared and never written again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lattice.model.ids import HostId
from scheduler.placement.book import Book
from scheduler.placement.columns import Bools, Fleet, Ints, Rows
from scheduler.placement.draft import Draft, Placed, request, request_units
from scheduler.placement.granting import Granting, wants_devices
from scheduler.placement.model import Candidate, Changes, Counts, Demand, Grants, Key, Unplaced
from scheduler.placement.view import Assignments


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Demands, hosts and what is placed, after a plan."""

    book: Book
    fleet: Fleet
    placed: Placed
    used: Ints
    load: Ints
    totals: Ints
    short: frozenset[int]  # demands of which replicas are unplaced
    unplaced: tuple[Unplaced, ...]
    grants: Grants  # of demands that ask for devices

    @classmethod
    def empty(cls) -> State:
        """Return the state before the first plan."""
        nothing = np.zeros((3, 0), np.int64)
        return cls(Book(), Fleet(()), Placed.nothing(), nothing, nothing, np.zeros(0, np.int64),
                   frozenset(), (), {})  # fmt: skip

    @property
    def assignments(self) -> Assignments:
        """Return what every host is assigned."""
        return Assignments(self.book, self.fleet, self.placed)

    def draft(self) -> Draft:
        """Return what is placed as a draft of its own, for those who ask what would be."""
        draft = _carried(self, self.book, self.fleet, None)
        draft.turn(slice(None))
        if wants_devices(self.book.demands, self.grants):
            draft.granting = Granting.of(draft, self.grants)
        return draft


@dataclass(slots=True)
class Beginning:
    """A draft that has what is given, and what of it must be looked at again."""

    draft: Draft
    dirty: set[int]  # demands that changed, or that have replicas on hosts that changed
    changed: Bools  # hosts that lost replicas of demands that are gone


def begin(state: State, changes: Changes) -> Beginning | None:
    """Return a draft of what is placed with the changes laid over it; None if they are none."""
    demands = _new_demands(state, changes.demands)
    hosts = _new_hosts(state, changes.hosts)
    given = _new_counts(state, changes.assigned, hosts)
    granted = _new_grants(state, changes.grants)
    if not (demands or hosts or given or granted):
        return None
    if state.book.is_wasteful:
        state = _compacted(state)
    book = state.book.updated(demands) if demands else state.book
    fleet, moved = _fleet(state.fleet, hosts)
    draft = _carried(state, book, fleet, moved)
    changed = np.zeros(len(fleet), np.bool_)
    dirty = {book.numbers[key] for key in (*demands, *granted) if key in book.numbers}
    _revise(draft, state.book, demands, changed)
    if hosts:
        rows = fleet.row_lists(hosts)
        _weigh(draft, rows)
        touched = np.isin(draft.base.where, rows)
        dirty.update(np.unique(draft.base.who[touched & (draft.many > 0)]).tolist())
        if gone := [state.fleet.rows[host] for host in hosts if hosts[host] is None]:
            lost = np.isin(state.placed.where, gone)
            dirty.update(np.unique(state.placed.who[lost]).tolist())
    for host in given:
        changed[fleet.rows[host]] = False
    dirty |= _assign(draft, {fleet.rows[host]: given[host] for host in given}, changed)
    draft.begin()
    draft.turn(slice(None))
    dirty |= state.short | book.daemons
    return Beginning(
        draft, {n for n in dirty if n < len(book.demands) and book.demands[n]}, changed
    )


def _new_demands(state: State, changes: Mapping[Key, Demand | None]) -> dict[Key, Demand | None]:
    """Return the changes that are some."""
    found: dict[Key, Demand | None] = {}
    for key, demand in changes.items():
        number = state.book.numbers.get(key)
        before = None if number is None else state.book.demands[number]
        if before is not demand and before != demand:
            found[key] = demand
    return found


def _new_hosts(
    state: State, changes: Mapping[HostId, Candidate | None]
) -> dict[HostId, Candidate | None]:
    found: dict[HostId, Candidate | None] = {}
    for host, candidate in changes.items():
        row = state.fleet.rows.get(host)
        before = None if row is None else state.fleet.candidates[row]
        if before is not candidate and before != candidate:
            found[host] = candidate
    return found


def _new_counts(
    state: State, assigned: Counts, hosts: Mapping[HostId, Candidate | None]
) -> dict[HostId, Mapping[Key, int]]:
    """Return what hosts are assigned, of those that are there, where it is not what is known."""
    view = state.assignments
    found: dict[HostId, Mapping[Key, int]] = {}
    for host, counts in assigned.items():
        is_there = hosts[host] is not None if host in hosts else host in state.fleet.rows
        if is_there and (host not in state.fleet.rows or view[host] != counts):
            found[host] = counts
    return found


def _new_grants(state: State, grants: Grants) -> set[Key]:
    """Return whose devices are not those that are known."""
    found: set[Key] = set()
    for host, by_key in grants.items():
        known = state.grants.get(host, {})
        found |= {key for key in {*by_key, *known} if by_key.get(key, ()) != known.get(key, ())}
    return found


def _compacted(state: State) -> State:
    """Return the state with its demands numbered anew, in the same order, without gaps."""
    left = [number for number, demand in enumerate(state.book.demands) if demand is not None]
    book = Book().renumbered(state.book.demand(number) for number in left)
    numbers = np.full(len(state.book.demands), -1, np.int32)
    numbers[left] = np.arange(len(left), dtype=np.int32)
    placed = Placed(numbers[state.placed.who], state.placed.where, state.placed.many)
    short = frozenset(int(numbers[number]) for number in state.short)
    return replace(state, book=book, placed=placed, totals=state.totals[left], short=short)


def _fleet(fleet: Fleet, hosts: Mapping[HostId, Candidate | None]) -> tuple[Fleet, Rows | None]:
    """Return the fleet with the changes, and the new row of each old one (-1: gone), or None when
    rows stay the same."""
    if not hosts:
        return fleet, None
    if all(candidate is not None and host in fleet.rows for host, candidate in hosts.items()):
        patch = {fleet.rows[host]: candidate for host, candidate in hosts.items() if candidate}
        return fleet.patched(patch), None
    left = {candidate.id: candidate for candidate in fleet.candidates}
    for host, candidate in hosts.items():
        if candidate is None:
            left.pop(host, None)
        else:
            left[host] = candidate
    new = Fleet([left[host] for host in sorted(left)])
    rows = (new.rows.get(candidate.id, -1) for candidate in fleet.candidates)
    return new, np.fromiter(rows, np.int32, len(fleet))


def _carried(state: State, book: Book, fleet: Fleet, moved: Rows | None) -> Draft:
    """Return a draft with what the state has placed, on the rows of the new fleet."""
    placed = state.placed
    totals = np.zeros(len(book.demands), np.int64)
    totals[: len(state.totals)] = state.totals
    if moved is not None and len(placed):
        where = moved[placed.where]
        is_left = where >= 0
        np.subtract.at(totals, placed.who[~is_left], placed.many[~is_left])
        who, where, many = placed.who[is_left], where[is_left], placed.many[is_left]
        order = np.argsort(who.astype(np.int64) * max(1, len(fleet)) + where, kind="stable")
        placed = Placed(who[order], where[order], many[order])
    draft = Draft(book, fleet, placed)
    draft.totals = totals
    if moved is None:
        draft.used, draft.load = state.used.copy(), state.load.copy()
    else:
        is_left = moved >= 0
        draft.used[:, moved[is_left]] = state.used[:, is_left]
        draft.load[:, moved[is_left]] = state.load[:, is_left]
    return draft


def _revise(
    draft: Draft, before: Book, demands: Mapping[Key, Demand | None], changed: Bools
) -> None:
    """Give back the room of demands that are gone; correct that of those that ask for other."""
    for key, demand in demands.items():
        number = before.numbers.get(key)
        if number is None:
            continue
        rows, many = draft.pairs(number)
        if not len(rows):
            continue
        was = before.demand(number)
        if demand is None:
            changed[rows] = True
            draft.account(was.placement, rows, -many.astype(np.int64))
            draft.many[draft.base.part(number)] = 0
            draft.totals[number] = 0
        elif request(was.placement) != request(demand.placement):
            draft.account(was.placement, rows, -many.astype(np.int64))
            draft.account(demand.placement, rows, many.astype(np.int64))


def _weigh(draft: Draft, rows: Iterable[int]) -> None:
    """Compute again which shares of their capacity hosts have in use."""
    for row in rows:
        there = np.flatnonzero((draft.base.where == row) & (draft.many > 0))
        inverse = [int(number) for number in draft.fleet.inverse[:, row]]
        sums = [0, 0, 0]
        for number, many in zip(
            draft.base.who[there].tolist(), draft.many[there].tolist(), strict=True
        ):
            asked = request_units(draft.book.demand(number).placement)
            for kind, units in enumerate(asked):
                sums[kind] += many * (units * inverse[kind] >> 20)
        draft.load[:, row] = sums


def _assign(draft: Draft, given: Mapping[int, Mapping[Key, int]], changed: Bools) -> set[int]:
    """Make hosts, by row, have what they are really assigned; return the demands of which one of
    them has other.

    Put demand by demand: a new leader learns of all hosts at once, and each put looks through
    what was put of that demand before.
    """
    book = draft.book
    moved: dict[int, dict[int, int]] = {}  # by demand and row
    for row, counts in given.items():
        there = np.flatnonzero((draft.base.where == row) & (draft.many > 0))
        have = dict(zip(draft.base.who[there].tolist(), draft.many[there].tolist(), strict=True))
        want: dict[int, int] = {}
        for key, count in counts.items():
            if key in book.numbers:
                want[book.numbers[key]] = count
            elif count:
                changed[row] = True
        for number in {*have, *want}:
            if change := want.get(number, 0) - have.get(number, 0):
                moved.setdefault(number, {})[row] = change
    for number in sorted(moved):
        rows = np.array(sorted(moved[number]), np.int32)
        change = np.array([moved[number][int(row)] for row in rows], np.int64)
        draft.put(number, rows, change)
    return set(moved)
