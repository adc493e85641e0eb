"""The rules of placement once more, by brute force and written apart from the filters.

Constraints are (kind, subject) as the filters name them, in the filters' order. `dropped` takes one
constraint out of the world before it is judged; nothing is derived, all is counted again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from lattice.model.host import Capacity, Taint
from lattice.model.ids import DeploymentName, HostId
from lattice.model.labels import Selector, parse_selector
from lattice.model.scheduling import Placement, Spread
from scheduler.placement.model import Candidate, Demand, Key

Constraint = tuple[str, str]
PASSING = {"silent", "frozen", "failed", "leaving"}
FIXED = {"lost", "silent", "frozen", "feature", "leaving"}
MIB = 1 << 20
NAMES = [DeploymentName(f"app-{n}") for n in range(5)]
SELECTORS = [
    "zone = eu",
    "zone in (us, ap)",
    "!spot",
    "cores > 4",
    "gpu",
    "zone != us",
    "rack = r1",
]
INTERFACES = ["a:b/c@1.0.0", "a:b/c@1.4.2", "a:b/c@2.0.0", "d:e/f@0.2.1", "d:e/f@0.3.0"]
TAINTS = [
    Taint(key="gpu"),
    Taint(key="for", value="db"),
    Taint(key="for", value="web"),
    Taint(key="lattice/flapping", value="2"),
]
TOLERATE = ["gpu", "for = db", "for in (db, web)", "!other"]


@dataclass
class Situation:
    """Hosts, demands, and how many replicas of what each host has."""

    hosts: list[Candidate]
    demands: list[Demand]
    counts: dict[HostId, dict[Key, int]] = field(default_factory=dict)


def situation(seed: int) -> Situation:
    rng = random.Random(seed)
    hosts = [_host(rng, n) for n in range(rng.randint(0, 9))]
    demands = [_demand(rng, name, hosts) for name in NAMES[: rng.randint(1, 5)]]
    made = Situation(hosts, demands)
    for host in hosts:
        mine = made.counts.setdefault(host.id, {})
        for demand in rng.sample(demands, rng.randint(0, len(demands))):
            if rng.random() < 0.6:
                mine[demand.key] = rng.randint(1, 3)
    return made


def _host(rng: random.Random, number: int) -> Candidate:
    labels = {}
    if rng.random() < 0.8:
        labels["zone"] = rng.choice(["eu", "us", "ap"])
    if rng.random() < 0.6:
        labels["rack"] = rng.choice(["r1", "r2"])
    if rng.random() < 0.15:
        labels["spot"] = "yes"
    if rng.random() < 0.5:
        labels["cores"] = rng.choice(["2", "8", "many"])
    if rng.random() < 0.5:
        labels["gpu"] = ""
    return Candidate(
        id=HostId(f"host-{number}"),
        labels=labels,
        interfaces=tuple(rng.sample(INTERFACES, rng.randint(0, 4))),
        capacity=Capacity(
            cpu_milli=rng.choice([500, 2000, 8000]),
            memory_bytes=rng.choice([64, 512, 4096]) * MIB,
            slots=rng.choice([2, 6, 100]),
        ),
        features=("replicas@1", "jobs@1") if rng.random() < 0.85 else ("replicas@1",),
        state=rng.choice(["ready"] * 8 + ["lost", "silent"]),
        is_cordoned=rng.random() < 0.12,
        is_draining=rng.random() < 0.08,
        is_frozen=rng.random() < 0.08,
        taints=tuple(rng.sample(TAINTS, rng.choice([0, 0, 0, 1, 2]))),
    )


def _demand(rng: random.Random, name: DeploymentName, hosts: list[Candidate]) -> Demand:
    others = [other for other in NAMES if other != name]
    some = hosts[: rng.choice([0, 0, 0, 1, 2])]
    return Demand(
        deployment=name,
        generation=rng.randint(1, 2),
        count=rng.randint(0, 6),
        placement=Placement(
            require_labels=tuple(
                map(parse_selector, rng.sample(SELECTORS, rng.choice([0, 0, 1, 2])))
            ),
            cpu_milli=rng.choice([0, 100, 700, 1500]),
            memory_bytes=rng.choice([0, 32, 128]) * MIB,
            slots=rng.choice([1, 1, 2]),
            spread=tuple(_spreads(rng)),
            together=tuple(rng.sample(others, rng.choice([0, 0, 0, 1, 2]))),
            apart=tuple(rng.sample(others, rng.choice([0, 0, 0, 1, 2]))),
            per_host_max=rng.choice([0, 0, 1, 2]),
            tolerate=tuple(map(parse_selector, rng.sample(TOLERATE, rng.choice([0, 0, 1, 2])))),
        ),
        interfaces=tuple(rng.sample(["a:b/c", *INTERFACES], rng.choice([0, 0, 1, 2]))),
        needs=("replicas@1", "jobs@1") if rng.random() < 0.3 else ("replicas@1",),
        avoid={host.id: f"trap {rng.randint(1, 2)}\nmore" for host in some if rng.random() < 0.7},
        keep_max={host.id: 0 for host in some if rng.random() < 0.2},
    )


def _spreads(rng: random.Random) -> list[Spread]:
    keys = rng.sample(["zone", "rack"], rng.choice([0, 0, 1, 1, 2]))
    return [
        Spread(
            key=key,
            max_skew=rng.choice([1, 1, 2]),
            is_hard=rng.random() < 0.8,
            domains_min=rng.choice([0, 0, 2, 3]),
        )
        for key in keys
    ]


# --- the rules ------------------------------------------------------------------------------


def faults(
    world: Situation, demand: Demand, host: Candidate, dropped: Constraint | None = None
) -> list[Constraint]:
    """Return all that keeps one more replica of the demand away from the host, in order."""
    here = world.counts.get(host.id, {})
    asked = demand.placement
    found: list[Constraint] = [*_own_faults(demand, host)]
    there = {name for (name, _), count in here.items() if count}
    found += [("together", name) for name in asked.together if name not in there]
    found += [("apart", name) for name in asked.apart if name in there]
    for name in sorted(there - {demand.deployment}):
        owners = [other for other in world.demands if other.deployment == name]
        if any(demand.deployment in other.placement.apart for other in owners):
            found.append(("apart", f"of {name}"))
    for spread in asked.spread:
        if spread.is_hard and not _spread_allows(world, demand, host, spread, dropped):
            found.append(("spread", spread.key))
    if asked.per_host_max and here.get(demand.key, 0) >= asked.per_host_max:
        found.append(("per-host", ""))
    by_key = {other.key: other.placement for other in world.demands}
    for kind, size in (
        ("slots", lambda p: p.slots),
        ("cpu", lambda p: p.cpu_milli),
        ("memory", lambda p: p.memory_bytes),
    ):
        total = {
            "slots": host.capacity.slots,
            "cpu": host.capacity.cpu_milli,
            "memory": host.capacity.memory_bytes,
        }[kind]
        used = sum(size(by_key[key]) * count for key, count in here.items())
        if size(asked) and used + size(asked) > total:
            found.append((kind, ""))
    return [each for each in found if each != dropped]


def _own_faults(demand: Demand, host: Candidate) -> list[Constraint]:
    found: list[Constraint] = []
    if host.state != "ready":
        found.append((host.state, ""))
    found += [("feature", need) for need in demand.needs if need not in host.features]
    for kind, holds in (
        ("cordoned", host.is_cordoned),
        ("draining", host.is_draining),
        ("frozen", host.is_frozen),
        ("failed", host.id in demand.avoid),
        ("leaving", host.id in demand.keep_max),
    ):
        if holds:
            found.append((kind, ""))
    for taint in host.taints:
        if not any(
            selector.key == taint.key and _meets(selector, taint.value)
            for selector in demand.placement.tolerate
        ):
            found.append(("taint", f"{taint.key}={taint.value}".rstrip("=")))
    for selector in demand.placement.require_labels:
        if not _meets(selector, host.labels.get(selector.key)):
            found.append(("label", str(selector)))
    for wanted in demand.interfaces:
        if not any(_stands_for(offer, wanted) for offer in host.interfaces):
            found.append(("interface", wanted))
    return found


def _meets(selector: Selector, value: str | None) -> bool:
    match selector.operator:
        case "in":
            return value in selector.values
        case "notin":
            return value not in selector.values
        case "absent":
            return value is None
        case "exists":
            return value is not None
        case ">":
            return value is not None and value.isdigit() and int(value) > int(selector.values[0])
        case _:
            raise AssertionError(selector)


def _stands_for(offer: str, wanted: str) -> bool:
    base, _, version = wanted.partition("@")
    offered_base, _, offered = offer.partition("@")
    if base != offered_base or not version:
        return base == offered_base
    width = 2 if version.startswith("0.") else 1
    return version.split(".")[:width] == offered.split(".")[:width]


def _spread_allows(
    world: Situation,
    demand: Demand,
    host: Candidate,
    spread: Spread,
    dropped: Constraint | None,
) -> bool:
    if spread.key not in host.labels:
        return False
    per_domain: dict[str, int] = {}
    open_domains: set[str] = set()
    for other in world.hosts:
        domain = other.labels.get(spread.key)
        if domain is None:
            continue
        own = world.counts.get(other.id, {}).get(demand.key, 0)
        per_domain[domain] = per_domain.get(domain, 0) + own
        blocking = [f for f in _own_faults(demand, other) if f[0] not in PASSING and not _ends(f)]
        if not [f for f in blocking if f != dropped]:
            open_domains.add(domain)
    sizes = [per_domain[domain] for domain in open_domains]
    if len(sizes) < spread.domains_min:
        sizes.append(0)
    return per_domain[host.labels[spread.key]] + 1 - min(sizes, default=0) <= spread.max_skew


def _ends(fault: Constraint) -> bool:
    """Tell whether a taint is that of a host which is held off for a while."""
    return fault[0] == "taint" and fault[1].split("=")[0] == "lattice/flapping"


def relaxed(world: Situation, demand: Demand) -> dict[Constraint, int]:
    """Return for each constraint how many hosts only without it take one more replica."""
    refused = [host for host in world.hosts if faults(world, demand, host)]
    constraints = {fault for host in refused for fault in faults(world, demand, host)}
    found: dict[Constraint, int] = {}
    for constraint in constraints:
        if constraint[0] in FIXED:
            continue
        open_hosts = [host for host in refused if not faults(world, demand, host, constraint)]
        if open_hosts:
            found[constraint] = len(open_hosts)
    return found
