"""Devices of one host: what fits, what is granted, and the reason when nothing is."""

from __future__ import annotations

import pytest

from lattice.model.host import Device
from lattice.model.scheduling import DeviceRequest
from lattice.wire.messages import DeviceGrant
from scheduler.placement.devices import (
    DeviceLack,
    Taken,
    choose,
    fitting,
    is_standing,
    lack_of_devices,
    suffices,
    taken_of,
)

GIB = 1 << 30


def gpu(name, **facts):
    return Device(**{"id": name, "vendor": "nvidia", "memory_bytes": 24 * GIB} | facts)


def share(milli, **facts):
    return DeviceRequest(share_milli=milli, **facts)


def whole(count, **facts):
    return DeviceRequest(count=count, **facts)


def place(requests, devices, times):
    """Grant up to `times` replicas one after the other; return what each got."""
    grants = []
    for ordinal in range(times):
        held = taken_of(grant for each in grants for grant in each)
        found = choose(requests, devices, held, ordinal)
        if found is None:
            break
        grants.append(found)
    return grants


TWO = (gpu("a"), gpu("b"))


def test_two_shares_of_600_never_fit_one_device():
    assert fitting((share(600),), TWO, {}, 10) == 2
    assert fitting((share(600),), TWO[:1], {}, 10) == 1
    lack = lack_of_devices((share(600),), TWO[:1], {"a": Taken(600, 0)})
    assert lack == DeviceLack(
        "1 of 1 devices will do, the most free has 400 of 600 thousandths", 400
    )


def test_halves_of_two_devices_are_no_whole_one():
    held = {"a": Taken(500, 0), "b": Taken(1, 0)}
    assert choose((whole(1),), TWO, held) is None
    assert lack_of_devices((whole(1),), TWO, held) == DeviceLack(
        "2 of 2 devices will do, 0 of them free as a whole, needs 1", 0
    )


def test_memory_is_that_of_one_device():
    asked = share(100, memory_bytes=16 * GIB)
    assert fitting((asked,), TWO, {}, 10) == 2
    lack = lack_of_devices((asked,), TWO, {"a": Taken(100, 16 * GIB), "b": Taken(0, 12 * GIB)})
    assert lack == DeviceLack(
        "2 of 2 devices will do, the most free has 12Gi of 16Gi memory", 12 * GIB
    )


def test_a_whole_device_comes_with_all_of_its_memory():
    assert choose((whole(2),), TWO, {}, 7) == (
        DeviceGrant(ordinal=7, device="a", share_milli=1000, memory_bytes=24 * GIB),
        DeviceGrant(ordinal=7, device="b", share_milli=1000, memory_bytes=24 * GIB),
    )


def test_an_exclusive_share_leaves_nothing_of_its_device():
    exclusive = share(200, is_exclusive=True)
    (first,) = choose((exclusive,), TWO, {"a": Taken(1, 0)})
    assert (first.device, first.share_milli) == ("b", 1000)
    assert choose((exclusive,), TWO, {"a": Taken(1, 0), "b": Taken(200, 0)}) is None


def test_shares_fill_the_fullest_device_that_has_room():
    (grant,) = choose((share(300),), TWO, {"b": Taken(500, 0)})
    assert grant.device == "b"
    (grant,) = choose((share(600),), TWO, {"b": Taken(500, 0)})
    assert grant.device == "a"


def test_unhealthy_devices_are_never_granted():
    devices = (gpu("a", is_healthy=False), gpu("b"))
    assert fitting((share(500),), devices, {}, 10) == 2
    assert lack_of_devices((whole(2),), devices, {}) == DeviceLack(
        "1 of 2 devices will do, needs 2: 1 unhealthy"
    )


def test_software_adapters_only_where_they_are_allowed_and_last():
    devices = (gpu("cpu", is_software=True), gpu("z"))
    assert fitting((whole(1),), devices, {}, 10) == 1
    allowing = whole(1, allows_software=True)
    assert [grants[0].device for grants in place((allowing,), devices, 5)] == ["z", "cpu"]


def test_an_expression_decides_which_devices_will_do():
    devices = (*(gpu(f"n{i}") for i in range(2)), *(gpu(f"m{i}", vendor="amd") for i in range(6)))
    asked = share(600, require='vendor == "nvidia" and memory >= 8Gi')
    assert fitting((asked,), devices, {}, 10) == 2
    held = {"n0": Taken(600, 0), "n1": Taken(700, 0)}
    assert lack_of_devices((asked,), devices, held) == DeviceLack(
        "2 of 8 devices will do, the most free has 400 of 600 thousandths", 400
    )
    assert lack_of_devices((whole(3, require='vendor == "nvidia"'),), devices, {}) == DeviceLack(
        '2 of 8 devices will do, needs 3: 6 vendor="amd", needs vendor == "nvidia"',
        is_standing=True,
    )


def test_preferred_attributes_come_before_a_tight_fit():
    devices = (gpu("a", features=("f16",)), gpu("b"))
    asked = share(300, prefer=('"f16" in features',))
    assert choose((asked,), devices, {"b": Taken(500, 0)})[0].device == "a"
    assert choose((asked,), devices, {"a": Taken(800, 0)})[0].device == "b"


def test_what_a_device_has_counts_not_what_is_free_for_its_class():
    asked = whole(1, memory_bytes=40 * GIB)
    assert lack_of_devices((asked,), TWO, {}) == DeviceLack(
        "0 of 2 devices will do, needs 1: 2 with 24Gi of memory, needs 40Gi", is_standing=True
    )
    assert lack_of_devices((DeviceRequest(kind="npu", count=1),), TWO, {}) == DeviceLack(
        "no device of class npu", is_standing=True
    )


def test_requests_of_one_replica_get_different_devices_if_there_is_any_way():
    devices = (gpu("a"), gpu("b", vendor="amd"))
    any_one, nvidia = share(100), share(100, require='vendor == "nvidia"')
    for requests in ((any_one, nvidia), (nvidia, any_one)):
        grants = choose(requests, devices, {"a": Taken(800, 0)})
        by_request = dict(zip(requests, (grant.device for grant in grants), strict=True))
        assert by_request == {any_one: "b", nvidia: "a"}
    lack = lack_of_devices((nvidia, nvidia), devices, {})
    text = "each request finds devices, but not 2 different ones for all"
    assert lack == DeviceLack(text, is_standing=True)


def test_a_lack_stands_when_nobody_who_leaves_would_end_it():
    held = {"a": Taken(1000, 24 * GIB), "b": Taken(1000, 24 * GIB)}
    asking = {(whole(2),): False, (whole(3),): True, (whole(1), whole(1, memory_bytes=GIB)): False}
    for requests, stands in asking.items():
        lack = lack_of_devices(requests, TWO, held)
        assert (lack.is_standing, suffices(requests, TWO)) == (stands, not stands)
    broken = (gpu("a", is_healthy=False),)
    assert not lack_of_devices((whole(1),), broken, {}).is_standing, "it may be healthy again"


def test_a_demand_without_devices_always_fits():
    assert fitting((), (), {}, 5) == 5
    assert choose((), (), {}) == ()
    assert lack_of_devices((), (), {}) is None


@pytest.mark.parametrize(
    ("requests", "taken", "count"),
    [
        ((share(400),), {"a": Taken(300, 0)}, 3),
        ((whole(1),), {"a": Taken(1, 0)}, 1),
        ((share(600), share(400)), {}, 2),
        ((share(10, memory_bytes=10 * GIB),), {"b": Taken(0, 5 * GIB)}, 3),
    ],
)
def test_as_many_fit_as_can_be_granted_one_after_the_other(requests, taken, count):
    assert fitting(requests, TWO, taken, 100) == count
    held, given = dict(taken), 0
    while (grants := choose(requests, TWO, held)) is not None:
        given += 1
        for device, more in taken_of(grants).items():
            before = held.get(device, Taken())
            held[device] = Taken(before.milli + more.milli, before.memory_bytes + more.memory_bytes)
    assert given == count


def test_a_grant_stands_while_its_devices_are_there_and_healthy():
    grants = choose((whole(1), share(100)), TWO, {})
    assert is_standing((whole(1), share(100)), TWO, grants)
    assert is_standing((whole(1), share(100)), (*TWO, gpu("c")), grants)
    assert not is_standing((whole(1), share(100)), TWO[:1], grants)
    assert not is_standing((whole(1), share(100)), (TWO[0], gpu("b", is_healthy=False)), grants)
    assert not is_standing((whole(1), share(100)), TWO, grants[:1])
    assert is_standing((), (), ())
