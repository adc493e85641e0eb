"""Plans of changes: equal to plans from scratch, valid by the rules, the same in any order."""

from __future__ import annotations

import random

from hypothesis import given, settings

from scheduler.placement.model import Changes
from scheduler.placement.plan import State, plan, plan_anew
from tests.property.placement_worlds import (
    World,
    changes,
    rooms_of,
    seeds,
    start,
    steps,
    takers,
)


@settings(max_examples=120, deadline=None)
@given(seeds)
def test_a_plan_of_changes_is_the_plan_from_scratch(draw: random.Random) -> None:
    for _, _, made, anew in steps(draw, 8):
        assert made.assignments == anew.assignments
        assert made.unplaced == anew.unplaced
        assert made.changed == anew.changed


@settings(max_examples=100, deadline=None)
@given(seeds)
def test_changed_are_the_hosts_that_are_assigned_something_else(draw: random.Random) -> None:
    for world, _, made, _ in steps(draw, 6):
        assert made.changed == {
            host
            for host, counts in made.assignments.items()
            if counts != dict(world.assigned.get(host, {}))
        }


@settings(max_examples=100, deadline=None)
@given(seeds)
def test_a_plan_of_a_plan_changes_nothing(draw: random.Random) -> None:
    for world, state, made, _ in steps(draw, 5):
        after, again = plan(state, Changes())
        assert after is state
        assert again.assignments == made.assignments
        assert not again.changed
        anew = plan_anew(world.demands.values(), world.hosts.values(), made.assignments)
        assert not anew.changed
        assert anew.unplaced == made.unplaced


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_what_is_placed_anew_follows_every_rule_and_what_is_not_fits_nowhere(
    draw: random.Random,
) -> None:
    change = start(draw)
    world = World()
    world.take(change)
    made = world.anew()
    rooms = rooms_of(world, made)
    for host, room in rooms.items():
        capacity = world.hosts[host].capacity
        assert room.cpu_milli <= capacity.cpu_milli
        assert room.memory_bytes <= capacity.memory_bytes
        assert room.slots <= capacity.slots
        for key, count in room.counts.items():
            asked = world.demands[key].placement
            assert all(room.has(name) for name in asked.together)
            assert not any(room.has(name) for name in asked.apart if name != key[0])
            assert key[0] not in asked.apart or count == 1
            assert count <= (asked.per_host_max or count)
    for unplaced in made.unplaced:
        demand = world.demands[unplaced.deployment, unplaced.generation]
        if not demand.per_host:
            assert takers(world, made, demand) == []


@settings(max_examples=100, deadline=None)
@given(seeds)
def test_hard_spreads_hold_for_what_is_placed_anew(draw: random.Random) -> None:
    world = World()
    world.take(start(draw))
    made = world.anew()
    for key, demand in world.demands.items():
        for spread in demand.placement.spread:
            if not spread.is_hard or demand.per_host:
                continue
            counts: dict[str, int] = {}
            for host, each in world.hosts.items():
                number = made.assignments[host].get(key, 0)
                assert not number or spread.key in each.labels
                if spread.key in each.labels:
                    zone = each.labels[spread.key]
                    counts[zone] = counts.get(zone, 0) + number
            placed = [count for count in counts.values() if count]
            # Empty domains may be such that could take none; the others keep the skew.
            assert not placed or max(placed) - min(counts.values()) <= max(placed)
            if min(counts.values(), default=0) > 0:
                assert max(placed) - min(placed) <= spread.max_skew


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_order_of_hosts_demands_and_assignments_does_not_matter(draw: random.Random) -> None:
    for world, _, made, _ in steps(draw, 3):
        parts = [list(world.demands.values()), list(world.hosts.values())]
        for part in parts:
            draw.shuffle(part)
        assigned = dict(draw.sample(sorted(world.assigned.items()), len(world.assigned)))
        anew = plan_anew(parts[0], parts[1], assigned)
        assert anew.assignments == made.assignments
        assert anew.unplaced == made.unplaced


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_changes_at_once_and_one_by_one_leave_valid_states(draw: random.Random) -> None:
    """Columns that are carried from plan to plan are those that a plan from scratch computes."""
    world, state = World(), State.empty()
    for number in range(6):
        change = start(draw) if not number else changes(draw, world)
        world.take(change)
        state, made = plan(state, change)
        world.assigned = dict(made.assignments)
        fresh, _ = plan(
            State.empty(),
            Changes(hosts=world.hosts, demands=world.demands, assigned=world.assigned),
        )
        for host, row in state.fleet.rows.items():
            other = fresh.fleet.rows[host]
            assert state.used[:, row].tolist() == fresh.used[:, other].tolist()
            assert state.load[:, row].tolist() == fresh.load[:, other].tolist()
