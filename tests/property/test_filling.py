"""Filling many hosts at once equals placing one replica after the other, each where it is best."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings

from bench.greedy import Greedy
from scheduler.placement.model import Changes, Demand
from scheduler.placement.place import place
from scheduler.placement.plan import State, plan
from scheduler.placement.scores import DENSE, FULL, NORMAL, TIGHT
from tests.property.placement_worlds import HOSTS, NAMES, candidate, demand, seeds


def simple(draw: random.Random, wanted: Demand) -> Demand:
    """The demand without what the loop does not know."""
    asked = wanted.placement
    others = tuple(
        wish for wish in asked.prefer if wanted.deployment not in (wish.near, wish.apart)
    )
    apart = tuple(name for name in asked.apart if name != wanted.deployment)
    together = tuple(name for name in asked.together if name != wanted.deployment)
    asked = replace(asked, prefer=others, spread=asked.spread[:1], apart=apart, together=together)
    count = draw.choice([1, 3, 10, 40])
    return replace(wanted, placement=asked, count=count, per_host=0, is_kept_only=False)


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_batches_equal_a_loop_over_replicas_and_hosts(draw: random.Random) -> None:
    hosts = [candidate(draw, host) for host in HOSTS]
    demands = [simple(draw, demand(draw, name)) for name in NAMES[:4]]
    weights = draw.choice([NORMAL, TIGHT, FULL, *DENSE])
    state, _ = plan(
        State.empty(),
        Changes(
            hosts={host.id: host for host in hosts},
            demands={each.key: replace(each, count=0) for each in demands},
        ),
    )
    draft, loop = state.draft(), Greedy(hosts)
    for each in demands:
        for name in each.placement.apart:
            loop.refusing.setdefault(name, set()).add(each.deployment)
    for each in demands:
        number = draft.book.numbers[each.key]
        left = place(draft, number, each.count, weights)
        assert loop.place(each, each.count, weights) == each.count - left
        rows, many = draft.pairs(number)
        ids = [draft.fleet.candidates[row].id for row in rows.tolist()]
        placed = dict(zip(ids, many.tolist(), strict=True))
        assert placed == {
            host.candidate.id: host.counts[each.key]
            for host in loop.hosts
            if each.key in host.counts
        }
