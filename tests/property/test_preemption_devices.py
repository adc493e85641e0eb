"""Preemption where devices are scarce: what is freed serves, and nothing is granted twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import pytest

from lattice.model.host import Capacity, Device
from lattice.model.ids import DeploymentName, HostId
from lattice.model.scheduling import DeviceRequest, Placement
from scheduler.placement.devices import choose, needed_devices, taken_of
from scheduler.placement.model import Candidate, Changes, Demand, Key, Plan
from scheduler.placement.plan import State, plan, plan_anew

WORLDS = 12
GIB = 1 << 30

World = tuple[list[Candidate], list[Demand], list[Demand]]


def world(seed: int) -> World:
    """Return hosts with devices, demands that fill them, and others that come after them."""
    rng = random.Random(seed)
    hosts = [
        Candidate(
            id=HostId(f"host-{n}"), labels={}, interfaces=(),
            capacity=Capacity(cpu_milli=rng.choice([2000, 8000]), memory_bytes=64 * GIB,
                              slots=rng.choice([3, 12])),
            devices=tuple(
                Device(id=f"gpu-{d}", memory_bytes=rng.choice([16, 80]) * GIB,
                       attributes={"tier": rng.choice(["a", "b"])})
                for d in range(rng.randint(0, 4))
            ),
            is_frozen=rng.random() < 0.1,
        )
        for n in range(rng.randint(1, 4))
    ]  # fmt: skip

    def asked(number: int, *, is_late: bool) -> Demand:
        share = rng.choice([0, 300, 500])
        request = DeviceRequest(
            kind="gpu", count=0 if share else rng.choice([1, 2]), share_milli=share,
            memory_bytes=rng.choice([0, 8, 40]) * GIB if share else 0,
            require=rng.choice(["", 'tier == "a"']),
        )  # fmt: skip
        return Demand(
            deployment=DeploymentName(f"{'late' if is_late else 'early'}-{number}"),
            generation=1,
            count=rng.randint(1, 5),
            placement=Placement(
                cpu_milli=rng.choice([100, 1000]),
                priority=rng.randint(1, 9) if is_late else rng.randint(0, 4),
                preempt="lower" if is_late else rng.choice(["never", "never", "lower"]),
                devices=(request,) if rng.random() < 0.85 else (),
            ),
            unavailable_max=rng.choice([0, 1, 2]),
        )

    early = [asked(n, is_late=False) for n in range(rng.randint(1, 4))]
    return hosts, early, [asked(n, is_late=True) for n in range(rng.randint(1, 3))]


def filled(given: World) -> tuple[State, Plan]:
    hosts, early, _ = given
    return plan(
        State.empty(),
        Changes(hosts={h.id: h for h in hosts}, demands={d.key: d for d in early}),
    )


def check_grants(made: Plan, hosts: list[Candidate], demands: Mapping[Key, Demand]) -> None:
    """Every replica that asks for devices holds all of its own, none of them beyond what it has."""
    for host in hosts:
        grants = made.grants.get(host.id, {})
        sizes = {device.id: device.memory_bytes for device in host.devices}
        for device, taken in taken_of(g for each in grants.values() for g in each).items():
            assert 0 <= taken.milli <= 1000
            assert taken.memory_bytes <= sizes[device]
        for key, count in made.assignments.get(host.id, {}).items():
            wanted = sum(map(needed_devices, demands[key].placement.devices))
            held = Counter(grant.ordinal for grant in grants.get(key, ()))
            assert held == (dict.fromkeys(range(count), wanted) if wanted else {})


@pytest.mark.parametrize("start", range(8))
def test_devices_that_are_freed_serve_who_comes_first_and_none_is_granted_twice(
    seed: int, start: int
) -> None:
    found = 0
    for number in range((seed * 8 + start) * WORLDS, (seed * 8 + start + 1) * WORLDS):
        hosts, early, late = given = world(number)
        before, _ = filled(given)
        demands = {demand.key: demand for demand in (*early, *late)}
        changes = Changes(demands={demand.key: demand for demand in late})
        _, made = plan(before, changes)
        check_grants(made, hosts, demands)
        for each in made.evictions:
            by, victim = demands[each.by].placement, demands[each.victim].placement
            assert victim.priority < by.priority, f"world({number})"
            assert by.preempt == "lower", f"world({number})"
        found += sum(bool(demands[each.by].placement.devices) for each in made.evictions)
        anew = plan_anew(demands.values(), hosts, before.assignments, grants=dict(before.grants))
        assert (anew.assignments, anew.grants) == (made.assignments, made.grants)
        assert (anew.evictions, anew.unplaced) == (made.evictions, made.unplaced)
        again = plan_anew(demands.values(), hosts, made.assignments, grants=made.grants)
        assert (again.changed, again.evictions) == (frozenset(), ()), f"world({number})"
        for unplaced in made.unplaced:
            asked = demands[unplaced.deployment, unplaced.generation]
            if asked.placement.preempt == "lower":
                assert not any(
                    _takes_without_lower(host, asked, made, demands) for host in hosts
                ), f"world({number})"
    assert found, "some world must free a device"


def _takes_without_lower(
    host: Candidate, asked: Demand, made: Plan, demands: Mapping[Key, Demand]
) -> bool:
    """By brute force: tell whether a host had room and devices without all that is lower."""
    if host.is_frozen:
        return False
    cpu, slots = host.capacity.cpu_milli, host.capacity.slots
    here = {
        key: count
        for key, count in made.assignments.get(host.id, {}).items()
        if demands[key].placement.priority >= asked.placement.priority or key == asked.key
    }
    cpu -= sum(demands[key].placement.cpu_milli * count for key, count in here.items())
    slots -= sum(here.values())
    grants = made.grants.get(host.id, {})
    taken = taken_of(grant for key in here for grant in grants.get(key, ()))
    has_devices = choose(asked.placement.devices, host.devices, taken) is not None
    return cpu >= asked.placement.cpu_milli and slots >= 1 and has_devices


def test_the_last_replica_of_a_host_gives_its_device_away_and_the_first_keeps_its_own() -> None:
    host = Candidate(
        id=HostId("a"), labels={}, interfaces=(),
        capacity=Capacity(cpu_milli=8000, memory_bytes=8 * GIB, slots=9),
        devices=(Device(id="gpu-0"), Device(id="gpu-1")),
    )  # fmt: skip
    one = (DeviceRequest(kind="gpu", count=1),)
    low = Demand(deployment=DeploymentName("low"), generation=1, count=2,
                 placement=Placement(devices=one))  # fmt: skip
    high = Demand(deployment=DeploymentName("high"), generation=1, count=1,
                  placement=Placement(devices=one, priority=5, preempt="lower"))  # fmt: skip
    state, made = plan(State.empty(), Changes(hosts={host.id: host}, demands={low.key: low}))
    kept, freed = (grant.device for grant in made.grants[host.id][low.key])
    _, made = plan(state, Changes(demands={high.key: high}))
    (gone,) = made.evictions
    assert (gone.victim, gone.by, gone.count) == (low.key, high.key, 1)
    assert [grant.device for grant in made.grants[host.id][low.key]] == [kept]
    assert [grant.device for grant in made.grants[host.id][high.key]] == [freed]
