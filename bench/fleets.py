"""Fleets and demands for the benchmarks of placement: seeded, in the sizes that are asked for.

They use every constraint of the model but devices, which have benchmarks of their own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from lattice.model.host import Capacity, Taint
from lattice.model.ids import DeploymentName, HostId
from lattice.model.labels import Selector, parse_selector
from lattice.model.scheduling import Placement, Preference, Spread
from scheduler.placement.model import Candidate, Demand

MIB = 1 << 20

ZONES = 3
KEYVALUE, MESSAGING = "wasi:keyvalue/store@0.2.0", "wasi:messaging/producer@0.2.0"
SPOT = Taint(key="spot", value="yes")

AMD, TWO_ZONES, YOUNG, NO_DISK, SSD, TOLERANT = (
    parse_selector(text)
    for text in ("arch = amd64", "zone in (z0, z1)", "age > 2", "disk != hdd", "disk = ssd",
                 "spot")
)  # fmt: skip


def fleet(count: int, seed: int = 7, *, is_plain: bool = False) -> list[Candidate]:
    """Return hosts of four sizes and shapes in three zones; some are tainted, unless plain."""
    draw = random.Random(seed)
    hosts = [_host(number, draw) for number in range(count)]
    return [replace(host, taints=()) for host in hosts] if is_plain else hosts


def demands(
    kinds: int, replicas: int, hosts: Sequence[Candidate], utilisation: float, seed: int = 1,
    *, is_plain: bool = False,
) -> list[Demand]:  # fmt: skip
    """Return so many deployments, of which all replicas together want that part of the fleet.

    A plain one has requests and required labels only.
    """
    draw = random.Random(seed)
    sizes = draw.choices([1, 2, 4, 8, 16], [30, 30, 20, 15, 5], k=kinds)
    shapes = draw.choices([0.5, 1.0, 2.0], k=kinds)
    cpu_milli = sum(host.capacity.cpu_milli for host in hosts)
    memory_bytes = sum(host.capacity.memory_bytes for host in hosts)
    unit = utilisation / (sum(sizes) * replicas)
    made: list[Demand] = []
    for number, (size, shape) in enumerate(zip(sizes, shapes, strict=True)):
        placement = Placement(
            cpu_milli=max(1, round(unit * size * cpu_milli / shape**0.5)),
            memory_bytes=max(1, round(unit * size * memory_bytes * shape**0.5 / 1.06 / MIB)) * MIB,
            require_labels=_required(draw),
        )
        if not is_plain:
            placement = _wishing(placement, number, draw)
        needs_store = not is_plain and draw.random() < 0.3
        made.append(
            Demand(
                deployment=_name(number),
                generation=1,
                count=replicas,
                placement=placement,
                interfaces=(KEYVALUE,) if needs_store else (),
            )
        )
    return made


def _host(number: int, draw: random.Random) -> Candidate:
    cores = draw.choices([16, 32, 64, 128], [30, 30, 30, 10])[0]
    labels = {
        "zone": f"z{number % ZONES}",
        "rack": f"r{number % 40}",
        "arch": "arm64" if draw.random() < 0.25 else "amd64",
        "disk": "ssd" if draw.random() < 0.6 else "hdd",
        "age": str(draw.randint(1, 5)),
    }
    return Candidate(
        id=HostId(f"host-{number:05d}"),
        labels=labels,
        interfaces=(KEYVALUE, MESSAGING) if draw.random() < 0.8 else (MESSAGING,),
        capacity=Capacity(
            cpu_milli=cores * 1000,
            memory_bytes=cores * draw.choices([2, 4, 8], [25, 50, 25])[0] * 1024 * MIB,
            slots=4000,
        ),
        taints=(SPOT,) if draw.random() < 0.05 else (),
    )


def _required(draw: random.Random) -> tuple[Selector, ...]:
    chances = ((AMD, 0.3), (TWO_ZONES, 0.2), (YOUNG, 0.1), (NO_DISK, 0.1))
    return tuple(selector for selector, chance in chances if draw.random() < chance)


def _wishing(plain: Placement, number: int, draw: random.Random) -> Placement:
    """Return what a deployment asks for with further wishes and rules."""
    wishes: list[Preference] = []
    if draw.random() < 0.3:
        wishes.append(Preference(weight=50, labels=(SSD,)))
    if number > 10 and draw.random() < 0.2:
        wishes.append(Preference(weight=100, near=_name(draw.randrange(number))))
    if number > 10 and draw.random() < 0.05:
        other = _name(draw.randrange(number))
        wishes.append(Preference(weight=30, apart=other, topology="rack"))
    tolerate = (TOLERANT,) if draw.random() < 0.3 else ()
    asked = replace(
        plain, prefer=tuple(wishes), priority=draw.choice([0, 0, 0, 100]), tolerate=tolerate
    )
    chance = draw.random()
    if chance < 0.2:
        return replace(asked, spread=(Spread(key="zone", is_hard=True),))
    if chance < 0.3:
        return replace(asked, spread=(Spread(key="rack", max_skew=3),))
    if chance < 0.4:
        return replace(asked, per_host_max=10)
    if chance < 0.42 and number > 10:
        return replace(asked, apart=(_name(draw.randrange(number)),))
    if chance < 0.43 and number > 10:
        # With requirements of its own it might have no host in common with the other one.
        return replace(asked, require_labels=(), together=(_name(draw.randrange(number)),))
    return asked


def _name(number: int) -> DeploymentName:
    return DeploymentName(f"app-{number:04d}")
