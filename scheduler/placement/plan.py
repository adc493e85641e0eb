"""`plan`: what changed in; who runs what, and why not, out.

Pure and in integers, so that the same input in any order gives the same plan. What is placed and
still allowed stays where it is; a plan of a plan changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from scheduler.placement.draft import Draft
from scheduler.placement.explaining import explained
from scheduler.placement.granting import Granting, wants_devices
from scheduler.placement.keep import keep
from scheduler.placement.model import Candidate, Changes, Counts, Demand, Grants, Limits, Plan
from scheduler.placement.order import companions, ordered
from scheduler.placement.place import daemons_missing, place, place_daemons, place_units
from scheduler.placement.preempt import drive_out
from scheduler.placement.scores import DENSE, Weights, amount, wanted_share, weights_for
from scheduler.placement.singles import groups, place_singles
from scheduler.placement.state import State, begin

__all__ = ["LIMITS", "State", "plan", "plan_anew"]

LIMITS = Limits()
"""What a plan may spend if nothing else is said."""


def plan(state: State, changes: Changes, limits: Limits = LIMITS) -> tuple[State, Plan]:
    """Return the next state and who runs what from now on.

    It is the plan from scratch, `plan_anew`, of all demands and hosts that the state and the
    changes say, with what the last plan assigned as current, and `changes.assigned` in place of
    that where it is given. It differs from that in time only: what no change can have touched is
    not looked at again.

    A replica stays on its host while the host is not lost, still offers the interfaces and has the
    room, `avoid` and `keep_max` of the demand let it, and no more are wanted than there are.
    Everything else (labels, taints, cordons, neighbours) matters to new replicas only. They go
    where the score is best, see `scores`; higher priorities first. When something fits nowhere,
    other orders and weights are tried, and the variant that places most is the plan; what is still
    missing may drive out lower priorities, see `preempt`. The rules that refuse a host are in
    `filters`.
    """
    beginning = begin(state, changes)
    if beginning is None:
        return state, Plan(
            assignments=state.assignments, unplaced=state.unplaced, grants=state.grants
        )
    draft = beginning.draft
    lacking = keep(draft, beginning.dirty)
    if wants_devices(draft.book.demands, state.grants, changes.grants):
        draft.granting = Granting.of(draft, {**state.grants, **changes.grants})
        lacking |= draft.granting.settle(draft).keys()
    draft, left = _placed_best(draft, _missing(draft, lacking), limits)
    left, evictions = drive_out(draft, left, weights_for(wanted_share(draft, [])))
    if draft.granting is not None and evictions:
        draft.granting.settle(draft)
    unplaced = explained(draft, left)
    changed = beginning.changed | draft.changed()
    grants: Grants = {}
    if draft.granting is not None:
        grants = draft.granting.grants(draft)
        changed[draft.granting.changed()] = True
    after = State(
        book=draft.book, fleet=draft.fleet, placed=draft.placed(), used=draft.used,
        load=draft.load, totals=draft.totals, short=frozenset(left), unplaced=unplaced,
        grants=grants,
    )  # fmt: skip
    candidates = draft.fleet.candidates
    hosts = frozenset(candidates[row].id for row in np.flatnonzero(changed))
    return after, Plan(
        assignments=after.assignments, unplaced=unplaced, grants=grants, changed=hosts,
        evictions=evictions,
    )  # fmt: skip


def plan_anew(
    demands: Iterable[Demand],
    hosts: Iterable[Candidate],
    current: Counts,
    limits: Limits = LIMITS,
    *,
    grants: Grants | None = None,
) -> Plan:
    """Return who runs what from now on, from scratch; see `plan`.

    Hosts of `current` that are not among `hosts` are gone with all they ran. Demands are unique by
    key, hosts by id. Replicas keep the devices that `grants` says; without, they get some anew.
    """
    changes = Changes(
        hosts={host.id: host for host in hosts},
        demands={demand.key: demand for demand in demands},
        assigned=current,
        grants=grants or {},
    )
    return plan(State.empty(), changes, limits)[1]


def _missing(draft: Draft, numbers: Iterable[int]) -> dict[int, int]:
    """Return how many replicas are missing of the demands that lack some."""
    found: dict[int, int] = {}
    for number in numbers:
        demand = draft.book.demand(number)
        if demand.is_kept_only:
            continue
        if demand.per_host:
            count = int(daemons_missing(draft, number).sum())
        else:
            count = demand.count - int(draft.totals[number])
        if count > 0:
            found[number] = count
    return found


def _placed_best(
    kept: Draft, missing: Mapping[int, int], limits: Limits
) -> tuple[Draft, dict[int, int]]:
    """Return the draft of the variant that places most, and what it leaves unplaced."""
    if not missing:
        return kept, {}
    sizes = [(kept.book.demand(number).placement, count) for number, count in missing.items()]
    normal = weights_for(wanted_share(kept, sizes))
    variants = [normal, *(weights for weights in DENSE if weights != normal)]
    best: tuple[list[int], Draft, dict[int, int]] | None = None
    for weights in variants[: max(1, limits.variants_max)]:
        draft = kept.fork()
        left = _run(draft, missing, weights)
        loss = _loss(draft, left)
        if best is None or loss < best[0]:
            best = (loss, draft, left)
        # Another order helps only what some host could take.
        if not any(draft.fleet.choice(draft.book.demand(number)) for number in left):
            break
    assert best is not None
    return best[1], best[2]


def _run(draft: Draft, missing: Mapping[int, int], weights: Weights) -> dict[int, int]:
    """Draft what is missing, and return what fits nowhere."""
    left, tried = dict(missing), set[int]()
    circles = companions(draft, missing)
    alike = groups(draft, missing)
    for number in ordered(draft, missing, weights):
        if group := alike.get(number):
            if number not in tried:
                tried.update(group)
                fits_not = place_singles(draft, group, weights)
                left.update((each, int(each in fits_not)) for each in group)
            continue
        if draft.book.demand(number).per_host:
            left[number] = place_daemons(draft, number)
            continue
        left[number] = place(draft, number, left[number], weights)
        circle = circles.get(number, ())
        if circle and left[number]:
            _place_circle(draft, circle, left, weights)
    while placed := _retry(draft, left, weights):
        left = placed
    if draft.granting is not None:  # what was placed as a unit has its devices only now
        for number, lost in draft.granting.settle(draft).items():
            left[number] = left.get(number, 0) + lost
    return {number: count for number, count in left.items() if count}


def _place_circle(
    draft: Draft, circle: tuple[int, ...], left: dict[int, int], weights: Weights
) -> None:
    """Draft demands that require each other: first as units, then what is left of each."""
    for number in circle:
        left[number] = place(draft, number, left[number], weights)
    units = place_units(draft, circle, min(left[number] for number in circle), weights)
    for number in circle:
        left[number] = place(draft, number, left[number] - units, weights)


def _retry(draft: Draft, left: Mapping[int, int], weights: Weights) -> dict[int, int] | None:
    """Draft again what waits for others that have a place by now; None when that did not help."""
    after = dict(left)
    for number in ordered(draft, {n: count for n, count in left.items() if count}, weights):
        demand = draft.book.demand(number)
        if not demand.placement.together:
            continue
        if demand.per_host:
            after[number] = place_daemons(draft, number)
        else:
            after[number] = place(draft, number, after[number], weights)
    return after if after != left else None


def _loss(draft: Draft, left: Mapping[int, int]) -> list[int]:
    """Return what is unplaced, by size, for each priority from the highest on."""
    sums: dict[int, int] = {}
    for number, count in left.items():
        placement = draft.book.demand(number).placement
        sums[placement.priority] = (
            sums.get(placement.priority, 0) + (1 + amount(draft, placement)) * count
        )
    return [part for priority in sorted(sums, reverse=True) for part in (priority, sums[priority])]
