"""Which replicas had better run on hosts that joined: moves, each with what it gains.

Pure, over a state that a plan left behind. A move names a replica that is to leave a host once
another one is ready elsewhere; where that one goes is the plan's decision, for which this looks
ahead. Nothing is moved between hosts that were there before, so that moves come to an end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from lattice.model.ids import DeploymentName, HostId
from scheduler.placement.book import Book
from scheduler.placement.columns import Bools, Ints, Rows
from scheduler.placement.draft import Draft
from scheduler.placement.model import Demand, Key
from scheduler.placement.place import place
from scheduler.placement.scores import (
    NORMAL,
    ONE,
    Terms,
    Weights,
    alignment,
    preferences,
    terms,
    wanted_share,
    weights_for,
)
from scheduler.placement.state import State

PRICE = ONE // 4
"""What a move must gain more than: 25 points, a quarter of a host. A start costs a fetch, a cold
cache and calls that are routed anew; a fleet that is even within a quarter gains less by moves."""

SPREAD_GAIN = ONE
"""What it is worth that the domains of a spread differ by one replica less."""

EXAMINED_MAX = 96
"""Demands that one look examines closely, two milliseconds each on ten thousand hosts."""

_NEVER = np.iinfo(np.int64).min // 2

MayMove = Callable[[Key], int]
"""Tells how many replicas of a demand may be moved at a time now; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a move makes better, in units of scores: 2^20 is a whole capacity of a host."""

    preferences: int = 0
    alignment: int = 0
    balance: int = 0  # the largest share in use on the host that it leaves, less that on the other
    own: int = 0  # replicas of the same generation beside it
    spread: int = 0

    @property
    def total(self) -> int:
        """Return the whole."""
        return self.preferences + self.alignment + self.balance + self.own + self.spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One replica is to leave `source`; `target` is where its successor goes as things stand."""

    key: Key
    source: HostId
    target: HostId
    gain: Gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Moves, the best first, and the demands that were examined in vain."""

    moves: tuple[Move, ...] = ()
    in_vain: frozenset[Key] = frozenset()


def improved(
    state: State, joined: Collection[HostId], may_move: MayMove, *, moves_max: int
) -> Found:
    """Return at most `moves_max` moves to hosts that joined which gain more than `PRICE` each.

    The same state gives the same moves, whatever order it was made in. Replicas that hold devices,
    that have to run beside others or others beside them, daemons and what leaves anyway stay.
    Each move keeps the skew of every spread as it is or makes it smaller. With nothing in vain and
    no move there is nothing to gain.
    """
    rows = [row for row in state.fleet.row_lists(sorted(joined)) if not state.fleet.gone[row]]
    if not rows or not len(state.placed):
        return Found()
    draft = state.draft()
    is_joined = np.zeros(len(draft.fleet), np.bool_)
    is_joined[rows] = True
    weights = weights_for(wanted_share(draft, []))
    moves: list[Move] = []
    in_vain: set[Key] = set()
    examined = 0
    for number in _promising(state, draft, is_joined):
        if examined >= EXAMINED_MAX or len(moves) >= moves_max:
            break
        key = draft.book.demand(number).key
        left = min(may_move(key), moves_max - len(moves))
        if left <= 0:
            continue
        examined += 1
        made = _moved(draft, number, is_joined, weights)
        if made is None:
            in_vain.add(key)
        while made is not None:
            moves.append(made)
            left -= 1
            made = _moved(draft, number, is_joined, weights) if left else None
    moves.sort(key=lambda move: (-move.gain.total, move.key, move.source))
    return Found(moves=tuple(moves), in_vain=frozenset(in_vain))


def _promising(state: State, draft: Draft, is_joined: Bools) -> list[int]:
    """Return the demands that might gain enough, most first, by a bound that is quick to find."""
    book, placed, fleet = state.book, state.placed, state.fleet
    share = draft.load.max(0)
    value = share[placed.where] + (placed.many.astype(np.int64) - 1) * ONE
    is_kind = _may_be_moved(book)
    extra = np.full(len(book.demands), NORMAL.alignment, np.int64)
    starts = np.searchsorted(placed.who, np.arange(len(book.demands) + 1, dtype=placed.who.dtype))
    wishes: dict[object, Ints] = {}
    for number in np.flatnonzero(is_kind).tolist():
        placement = book.demand(number).placement
        extra[number] += SPREAD_GAIN * len(placement.spread)
        if placement.prefer:
            known = wishes.get(placement.prefer)
            if known is None:
                known = wishes[placement.prefer] = preferences(draft, placement)
            part = slice(int(starts[number]), int(starts[number + 1]))
            value[part] -= known[placed.where[part]]
            extra[number] += int(known[is_joined].max())
    fixed = is_joined | fleet.frozen | fleet.gone
    at = np.flatnonzero(is_kind[placed.who] & ~fixed[placed.where])
    bound = np.full(len(book.demands), _NEVER, np.int64)
    np.maximum.at(bound, placed.who[at], value[at])
    bound += extra - int(share[is_joined].min())
    found: list[int] = np.flatnonzero(bound > PRICE).tolist()
    return sorted(found, key=lambda number: (-int(bound[number]), book.demand(number).key))


def _may_be_moved(book: Book) -> Bools:
    needed: set[DeploymentName] = set()
    for demand in book.demands:
        if demand is not None:
            needed.update(demand.placement.together)

    def may(demand: Demand | None) -> bool:
        if demand is None or demand.per_host or demand.is_kept_only or demand.keep_max:
            return False
        placement = demand.placement
        return not (placement.devices or placement.together or demand.deployment in needed)

    return np.array([may(demand) for demand in book.demands], np.bool_)


def _moved(draft: Draft, number: int, is_joined: Bools, weights: Weights) -> Move | None:
    """Draft the move of one replica and return it; None, and the draft as it was, when none gains
    enough."""
    source = _source(draft, number, is_joined)
    if source is None:
        return None
    # The successor is placed before the replica leaves: so it is looked for beside it.
    before = draft.own(number)
    if place(draft, number, 1, weights):
        return None
    target = int(np.flatnonzero(draft.own(number) != before)[0])
    _put(draft, number, target, -1)
    spread = _evener(draft, number, source, target)
    if not is_joined[target] or spread is None:
        return None
    _put(draft, number, source, -1)
    demand, hosts = draft.book.demand(number), draft.fleet.candidates
    gain = _gain(
        terms(draft, number, hosts[source].id), terms(draft, number, hosts[target].id), spread
    )
    if gain.total <= PRICE:
        _put(draft, number, source, 1)
        return None
    _put(draft, number, target, 1)
    return Move(key=demand.key, source=hosts[source].id, target=hosts[target].id, gain=gain)


def _source(draft: Draft, number: int, is_joined: Bools) -> int | None:
    """Return the host that a replica had best leave: of the fullest domains the one with the worst
    score."""
    fleet, demand = draft.fleet, draft.book.demand(number)
    rows, many = draft.pairs(number)
    is_free = ~(is_joined | fleet.frozen | fleet.gone)[rows]
    rows, many = rows[is_free], many[is_free]
    if not len(rows):
        return None
    scores = preferences(draft, demand.placement) + alignment(draft, demand.placement, NORMAL)
    scores -= draft.load.max(0)
    worst = scores[rows] - (many.astype(np.int64) - 1) * NORMAL.own_price
    keys: list[Ints] = [worst]
    own = draft.own(number)
    for spread in reversed(demand.placement.spread):
        codes = fleet.label_domains(spread.key)
        sizes = _sizes(codes, own)
        keys.append(-sizes[codes[rows]])
    return int(rows[np.lexsort((fleet.ties(demand.deployment)[rows], *keys))[0]])


def _evener(draft: Draft, number: int, source: int, target: int) -> int | None:
    """Return what a move is worth to the spreads; None if one of them would be less even."""
    own, found = draft.own(number), 0
    for spread in draft.book.demand(number).placement.spread:
        codes = draft.fleet.label_domains(spread.key)
        if codes[source] == codes[target]:
            continue
        if codes[source] < 0 or codes[target] < 0:
            return None
        sizes = _sizes(codes, own)
        fewer = int(sizes[codes[source]] - sizes[codes[target]]) - 1
        if fewer < 0:
            return None
        found += SPREAD_GAIN if fewer else 0
    return found


def _sizes(codes: Rows, own: Ints) -> Ints:
    """Return the replicas of each domain; those outside of all domains count as the last one."""
    sizes = np.zeros(int(codes.max(initial=-1)) + 2, np.int64)
    np.add.at(sizes, codes, own)
    return sizes


def _gain(here: Terms, there: Terms, spread: int) -> Gain:
    return Gain(
        preferences=there.preferences - here.preferences,
        alignment=there.alignment - here.alignment,
        balance=here.share_after - there.share_after,
        own=here.own - there.own,
        spread=spread,
    )


def _put(draft: Draft, number: int, row: int, change: int) -> None:
    draft.put(number, np.array([row], np.int32), np.array([change], np.int64))
