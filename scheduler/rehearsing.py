"""What applying manifests would do, without doing it: `lead.plan`. Pure: state in, map out.

The plan is the one that would be made now with the new generations in the place of the old ones;
the steps of a rollout in between are left out. Nothing is stored, and no host is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lattice.errors import NoRouteError
from lattice.model.ids import DeploymentName, HostId
from scheduler.demanding import needs_of
from scheduler.explaining import Map, eviction, moving
from scheduler.generations import Wanted
from scheduler.membership import Member
from scheduler.placement.model import Changes, Demand, Key, Plan
from scheduler.placement.plan import plan
from scheduler.placement.state import State
from scheduler.reconciler import Reconciler

MOVES_MAX = 500
"""Hosts that are listed for one deployment; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A deployment as it would be desired."""

    wanted: Wanted
    is_changed: bool


def rehearse(core: Reconciler, now_s: float, proposed: Sequence[Proposed]) -> Map:
    """Return which replicas would start, stop and stay where, and what would be unplaced.

    Raises:
        NoRouteError: no plan has been made since this scheduler took over.
    """
    if core.planned_at_s is None:
        raise NoRouteError("the scheduler has just taken over and made no plan yet")
    before = core.state
    changes = Changes(demands=_demands(before, proposed))
    after, made = plan(before, changes)
    members = core.membership.members()
    moves = _moves(before, after, made, proposed)
    asked = {each.wanted.name: each for each in proposed}
    return {
        "deployments": [
            {
                "name": name,
                "generation": each.wanted.generation,
                "changed": each.is_changed,
                "paused": each.wanted.is_paused,
                **_told(name, each.wanted.key, moves.get(name, {}), made, members),
            }
            for name, each in sorted(asked.items())
        ],
        "others": [
            {"name": name, **_told(name, None, there, made, members)}
            for name, there in sorted(moves.items())
            if name not in asked
        ],
        "evictions": [eviction(each, members) for each in made.evictions],
        "moving": moving(core, members)[:MOVES_MAX],
        "planned_s": round(now_s - core.planned_at_s, 3),
    }


def demand_of(wanted: Wanted, standing: Demand | None) -> Demand:
    """Return the demand that a desired state comes to, when nothing of its rollout is left to do.

    `standing` is the demand of the same generation, if there is one: what is known of hosts that
    it failed on, and the number that its load gave it, go on to count.
    """
    job, scale = wanted.job, wanted.scale
    count = wanted.replicas
    if wanted.is_singleton:
        count = 1
    elif job is not None:
        count = min(job.parallelism, job.completions)
    elif scale is not None:
        count = min(max(standing.count if standing else 1, scale.minimum), scale.maximum)
    made = Demand(
        deployment=wanted.name,
        generation=wanted.generation,
        count=count,
        placement=wanted.placement,
        interfaces=wanted.interfaces,
        needs=needs_of(wanted),
        per_host=wanted.daemon.per_host if wanted.daemon is not None else 0,
        unavailable_max=wanted.update.unavailable_max,
    )
    if standing is None:
        return made
    return replace(made, avoid=standing.avoid, keep_max=standing.keep_max)


def _demands(state: State, proposed: Iterable[Proposed]) -> dict[Key, Demand | None]:
    found: dict[Key, Demand | None] = {}
    for each in proposed:
        wanted = each.wanted
        numbers = state.book.by_name.get(wanted.name, ())
        standing = {(d := state.book.demand(number)).key: d for number in numbers}
        if wanted.is_paused:
            continue
        found |= dict.fromkeys(standing)
        found[wanted.key] = demand_of(wanted, standing.get(wanted.key))
    return found


_Move = tuple[int, int, int]
"""Replicas of a deployment on one host that start, stop and stay."""


def _moves(
    before: State, after: State, made: Plan, proposed: Iterable[Proposed]
) -> dict[DeploymentName, dict[HostId, _Move]]:
    """Return what moves, by deployment, and for those proposed also what stays."""
    was, becomes = before.assignments, after.assignments
    asked = {each.wanted.name for each in proposed}
    hosts = {*made.changed, *_hosts_of(before, asked)}
    found: dict[DeploymentName, dict[HostId, _Move]] = {}
    for host in sorted(hosts):
        old = was.get(host, {})
        new = becomes.get(host, {})
        for key in sorted({*old, *new}):
            move = _move(old.get(key, 0), new.get(key, 0))
            if key[0] in asked or move[0] or move[1]:
                there = found.setdefault(key[0], {})
                known = there.get(host, (0, 0, 0))
                there[host] = (known[0] + move[0], known[1] + move[1], known[2] + move[2])
    return found


def _move(before: int, after: int) -> _Move:
    return (max(0, after - before), max(0, before - after), min(before, after))


def _hosts_of(state: State, names: Iterable[DeploymentName]) -> set[HostId]:
    draft = state.draft()
    return {
        state.fleet.candidates[row].id
        for name in names
        for number in state.book.by_name.get(name, ())
        for row in draft.pairs(number)[0].tolist()
    }


def _told(
    name: DeploymentName,
    key: Key | None,
    there: Mapping[HostId, _Move],
    made: Plan,
    members: Mapping[HostId, Member],
) -> Map:
    rows = [
        {
            "host": host,
            "host_name": members[host].inventory.name if host in members else host,
            "starts": starts,
            "stops": stops,
            "stays": stays,
        }
        for host, (starts, stops, stays) in there.items()
    ]
    rows.sort(key=lambda row: (not row["starts"], not row["stops"], str(row["host_name"])))
    unplaced = [
        each
        for each in made.unplaced
        if each.deployment == name and key in (None, (each.deployment, each.generation))
    ]
    return {
        "starts": sum(move[0] for move in there.values()),
        "stops": sum(move[1] for move in there.values()),
        "stays": sum(move[2] for move in there.values()),
        "hosts": rows[:MOVES_MAX],
        "hosts_left_out": max(0, len(rows) - MOVES_MAX),
        "unplaced": sum(each.count for each in unplaced),
        "reasons": [reason for each in unplaced for reason in each.reasons],
    }
