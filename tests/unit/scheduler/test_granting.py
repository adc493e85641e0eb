"""Devices in whole plans: who is granted what, what stays, and what is said when none is left."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lattice.model.host import Capacity, Device
from lattice.model.ids import DeploymentName, HostId
from lattice.model.scheduling import DeviceRequest, Placement, Spread
from lattice.wire.messages import DeviceGrant
from scheduler.placement.devices import taken_of
from scheduler.placement.model import Candidate, Changes, Demand
from scheduler.placement.plan import State, plan, plan_anew


def host(name, *devices, **facts):
    capacity = Capacity(cpu_milli=8000, memory_bytes=32 << 30, slots=100)
    own = tuple(d if isinstance(d, Device) else Device(id=d) for d in devices)
    return Candidate(
        **{"id": HostId(name), "labels": {}, "interfaces": (), "capacity": capacity,
           "devices": own} | facts
    )  # fmt: skip


def demand(name, count, *requests, **facts):
    placement = Placement(devices=requests, cpu_milli=100, **facts.pop("placement", {}))
    return Demand(
        deployment=DeploymentName(name), generation=1, count=count, placement=placement, **facts
    )


def share(milli, **facts):
    return DeviceRequest(share_milli=milli, **facts)


def flat(grants):
    return {
        (host, key[0], grant.ordinal, grant.device, grant.share_milli)
        for host, by_key in grants.items()
        for key, each in by_key.items()
        for grant in each
    }


def begun(demands, hosts):
    return plan(
        State.empty(),
        Changes(
            hosts={each.id: each for each in hosts}, demands={each.key: each for each in demands}
        ),
    )


def test_each_replica_is_granted_a_device_with_room_for_its_share():
    made = plan_anew([demand("web", 3, share(600))], [host("a", "x", "y"), host("b", "z")], {})
    assert made.unplaced == ()
    assert flat(made.grants) == {
        ("a", "web", 0, "x", 600), ("a", "web", 1, "y", 600), ("b", "web", 0, "z", 600)
    }  # fmt: skip


def test_what_finds_no_device_is_unplaced_and_says_how_much_was_free():
    made = plan_anew(
        [demand("web", 3, share(600))], [host("a", "x"), host("b", "y"), host("c")], {}
    )
    (unplaced,) = made.unplaced
    assert unplaced.count == 1
    assert unplaced.text.startswith("0/3 hosts: ")
    assert "1 of 1 devices will do, the most free has 400 of 600 thousandths" in unplaced.text


def test_a_share_goes_where_it_breaks_least():
    """Two whole devices are expected too: the share must not break the host that has them."""
    hosts = [host("a", "x", "y"), host("b", "z")]
    demands = [demand("small", 1, share(300)), demand("pair", 1, DeviceRequest(count=2))]
    assert flat(plan_anew(demands, hosts, {}).grants) == {
        ("a", "pair", 0, "x", 1000), ("a", "pair", 0, "y", 1000), ("b", "small", 0, "z", 300)
    }  # fmt: skip


def test_demands_with_devices_get_the_cores_beside_them_first():
    hosts = [host("a", "x")]
    plain = Demand(
        deployment=DeploymentName("a-plain"), generation=1, count=80,
        placement=Placement(cpu_milli=100),
    )  # fmt: skip
    made = plan_anew([plain, demand("web", 1, DeviceRequest(count=1))], hosts, {})
    assert flat(made.grants) == {("a", "web", 0, "x", 1000)}
    assert [(each.deployment, each.count) for each in made.unplaced] == [("a-plain", 1)]


def test_nothing_changes_without_a_change_and_grants_stay_when_others_come():
    hosts = [host("a", "x", "y"), host("b", "z")]
    state, first = begun([demand("web", 2, share(500))], hosts)
    again, second = plan(state, Changes())
    assert second.grants == first.grants
    assert second.changed == frozenset()
    more = demand("more", 1, share(500))
    _, third = plan(again, Changes(demands={more.key: more}))
    assert flat(first.grants) < flat(third.grants)


def test_a_replica_leaves_a_device_that_fails_and_another_stays():
    hosts = [host("a", "x", "y"), host("b", "z")]
    state, first = begun([demand("web", 3, DeviceRequest(count=1))], hosts)
    broken = host("a", Device(id="x", is_healthy=False), Device(id="y"))
    _, second = plan(state, Changes(hosts={broken.id: broken}))
    assert sum(unplaced.count for unplaced in second.unplaced) == 1
    assert {(h, device) for h, _, _, device, _ in flat(second.grants)} == {("a", "y"), ("b", "z")}
    assert HostId("a") in second.changed
    assert first.unplaced == ()


def test_fewer_replicas_give_their_devices_back():
    hosts = [host("a", "x", "y")]
    state, _ = begun([demand("web", 2, DeviceRequest(count=1))], hosts)
    less, other = demand("web", 1, DeviceRequest(count=1)), demand("other", 1, share(900))
    _, made = plan(state, Changes(demands={less.key: less, other.key: other}))
    assert made.unplaced == ()
    assert flat(made.grants) == {("a", "web", 0, "x", 1000), ("a", "other", 0, "y", 900)}


def test_given_grants_are_kept_and_missing_ones_made():
    wanted = demand("web", 2, share(400))
    current = {HostId("a"): {wanted.key: 2}}
    held = {HostId("a"): {wanted.key: (DeviceGrant(ordinal=0, device="y", share_milli=400),)}}
    made = plan_anew([wanted], [host("a", "x", "y")], current, grants=held)
    assert flat(made.grants) == {("a", "web", 0, "y", 400), ("a", "web", 1, "y", 400)}
    assert made.assignments[HostId("a")] == {wanted.key: 2}


def test_daemons_with_devices_run_where_there_are_some():
    wanted = demand("agent", 0, share(100), per_host=1)
    made = plan_anew([wanted], [host("a", "x"), host("b")], {})
    assert flat(made.grants) == {("a", "agent", 0, "x", 100)}


requests = st.sampled_from(
    [(share(300),), (share(600),), (DeviceRequest(count=1),), (DeviceRequest(count=2),),
     (share(200), share(200)), ()]
)  # fmt: skip
worlds = st.tuples(
    st.lists(st.integers(0, 4), min_size=1, max_size=5),
    st.lists(st.tuples(requests, st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_plans_with_devices_are_exact_idempotent_and_independent_of_order(world):
    sizes, wanted, rng = world
    hosts = [
        host(f"h{at}", *(f"d{device}" for device in range(size))) for at, size in enumerate(sizes)
    ]
    demands = [
        demand(f"w{at}", count, *asked, placement={"per_host_max": most})
        for at, (asked, count, most) in enumerate(wanted)
    ]
    state, made = begun(demands, hosts)
    for candidate in hosts:
        by_key = made.grants.get(candidate.id, {})
        for held in taken_of(grant for each in by_key.values() for grant in each).values():
            assert 0 < held.milli <= 1000
        for key, count in made.assignments[candidate.id].items():
            asked = next(each for each in demands if each.key == key).placement.devices
            devices = sum(max(request.count, 1) for request in asked)
            assert len(by_key.get(key, ())) == devices * count
    assert plan(state, Changes())[1].grants == made.grants
    again = plan_anew(demands, hosts, made.assignments, grants=made.grants)
    assert (again.assignments, again.grants) == (made.assignments, made.grants)
    rng.shuffle(hosts)
    rng.shuffle(demands)
    assert begun(demands, hosts)[1].grants == made.grants


def test_one_on_every_host_is_wanted_on_those_hosts_that_have_the_device():
    hosts = [host("a", "x"), host("b"), host("c", "y"), host("d", Device(id="z", kind="npu"))]
    made = plan_anew([demand("monitor", 0, share(100), per_host=1)], hosts, {})
    assert made.unplaced == ()
    assert {grant[0] for grant in flat(made.grants)} == {"a", "c"}
    busy = demand("busy", 1, DeviceRequest(count=1), placement={"priority": 9})
    made = plan_anew([busy, demand("monitor", 0, share(100), per_host=1)], hosts[:2], {})
    assert [(each.deployment, each.count) for each in made.unplaced] == [("monitor", 1)]


def test_a_zone_without_devices_does_not_hold_back_a_hard_spread():
    hosts = [
        host("a", "x", "y", labels={"zone": "1"}),
        host("b", "z", "w", labels={"zone": "2"}),
        host("c", labels={"zone": "3"}),
    ]
    spread = (Spread(key="zone", is_hard=True),)
    made = plan_anew([demand("web", 4, share(600), placement={"spread": spread})], hosts, {})
    assert made.unplaced == ()
    assert {name: dict(counts) for name, counts in made.assignments.items()} == {
        "a": {("web", 1): 2}, "b": {("web", 1): 2}, "c": {}
    }  # fmt: skip
