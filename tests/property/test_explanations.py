"""Explanations against brute force: counts of first reasons, and what one relaxation would do."""

from __future__ import annotations

from collections import Counter

import pytest

from scheduler.placement.explain import first_reasons, unplaced_for
from scheduler.placement.filters import refusals
from scheduler.placement.model import Demand
from scheduler.placement.relaxing import relaxations
from scheduler.placement.rooms import Room, Surroundings
from scheduler.placement.surroundings import refusing_of, surroundings_of
from scheduler.placement.surveying import surveyed
from scheduler.placement.verdicts import verdicts
from tests.property.drafts import draft_of
from tests.property.explaining_oracle import Situation, faults, relaxed, situation

SITUATIONS = 60
"""For each of the ten seeds."""


def rooms_of(world: Situation) -> list[Room]:
    by_key = {demand.key: demand for demand in world.demands}
    rooms = [Room(host) for host in world.hosts]
    for room in rooms:
        for key, count in world.counts[room.candidate.id].items():
            room.take(by_key[key], count)
    return rooms


def asked(world: Situation, demand: Demand) -> tuple[list[Room], Surroundings]:
    rooms = rooms_of(world)
    return rooms, surroundings_of(demand, rooms, refusing_of(world.demands))


def worlds(seed: int, start: int) -> list[tuple[int, Situation]]:
    first = (seed * 10 + start) * SITUATIONS
    return [(first + n, situation(first + n)) for n in range(SITUATIONS)]


@pytest.mark.parametrize("start", range(10))
def test_every_rule_refuses_as_by_brute_force(seed: int, start: int) -> None:
    for number, world in worlds(seed, start):
        for demand in world.demands:
            rooms, around = asked(world, demand)
            for room in rooms:
                found = [(r.kind, r.subject) for r in refusals(demand, room, around)]
                assert found == faults(world, demand, room.candidate), f"situation({number})"


@pytest.mark.parametrize("start", range(10))
def test_first_reasons_count_every_refused_host_once(seed: int, start: int) -> None:
    for number, world in worlds(seed, start):
        for demand in world.demands:
            rooms, around = asked(world, demand)
            reasons = first_reasons(demand, rooms, around)
            found: Counter[tuple[str, str]] = Counter()
            for reason in reasons:
                found[reason.kind, reason.subject] += reason.hosts
            expected = Counter(
                each[0] for host in world.hosts if (each := faults(world, demand, host))
            )
            assert found == expected, f"situation({number})"
            said = unplaced_for(demand, 1, reasons)
            assert said.kinds == tuple(sorted({kind for kind, _ in expected})), (
                f"situation({number})"
            )


@pytest.mark.parametrize("start", range(10))
def test_one_relaxation_lets_in_as_many_hosts_as_without_the_constraint(
    seed: int, start: int
) -> None:
    helped = 0
    for number, world in worlds(seed, start):
        for demand in world.demands:
            rooms, around = asked(world, demand)
            found = {(r.kind, r.subject): r.hosts for r in relaxations(demand, rooms, around)}
            assert found == relaxed(world, demand), f"situation({number})"
            helped += len(found)
    assert helped, "some situation must have a relaxation that helps"


@pytest.mark.parametrize("start", range(10))
def test_verdicts_on_one_host_are_those_of_brute_force_in_order(seed: int, start: int) -> None:
    for number, world in worlds(seed, start):
        for demand in world.demands:
            rooms, around = asked(world, demand)
            for room in rooms:
                found = verdicts(demand, room, around)
                unmet = [(each.kind, each.subject) for each in found if not each.is_met]
                assert unmet == faults(world, demand, room.candidate), f"situation({number})"
                assert all(each.text for each in found), f"situation({number})"


@pytest.mark.parametrize("start", range(10))
def test_the_survey_of_columns_says_what_the_scalar_rules_say(seed: int, start: int) -> None:
    for number, world in worlds(seed, start):
        draft = draft_of(world.demands, world.hosts, world.counts)
        for demand in world.demands:
            rooms, around = asked(world, demand)
            found = surveyed(draft, draft.book.numbers[demand.key])
            assert found == first_reasons(demand, rooms, around), f"situation({number})"
