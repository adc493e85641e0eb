"""Random fleets, demands and changes with every constraint of placement, and the rules once more.

The rules are those of `filters`; what is checked here is that plans follow them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hypothesis import strategies as st

from lattice.model.host import Capacity, Taint
from lattice.model.ids import DeploymentName, HostId
from lattice.model.labels import parse_selector
from lattice.model.scheduling import Placement, Preference, Spread
from scheduler.placement.filters import refusal
from scheduler.placement.model import Candidate, Changes, Demand, Key, Plan
from scheduler.placement.plan import State, plan, plan_anew
from scheduler.placement.rooms import Room
from scheduler.placement.surroundings import refusing_of, surroundings_of

T = TypeVar("T")

MIB = 1 << 20
NAMES = tuple(DeploymentName(f"app-{number}") for number in range(6))
HOSTS = tuple(HostId(f"host-{number}") for number in range(7))
STORE = "wasi:keyvalue/store@0.2.0"
SELECTORS = tuple(
    parse_selector(text) for text in ("zone = a", "zone in (b, c)", "zone != a", "spot", "!spot")
)
SPOT = Taint(key="spot", value="yes")


@dataclass(slots=True)
class World:
    """What is true now; `changes` turns it into another one."""

    hosts: dict[HostId, Candidate] = field(default_factory=dict[HostId, Candidate])
    demands: dict[Key, Demand] = field(default_factory=dict[Key, Demand])
    assigned: dict[HostId, Mapping[Key, int]] = field(
        default_factory=dict[HostId, Mapping[Key, int]]
    )

    def take(self, changes: Changes) -> None:
        """Lay changes over what is true."""
        for host, candidate in changes.hosts.items():
            if candidate is None:
                self.hosts.pop(host, None)
                self.assigned.pop(host, None)
            else:
                self.hosts[host] = candidate
        for key, demand in changes.demands.items():
            if demand is None:
                self.demands.pop(key, None)
            else:
                self.demands[key] = demand
        for host, counts in changes.assigned.items():
            if host in self.hosts:
                self.assigned[host] = counts

    def anew(self) -> Plan:
        """Return the plan of all that is true, from scratch."""
        return plan_anew(self.demands.values(), self.hosts.values(), self.assigned)


def candidate(draw: random.Random, host: HostId) -> Candidate:
    """Return a host, small, often with a trouble."""
    labels = {}
    if draw.random() < 0.85:
        labels["zone"] = draw.choice("abc")
    if draw.random() < 0.25:
        labels["spot"] = "yes"
    return Candidate(
        id=host,
        labels=labels,
        interfaces=(STORE,) if draw.random() < 0.7 else (),
        capacity=Capacity(
            cpu_milli=draw.choice([0, 700, 2000, 4000]),
            memory_bytes=draw.choice([0, 100, 512]) * MIB,
            slots=draw.randint(0, 8),
        ),
        state=draw.choices(["ready", "lost", "silent"], [10, 1, 1])[0],
        is_cordoned=draw.random() < 0.08,
        is_draining=draw.random() < 0.08,
        is_frozen=draw.random() < 0.1,
        taints=(SPOT,) if draw.random() < 0.15 else (),
    )


def demand(draw: random.Random, name: DeploymentName, generation: int = 1) -> Demand:
    """Return a demand with a few of all the wishes there are."""
    return Demand(
        deployment=name,
        generation=generation,
        count=draw.choice([0, 1, 1, 2, 3, 6, 12]),
        placement=placement(draw),
        interfaces=(STORE,) if draw.random() < 0.25 else (),
        per_host=1 if draw.random() < 0.08 else 0,
        avoid={draw.choice(HOSTS): "trap"} if draw.random() < 0.15 else {},
        keep_max={draw.choice(HOSTS): draw.randint(0, 1)} if draw.random() < 0.1 else {},
        is_kept_only=draw.random() < 0.08,
    )


def placement(draw: random.Random) -> Placement:
    """Return requests, requirements and wishes; sometimes a plain one that others ask for too."""
    if draw.random() < 0.2:
        return Placement(cpu_milli=700)
    spreads = [Spread(key="zone", max_skew=draw.randint(1, 2), is_hard=draw.random() < 0.6,
                      domains_min=draw.choice([0, 0, 3]))]  # fmt: skip
    if draw.random() < 0.2:
        spreads.append(Spread(key="spot"))
    return Placement(
        require_labels=_some(draw, SELECTORS, 0.3),
        cpu_milli=draw.choice([0, 100, 700, 1500]),
        memory_bytes=draw.choice([0, 32 * MIB, 100 * MIB, 5000]),
        slots=draw.choice([1, 1, 2]),
        prefer=tuple(_wish(draw) for _ in range(draw.choice([0, 0, 1, 2]))),
        spread=tuple(spreads) if draw.random() < 0.35 else (),
        together=_some(draw, NAMES, 0.15),
        apart=_some(draw, NAMES, 0.12),
        per_host_max=draw.choice([0, 0, 0, 1, 2]),
        tolerate=(parse_selector("spot"),) if draw.random() < 0.4 else (),
        priority=draw.choice([0, 0, 10]),
    )


def changes(draw: random.Random, world: World) -> Changes:
    """Return a few changes: of hosts, of demands, and of what is really assigned."""
    hosts: dict[HostId, Candidate | None] = {}
    for host in draw.sample(HOSTS, draw.choice([0, 0, 1, 2])):
        known = world.hosts.get(host)
        if known is None or draw.random() < 0.3:
            hosts[host] = candidate(draw, host)
        elif draw.random() < 0.4:
            hosts[host] = None
        else:
            hosts[host] = replace(known, state=draw.choice(["ready", "lost"]), is_frozen=False)
    wanted: dict[Key, Demand | None] = {}
    for name in draw.sample(NAMES, draw.choice([0, 0, 1, 2])):
        key = (name, draw.choice([1, 1, 2]))
        old = world.demands.get(key)
        if old is None or draw.random() < 0.2:
            wanted[key] = demand(draw, *key)
        elif draw.random() < 0.3:
            wanted[key] = None
        else:
            wanted[key] = replace(old, count=draw.choice([0, 1, 4, 9]))
    assigned: dict[HostId, Mapping[Key, int]] = {}
    if world.hosts and draw.random() < 0.4:
        host = draw.choice(sorted(world.hosts))
        keys = [*world.demands, (DeploymentName("gone"), 1)]
        assigned[host] = {key: draw.randint(1, 3) for key in draw.sample(keys, min(2, len(keys)))}
    return Changes(hosts=hosts, demands=wanted, assigned=assigned)


def start(draw: random.Random) -> Changes:
    """Return the first changes, of a world where nothing is."""
    chosen = draw.sample(HOSTS, draw.randint(1, len(HOSTS)))
    names = draw.sample(NAMES, draw.randint(1, len(NAMES)))
    wanted = [demand(draw, name) for name in names]
    return Changes(
        hosts={host: candidate(draw, host) for host in chosen},
        demands={each.key: each for each in wanted},
    )


def steps(draw: random.Random, count: int) -> list[tuple[World, State, Plan, Plan]]:
    """Play random changes; return after each the world before the plan, and both plans of it."""
    world, state = World(), State.empty()
    found = []
    for number in range(count):
        change = start(draw) if not number else changes(draw, world)
        world.take(change)
        before = World(dict(world.hosts), dict(world.demands), dict(world.assigned))
        state, made = plan(state, change)
        found.append((before, state, made, before.anew()))
        world.assigned = dict(made.assignments)
    return found


def rooms_of(world: World, made: Plan) -> dict[HostId, Room]:
    """Return what is taken of each host by a plan."""
    rooms = {host: Room(each) for host, each in world.hosts.items()}
    for host, counts in made.assignments.items():
        for key, count in counts.items():
            rooms[host].take(world.demands[key], count)
    return rooms


def takers(world: World, made: Plan, wanted: Demand) -> list[HostId]:
    """Return the hosts that could take one more replica of a demand, by the scalar rules."""
    rooms = rooms_of(world, made)
    refusing = refusing_of(world.demands.values())
    around = surroundings_of(wanted, list(rooms.values()), refusing)
    return [host for host, room in rooms.items() if refusal(wanted, room, around) is None]


def _some(draw: random.Random, items: tuple[T, ...], chance: float) -> tuple[T, ...]:
    return (draw.choice(items),) if draw.random() < chance else ()


def _wish(draw: random.Random) -> Preference:
    weight = draw.choice([-50, 20, 100])
    topology = draw.choice(["host", "zone"])
    return draw.choice(
        [
            Preference(weight=weight, labels=(draw.choice(SELECTORS),)),
            Preference(weight=weight, near=draw.choice(NAMES), topology=topology),
            Preference(weight=weight, apart=draw.choice(NAMES), topology=topology),
        ]
    )


seeds = st.integers(0, 1 << 32).map(random.Random)
"""Worlds are drawn from a seed: hypothesis shrinks small integers, and prints them."""
