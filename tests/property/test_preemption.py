"""Preemption on random full fleets: who may be driven out, for whom, and that it comes to rest."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from lattice.model.host import Capacity
from lattice.model.ids import DeploymentName, HostId
from lattice.model.scheduling import Placement, Spread
from scheduler.placement.filters import CAPACITY_KINDS
from scheduler.placement.model import Candidate, Changes, Demand, Eviction, Key
from scheduler.placement.plan import State, plan, plan_anew
from scheduler.placement.preempt import drive_out
from scheduler.placement.scores import NORMAL
from tests.property.drafts import counts_of, draft_of, total
from tests.property.explaining_oracle import Situation, faults

SITUATIONS = 40
MIB = 1 << 20


def world(seed: int) -> Situation:
    """Hosts filled at random, without regard to priority, and demands of which some is missing."""
    rng = random.Random(seed)
    hosts = [
        Candidate(
            id=HostId(f"host-{n}"),
            labels={"zone": rng.choice(["eu", "us"])},
            interfaces=(),
            capacity=Capacity(
                cpu_milli=rng.choice([1000, 2000]),
                memory_bytes=1024 * MIB,
                slots=rng.choice([4, 9]),
            ),
            is_cordoned=rng.random() < 0.1,
            is_frozen=rng.random() < 0.1,
        )
        for n in range(rng.randint(1, 6))
    ]
    demands = [
        Demand(
            deployment=DeploymentName(f"app-{n}"),
            generation=1,
            count=rng.randint(1, 6),
            placement=Placement(
                cpu_milli=rng.choice([100, 300, 900]),
                memory_bytes=rng.choice([0, 64, 400]) * MIB,
                priority=rng.choice([0, 5, 5, 10]),
                preempt=rng.choice(["never", "lower"]),
                per_host_max=rng.choice([0, 0, 1]),
                spread=rng.choice([(), (Spread(key="zone", is_hard=True),)]),
                apart=(DeploymentName("app-0"),) if n and rng.random() < 0.2 else (),
            ),
            is_kept_only=rng.random() < 0.1,
            unavailable_max=rng.choice([0, 1, 2]),
        )
        for n in range(rng.randint(2, 6))
    ]
    made = Situation(hosts, demands, {host.id: {} for host in hosts})
    for demand in rng.sample(demands, len(demands)):
        for _ in range(rng.randint(0, demand.count)):
            open_hosts = [host for host in hosts if not faults(made, demand, host)]
            if open_hosts:
                here = made.counts[rng.choice(open_hosts).id]
                here[demand.key] = here.get(demand.key, 0) + 1
    return made


def carried_out(situation: Situation) -> tuple[Situation, dict[Key, int], tuple[Eviction, ...]]:
    draft = draft_of(situation.demands, situation.hosts, situation.counts)
    numbers = draft.book.numbers
    missing = {
        numbers[demand.key]: demand.count - total(situation.counts, demand.key)
        for demand in situation.demands
        if not demand.is_kept_only
    }
    left, evictions = drive_out(draft, missing, NORMAL)
    after = Situation(situation.hosts, situation.demands, counts_of(draft))
    return after, {draft.book.demand(n).key: count for n, count in left.items()}, evictions


def worlds(seed: int, start: int) -> list[tuple[int, Situation]]:
    first = (seed * 10 + start) * SITUATIONS
    return [(first + n, world(first + n)) for n in range(SITUATIONS)]


@pytest.mark.parametrize("start", range(10))
def test_only_lower_priorities_are_driven_out_and_only_by_who_may(seed: int, start: int) -> None:
    found = 0
    for number, before in worlds(seed, start):
        by_key = {demand.key: demand for demand in before.demands}
        for eviction in carried_out(before)[2]:
            by, victim = by_key[eviction.by], by_key[eviction.victim]
            assert by.placement.preempt == "lower", f"world({number})"
            assert victim.placement.priority < by.placement.priority, f"world({number})"
            host = next(host for host in before.hosts if host.id == eviction.host)
            assert not host.is_frozen, f"world({number})"
            found += 1
    assert found, "some world must have a preemption"


@pytest.mark.parametrize("start", range(10))
def test_every_replica_is_placed_or_left_and_no_host_is_overfull(seed: int, start: int) -> None:
    for number, before in worlds(seed, start):
        after, left, evictions = carried_out(before)
        by_key = {demand.key: demand for demand in before.demands}
        if not evictions and not any(d.placement.preempt == "lower" for d in before.demands):
            assert after.counts == before.counts
        for demand in before.demands:
            if not demand.is_kept_only:
                placed = total(after.counts, demand.key)
                assert placed + left.get(demand.key, 0) == demand.count, f"world({number})"
        for host in after.hosts:
            here = after.counts[host.id]
            cpu = sum(by_key[key].placement.cpu_milli * n for key, n in here.items())
            memory = sum(by_key[key].placement.memory_bytes * n for key, n in here.items())
            assert cpu <= host.capacity.cpu_milli, f"world({number})"
            assert memory <= host.capacity.memory_bytes, f"world({number})"
            assert sum(here.values()) <= host.capacity.slots, f"world({number})"


@pytest.mark.parametrize("start", range(10))
def test_done_again_nothing_changes(seed: int, start: int) -> None:
    for number, before in worlds(seed, start):
        after, left, _ = carried_out(before)
        again, left_again, evictions = carried_out(after)
        assert (again.counts, left_again, evictions) == (after.counts, left, ()), f"world({number})"


@pytest.mark.parametrize("start", range(10))
def test_who_stays_missing_could_not_have_driven_out_enough(seed: int, start: int) -> None:
    """By brute force: without all that is lower, no host would take one more replica."""
    for number, before in worlds(seed, start):
        after, left, _ = carried_out(before)
        by_key = {demand.key: demand for demand in after.demands}
        for key in left:
            demand = by_key[key]
            if demand.placement.preempt == "never":
                continue
            bare = Situation(
                after.hosts,
                after.demands,
                {
                    host: {
                        other: many
                        for other, many in here.items()
                        if by_key[other].placement.priority >= demand.placement.priority
                    }
                    for host, here in after.counts.items()
                },
            )
            for host in after.hosts:
                now = {kind for kind, _ in faults(after, demand, host)}
                then = {kind for kind, _ in faults(bare, demand, host)}
                assert now - CAPACITY_KINDS or then & CAPACITY_KINDS, f"world({number})"


@pytest.mark.parametrize("start", range(10))
def test_nobody_is_driven_out_in_vain_nor_more_than_allowed_if_avoidable(
    seed: int, start: int
) -> None:
    """The first eviction of each world against all choices there were, one host at a time."""
    for number, before in worlds(seed, start):
        single = _one_preemptor(before)
        if single is None:
            continue
        _, _, evictions = carried_out(single)
        if not evictions:
            continue
        # A victim that may do so drives out others in its turn, which is another choice.
        first = evictions[0]
        chosen = [e for e in evictions if (e.host, e.by) == (first.host, first.by)]
        demand = next(d for d in single.demands if d.key == chosen[0].by)
        assert cost(single, [(e.victim, e.count) for e in chosen])[:2] == min(
            cost(single, list(choice))[:2] for choice in choices(single, demand)
        ), f"world({number})"


def _one_preemptor(before: Situation) -> Situation | None:
    """Return the world with one demand that misses one replica, and none of the others missing."""
    first = next(
        (
            demand
            for demand in before.demands
            if demand.placement.preempt == "lower"
            and not demand.is_kept_only
            and not demand.placement.spread
            and not demand.placement.per_host_max
        ),
        None,
    )
    if first is None:
        return None
    placed = total(before.counts, first.key)
    demands = [replace(demand, count=total(before.counts, demand.key)) for demand in before.demands]
    demands[before.demands.index(first)] = replace(first, count=placed + 1)
    return Situation(before.hosts, demands, before.counts)


def cost(world: Situation, leaving: list[tuple[Key, int]]) -> tuple[int, int, int]:
    """Return whether more are missing than allowed, the highest victim, how many go."""
    by_key = {demand.key: demand for demand in world.demands}
    excess = any(many > by_key[key].unavailable_max for key, many in leaving)
    return (
        int(excess),
        max(by_key[key].placement.priority for key, _ in leaving),
        sum(many for _, many in leaving),
    )


def choices(world: Situation, demand: Demand) -> list[tuple[tuple[Key, int], ...]]:
    """Return every way to make room on one host, of whatever lower replicas it has."""
    by_key = {other.key: other for other in world.demands}
    found: list[tuple[tuple[Key, int], ...]] = []
    for host in world.hosts:
        if any(kind not in CAPACITY_KINDS for kind, _ in faults(world, demand, host)):
            continue
        here = world.counts[host.id]
        lower = [key for key in here if by_key[key].placement.priority < demand.placement.priority]
        for numbers in itertools.product(*(range(here[key] + 1) for key in lower)):
            leaving = tuple((key, n) for key, n in zip(lower, numbers, strict=True) if n)
            without = {key: many - dict(leaving).get(key, 0) for key, many in here.items()}
            if leaving and not faults(
                Situation(world.hosts, world.demands, {**world.counts, host.id: without}),
                demand,
                host,
            ):
                found.append(leaving)
    return found


@pytest.mark.parametrize("start", range(10))
def test_plans_with_preemption_come_to_rest_and_are_those_from_scratch(
    seed: int, start: int
) -> None:
    found = 0
    for number, before in worlds(seed, start):
        rng = random.Random(number)
        demands = {demand.key: demand for demand in before.demands}
        hosts = {host.id: host for host in before.hosts}
        state, made = plan(
            State.empty(), Changes(demands=demands, hosts=hosts, assigned=before.counts)
        )
        found += len(made.evictions)
        for _ in range(3):
            again = plan_anew(demands.values(), hosts.values(), made.assignments)
            assert (again.assignments, again.unplaced) == (made.assignments, made.unplaced)
            assert (again.changed, again.evictions) == (frozenset(), ()), f"world({number})"
            host = rng.choice(sorted(hosts))
            hosts[host] = replace(hosts[host], is_cordoned=not hosts[host].is_cordoned)
            key = rng.choice(sorted(demands))
            demands[key] = replace(demands[key], count=rng.randint(0, 8))
            anew = plan_anew(demands.values(), hosts.values(), made.assignments)
            changes = Changes(demands={key: demands[key]}, hosts={host: hosts[host]})
            state, made = plan(state, changes)
            assert made.assignments == anew.assignments, f"world({number})"
            assert (made.unplaced, made.evictions) == (anew.unplaced, anew.evictions)
    assert found, "some world must have a preemption"
