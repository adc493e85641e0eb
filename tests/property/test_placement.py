"""Placement against random fleets: what every plan must satisfy, checked by brute force."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from lattice.model.host import Capacity
from lattice.model.ids import DeploymentName, HostId
from lattice.model.labels import Selector, parse_selector
from lattice.model.scheduling import Placement
from scheduler.placement.model import Candidate, Counts, Demand, Key, Plan
from scheduler.placement.plan import plan_anew

MIB = 1 << 20
SELECTORS = tuple(
    parse_selector(text) for text in ("zone = eu", "zone in (us, ap)", "!spot", "cores > 4", "gpu")
)
INTERFACES = ("wasi:keyvalue/store@0.2.0", "wasi:messaging/producer@0.2.3")

labels = st.fixed_dictionaries(
    {},
    optional={
        "zone": st.sampled_from(["eu", "us", "ap"]),
        "spot": st.just("yes"),
        "cores": st.sampled_from(["2", "8", "many"]),
        "gpu": st.just(""),
    },
)


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    return [
        Candidate(
            id=HostId(f"host-{number}"),
            labels=draw(labels),
            interfaces=tuple(draw(st.sets(st.sampled_from(INTERFACES)))),
            capacity=Capacity(
                cpu_milli=draw(st.integers(0, 4000)),
                memory_bytes=draw(st.integers(0, 512)) * MIB,
                slots=draw(st.integers(0, 6)),
            ),
            state=draw(st.sampled_from(["ready", "ready", "ready", "lost", "silent"])),
            is_cordoned=draw(st.integers(0, 5)) == 0,
            is_frozen=draw(st.integers(0, 7)) == 0,
        )
        for number in range(draw(st.integers(0, 6)))
    ]


@st.composite
def demands(draw: st.DrawFn) -> list[Demand]:
    return [
        Demand(
            deployment=DeploymentName(f"app-{number}"),
            generation=draw(st.integers(1, 2)),
            count=draw(st.integers(0, 6)),
            placement=Placement(
                require_labels=tuple(draw(st.lists(st.sampled_from(SELECTORS), max_size=2))),
                cpu_milli=draw(st.sampled_from([0, 100, 700, 1500])),
                memory_bytes=draw(st.sampled_from([0, 32, 128])) * MIB,
            ),
            interfaces=tuple(draw(st.sets(st.sampled_from(INTERFACES), max_size=1))),
            avoid={HostId("host-0"): "trap"} if draw(st.booleans()) else {},
            is_kept_only=draw(st.integers(0, 4)) == 0,
        )
        for number in range(draw(st.integers(0, 5)))
    ]


@st.composite
def assignments(draw: st.DrawFn, wanted: list[Demand], hosts: list[Candidate]) -> Counts:
    """What may stand: anything at all, also on hosts that are gone and of demands that are."""
    keys = [demand.key for demand in wanted] + [(DeploymentName("gone"), 1)]
    ids = [host.id for host in hosts] + [HostId("host-gone")]
    chosen = draw(
        st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(keys), st.integers(1, 3)))
    )
    current: dict[HostId, dict[Key, int]] = {}
    for host, key, count in chosen:
        current.setdefault(host, {})[key] = count
    return current


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Demand], list[Candidate], Counts]:
    hosts, wanted = draw(candidates()), draw(demands())
    return wanted, hosts, draw(assignments(wanted, hosts))


def used(made: Plan, wanted: list[Demand], host: HostId) -> tuple[int, int, int]:
    by_key = {demand.key: demand for demand in wanted}
    counts = made.assignments[host].items()
    return (
        sum(n * by_key[key].placement.cpu_milli for key, n in counts),
        sum(n * by_key[key].placement.memory_bytes for key, n in counts),
        sum(n for _, n in counts),
    )


def refuses(demand: Demand, host: Candidate, taken: tuple[int, int, int]) -> bool:
    """The rules once more, written independently of the filters."""
    cpu, memory, slots = taken
    return (
        host.state != "ready"
        or host.is_cordoned
        or host.is_frozen
        or host.id in demand.avoid
        or any(not matches(selector, host) for selector in demand.placement.require_labels)
        or any(wanted not in host.interfaces for wanted in demand.interfaces)
        or slots + 1 > host.capacity.slots
        or (
            demand.placement.cpu_milli > 0
            and cpu + demand.placement.cpu_milli > host.capacity.cpu_milli
        )
        or (
            demand.placement.memory_bytes > 0
            and memory + demand.placement.memory_bytes > host.capacity.memory_bytes
        )
    )


def matches(selector: Selector, host: Candidate) -> bool:
    value = host.labels.get(selector.key)
    match selector.operator:
        case "in":
            return value in selector.values
        case "absent":
            return value is None
        case "exists":
            return value is not None
        case ">":
            return value is not None and value.isdigit() and int(value) > int(selector.values[0])
        case _:
            raise AssertionError(selector)


@settings(max_examples=150, deadline=None)
@given(situations())
def test_no_host_is_overfull(
    situation: tuple[list[Demand], list[Candidate], Counts],
) -> None:
    wanted, hosts, current = situation
    made = plan_anew(wanted, hosts, current)
    for host in hosts:
        if host.is_frozen:
            continue  # What it has cannot be changed now, whatever it is.
        cpu, memory, slots = used(made, wanted, host.id)
        assert slots <= host.capacity.slots
        sizes = [d for d in wanted if made.assignments[host.id].get(d.key)]
        assert cpu <= host.capacity.cpu_milli or not any(d.cpu_milli for d in sizes)
        assert memory <= host.capacity.memory_bytes or not any(d.memory_bytes for d in sizes)


@settings(max_examples=100, deadline=None)
@given(situations(), st.randoms(use_true_random=False))
def test_order_of_the_input_does_not_matter(
    situation: tuple[list[Demand], list[Candidate], Counts], shuffle: random.Random
) -> None:
    wanted, hosts, current = situation
    made = plan_anew(wanted, hosts, current)
    other_hosts, other_wanted = list(hosts), list(wanted)
    shuffle.shuffle(other_hosts)
    shuffle.shuffle(other_wanted)
    other_current = dict(shuffle.sample(sorted(current.items()), len(current)))
    assert plan_anew(other_wanted, other_hosts, other_current) == made


@settings(max_examples=150, deadline=None)
@given(situations())
def test_plan_of_a_plan_changes_nothing(
    situation: tuple[list[Demand], list[Candidate], Counts],
) -> None:
    wanted, hosts, current = situation
    made = plan_anew(wanted, hosts, current)
    assert plan_anew(wanted, hosts, made.assignments).assignments == made.assignments


@settings(max_examples=150, deadline=None)
@given(situations())
def test_every_replica_is_assigned_or_unplaced(
    situation: tuple[list[Demand], list[Candidate], Counts],
) -> None:
    wanted, hosts, current = situation
    made = plan_anew(wanted, hosts, current)
    unplaced = {(u.deployment, u.generation): u.count for u in made.unplaced}
    frozen = {host.id for host in hosts if host.is_frozen and host.state != "lost"}
    for demand in wanted:
        placed = sum(counts.get(demand.key, 0) for counts in made.assignments.values())
        held = sum(current.get(host, {}).get(demand.key, 0) for host in frozen)
        if demand.is_kept_only:
            assert placed <= max(demand.count, held)
            assert demand.key not in unplaced
        else:
            assert placed + unplaced.get(demand.key, 0) == max(demand.count, held)


@settings(max_examples=150, deadline=None)
@given(situations())
def test_every_reason_is_true_and_counts_every_host_once(
    situation: tuple[list[Demand], list[Candidate], Counts],
) -> None:
    wanted, hosts, current = situation
    made = plan_anew(wanted, hosts, current)
    by_key = {demand.key: demand for demand in wanted}
    for unplaced in made.unplaced:
        demand = by_key[unplaced.deployment, unplaced.generation]
        assert all(refuses(demand, host, used(made, wanted, host.id)) for host in hosts)
        if hosts:
            assert unplaced.text.startswith(f"0/{len(hosts)} hosts: ")
            assert sum(int(reason.split(" ")[0]) for reason in unplaced.reasons) == len(hosts)


@settings(max_examples=100, deadline=None)
@given(situations())
def test_what_can_stay_stays(
    situation: tuple[list[Demand], list[Candidate], Counts],
) -> None:
    """With the same demands again, adding a host moves nothing."""
    wanted, hosts, current = situation
    made = plan_anew(wanted, hosts, current)
    joined = Candidate(
        id=HostId("host-new"), labels={"zone": "eu"}, interfaces=INTERFACES,
        capacity=Capacity(cpu_milli=64_000, memory_bytes=1 << 36),
    )  # fmt: skip
    after = plan_anew(wanted, [*hosts, joined], made.assignments)
    for host, counts in made.assignments.items():
        assert after.assignments[host] == counts
