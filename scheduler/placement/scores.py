"""How good a host is for a demand, in integers: 2^20 is one whole capacity of a host, 100 points.

    score = preferences + alignment - share after - price of the replicas of its own

Feasibility is decided elsewhere; a score means nothing on a host that cannot take the replica.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lattice.model.ids import HostId
from lattice.model.scheduling import WEIGHT_MAX, Placement, Preference
from scheduler.placement.columns import Bools, Ints
from scheduler.placement.draft import UNIT, Draft, request_units
from scheduler.placement.fill import highest

ONE = 1 << 20
"""The score of one dominant share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a variant of a plan values."""

    alignment: int  # of a perfect alignment of free capacity and request
    own_price: int  # of each replica of the same generation on the host; 1 at least
    first: Literal["choice", "size", "both"] = "choice"
    # first: of one priority the demands with fewest hosts to choose from, the largest, or those
    # whose size is large for the hosts that they can choose from


NORMAL = Weights(alignment=ONE, own_price=ONE)
TIGHT = Weights(alignment=ONE << 2, own_price=ONE)
FULL = Weights(alignment=ONE << 4, own_price=ONE)
"""The more of the fleet is wanted, the more alignment counts: it keeps capacity from stranding."""

DENSE = (
    Weights(alignment=ONE << 4, own_price=ONE >> 10),
    Weights(alignment=ONE << 2, own_price=1, first="size"),
    Weights(alignment=ONE << 4, own_price=1, first="both"),
)
"""Variants for when something fits nowhere: they give up evenness for room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The parts of one score, as they stand before one replica more is placed."""

    preferences: int
    alignment: int
    share_after: int  # the largest share of a capacity in use with one replica more
    own: int  # replicas of the same generation there, times their price

    @property
    def score(self) -> int:
        """Return the whole."""
        return self.preferences + self.alignment - self.share_after - self.own


def terms(draft: Draft, number: int, host: HostId, weights: Weights = NORMAL) -> Terms:
    """Return the score of one more replica of a demand on a host, with its parts."""
    row = draft.fleet.rows[host]
    placement = draft.book.demand(number).placement
    return Terms(
        preferences=int(preferences(draft, placement)[row]),
        alignment=int(alignment(draft, placement, weights)[row]),
        share_after=int((draft.load[:, row] + steps(draft, placement)[:, row]).max()),
        own=int(draft.own(number)[row]) * weights.own_price,
    )


def first_scores(draft: Draft, number: int, weights: Weights) -> Ints:
    """Return the score of one more replica of a demand on every host."""
    placement = draft.book.demand(number).placement
    after = highest(draft.load + steps(draft, placement))
    return (
        standing_scores(draft, placement, weights) - after - draft.own(number) * weights.own_price
    )


def standing_scores(draft: Draft, placement: Placement, weights: Weights) -> Ints:
    """Return the part of the score that does not change while replicas of a demand are placed."""
    return preferences(draft, placement) + alignment(draft, placement, weights)


def steps(draft: Draft, placement: Placement) -> Ints:
    """Return which share of each capacity one replica takes on every host."""
    units = np.array(request_units(placement), np.int64)
    # A request beyond a whole host is refused before its share matters; the bound keeps it in 2^63.
    return (np.minimum(units, 1 << 22)[:, None] * draft.fleet.inverse) >> 20


def preferences(draft: Draft, placement: Placement) -> Ints:
    """Return what the wishes of a demand give to every host."""
    found = np.zeros(len(draft.fleet), np.int64)
    for wish in placement.prefer:
        found[fulfilling(draft, wish)] += wish.weight * ONE // WEIGHT_MAX
    return found


def fulfilling(draft: Draft, wish: Preference) -> Bools:
    """Return which hosts fulfil a wish."""
    if wish.near is not None:
        return near(draft, draft.presence(wish.near), wish.topology)
    if wish.apart is not None:
        return ~near(draft, draft.presence(wish.apart), wish.topology)
    return draft.fleet.matching(wish.labels)


def near(draft: Draft, there: Bools, topology: str) -> Bools:
    """Return which hosts share a domain with one of those; hosts without a domain share none."""
    codes = draft.fleet.domains(topology)
    inside = np.zeros(int(codes.max(initial=0)) + 2, np.bool_)
    inside[codes[there]] = True
    inside[-1] = False  # code -1: no domain
    return inside[codes]


def alignment(draft: Draft, placement: Placement, weights: Weights) -> Ints:
    """Return how well the free capacity of every host has the shape of the request.

    The cosine of both as vectors of cpu and memory, in mean capacities of the fleet, times the
    weight. Nothing is aligned with a request of neither.
    """
    cpu, memory = _direction(draft, placement)
    along = draft.direction[0] * cpu + draft.direction[1] * memory
    found: Ints = (along * weights.alignment) // (UNIT * UNIT)
    return found


def _direction(draft: Draft, placement: Placement) -> tuple[int, int]:
    units = request_units(placement)
    cpu, memory = (
        (units[kind] << 20) // max(1, mean) for kind, mean in enumerate(draft.mean_units())
    )
    length = math.isqrt(cpu * cpu + memory * memory)
    return (cpu * UNIT // length, memory * UNIT // length) if length else (0, 0)


def wanted_share(draft: Draft, missing: list[tuple[Placement, int]]) -> int:
    """Return the largest share of the fleet's capacity that is taken when all that is missing is
    placed; 2^20 is all of it."""
    there = ~draft.fleet.gone
    capacity = [int(c) for c in draft.fleet.capacity[:2, there].sum(1)]
    used = [int(u) for u in draft.used[:2, there].sum(1)]
    for placement, count in missing:
        used[0] += placement.cpu_milli * count
        used[1] += placement.memory_bytes * count
    return max(ONE * taken // max(1, has) for taken, has in zip(used, capacity, strict=True))


def weights_for(share: int) -> Weights:
    """Return the weights for a plan that fills so much of the fleet (2^20 is all of it)."""
    if share < ONE * 80 // 100:
        return NORMAL
    return TIGHT if share < ONE * 95 // 100 else FULL


def amount(draft: Draft, placement: Placement) -> int:
    """Return how large a request is: cpu and memory together, 2^20 is the mean capacity of each."""
    cpu, memory = draft.mean_units()
    units = request_units(placement)
    return units[0] * ONE // cpu + units[1] * ONE // memory
