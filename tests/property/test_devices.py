"""Devices over random fleets: the board against a plain reading of its definition, and the cache
against none."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice.model.host import Device
from lattice.model.scheduling import DeviceRequest
from scheduler.placement.devices import (
    Taken,
    choose,
    fitting,
    needed_devices,
    needed_milli,
    taken_of,
    unsuited,
)
from scheduler.placement.gpu import IMPOSSIBLE, UNKNOWN_ONE_OF, WEIGHT_ONE, Asked, Board, Mix

ONE = 1 << 20
GIB = 1 << 30

requests = st.one_of(
    st.builds(DeviceRequest, count=st.integers(1, 3)),
    st.builds(
        DeviceRequest,
        share_milli=st.sampled_from([100, 300, 500, 600]),
        memory_bytes=st.sampled_from([0, 4 * GIB, 12 * GIB]),
        is_exclusive=st.booleans(),
        require=st.sampled_from(["", 'vendor == "nvidia"', "memory >= 16Gi"]),
        prefer=st.sampled_from([(), ('vendor == "amd"',)]),
    ),
)
classes = st.builds(
    Asked,
    st.one_of(st.just(()), st.tuples(requests), st.tuples(requests, requests)),
    st.sampled_from([0, 500, 4000]),
    st.sampled_from([0, 8 * GIB]),
    st.just(1),
)
fleets = st.lists(
    st.lists(
        st.builds(
            Device,
            id=st.just(""),
            vendor=st.sampled_from(["nvidia", "amd"]),
            memory_bytes=st.sampled_from([8 * GIB, 24 * GIB]),
            is_healthy=st.sampled_from([True, True, True, False]),
            is_software=st.sampled_from([False, False, False, True]),
        ),
        max_size=4,
    ),
    min_size=1,
    max_size=5,
)
cases = st.tuples(
    fleets,
    st.dictionaries(classes, st.integers(1, 50), min_size=1, max_size=5),
    st.lists(st.integers(0, 99), min_size=1, max_size=25),
)


def named(fleet):
    return [
        tuple(
            Device(**{name: getattr(d, name) for name in d.__slots__} | {"id": f"d{i}"})
            for i, d in enumerate(devices)
        )
        for devices in fleet
    ]


def capacity_of(hosts):
    return np.array([[8000] * len(hosts), [32 * GIB] * len(hosts), [10] * len(hosts)], np.int64)


def played(case, *, is_cached):
    """Place arrivals of the mix one by one; return what was decided, with the scores."""
    fleet, expected, arrivals = case
    hosts = named(fleet)
    free = capacity_of(hosts)
    board = Board(hosts, free.copy(), Mix(expected), is_cached=is_cached)
    decided = []
    for number in arrivals:
        asked = sorted(expected, key=repr)[number % len(expected)]
        scores = board.scores(asked, free).copy()
        row = int(scores.argmax())
        decided.append((scores.tolist(), row))
        if scores[row] > IMPOSSIBLE:
            decided.append(board.take(asked, row, free))
            free[:, row] -= (asked.cpu_milli, asked.memory_bytes, asked.slots)
            if number % 7 == 0:
                board.give_back(row, decided[-1])
                free[:, row] += (asked.cpu_milli, asked.memory_bytes, asked.slots)
    return decided, board, hosts, free


@settings(max_examples=80, deadline=None)
@given(cases)
def test_decisions_with_and_without_the_cache_are_the_same(case):
    assert played(case, is_cached=True)[0] == played(case, is_cached=False)[0]


@settings(max_examples=80, deadline=None)
@given(cases)
def test_no_device_is_ever_granted_beyond_what_it_has(case):
    decided, board, hosts, _ = played(case, is_cached=True)
    for row, devices in enumerate(hosts):
        for device in devices:
            held = board.taken(row).get(device.id, Taken())
            assert 0 <= held.milli <= 1000
            assert 0 <= held.memory_bytes <= device.memory_bytes
            assert device.is_healthy or held == Taken()
    for grants in decided:
        if isinstance(grants, tuple) and grants and hasattr(grants[0], "device"):
            assert len({grant.device for grant in grants}) == len(grants)


@settings(max_examples=80, deadline=None)
@given(cases)
def test_a_score_is_possible_where_the_rule_says_so(case):
    _, board, hosts, free = played(case, is_cached=True)
    for asked in case[1]:
        scores = board.scores(asked, free)
        for row, devices in enumerate(hosts):
            has_room = (free[:, row] >= (asked.cpu_milli, asked.memory_bytes, asked.slots)).all()
            fits = fitting(asked.devices, devices, board.taken(row), 1) == 1
            assert (scores[row] > IMPOSSIBLE) == (has_room and fits)


def fragmented(mix, devices, taken, free):
    """Return the thousandths that the mix cannot use, weighted: the definition, read plainly."""
    left = {d.id: 1000 - taken.get(d.id, Taken()).milli for d in devices if d.is_healthy}
    total = sum(
        max(1, count * WEIGHT_ONE // sum(mix.values())) * sum(left.values())
        for count in mix.values()
    )
    for (asked, request), count in mix.items():
        weight = max(1, count * WEIGHT_ONE // sum(mix.values()))
        usable = [
            d
            for d in devices
            if unsuited(request, d) is None
            and left[d.id] >= needed_milli(request)
            and d.memory_bytes - taken.get(d.id, Taken()).memory_bytes >= request.memory_bytes
        ]
        has_room = all(free >= (asked.cpu_milli, asked.memory_bytes, asked.slots))
        if has_room and len(usable) >= needed_devices(request):
            total -= weight * sum(left[d.id] for d in usable)
    return total


@settings(max_examples=80, deadline=None)
@given(cases)
def test_a_score_is_the_fall_of_fragmentation_and_the_best_fit_term(case):
    single = {asked: n for asked, n in case[1].items() if len(asked.devices) == 1}
    _, board, hosts, free = played(case, is_cached=True)
    board = board_of(single, hosts, board)
    mix = merged(single)
    total = max(1, sum(max(1, n * WEIGHT_ONE // sum(mix.values())) for n in mix.values()))
    largest = max(1, 1000 * max(map(len, hosts)))
    for asked in single:
        (request,) = asked.devices
        scores = board.scores(asked, free)
        for row in np.flatnonzero(scores > IMPOSSIBLE):
            held, room = dict(board.taken(row)), free[:, row]
            before = fragmented(mix, hosts[row], held, room)
            best = []
            for only in range(len(hosts[row])):
                ways = hosts[row] if needed_devices(request) > 1 else hosts[row][only : only + 1]
                grants = choose((request,), ways, held)
                if grants is None:
                    continue
                after = dict(held)
                for device, more in taken_of(grants).items():
                    was = held.get(device, Taken())
                    after[device] = Taken(
                        was.milli + more.milli, was.memory_bytes + more.memory_bytes
                    )
                left = room - (asked.cpu_milli, asked.memory_bytes, asked.slots)
                fall = before - fragmented(mix, hosts[row], after, left)
                rest = sum(
                    1000 - after.get(d.id, Taken()).milli for d in hosts[row] if d.is_healthy
                )
                shares = rest * ONE // largest + int(left[0]) * ONE // 8000
                shares += int(left[1]) * ONE // (32 * GIB)
                granted = {d.id: d for d in hosts[row]}
                worth = sum(
                    ONE * (bool(request.prefer) and granted[g.device].vendor == "amd")
                    for g in grants
                )
                best.append(worth + fall * ONE // (1000 * total) - shares // (3 * UNKNOWN_ONE_OF))
            assert scores[row] == max(best)


def merged(expected):
    """Return the classes with their counts, those that need the same of hosts as one."""
    groups = {}
    for asked, count in expected.items():
        (request,) = asked.devices
        need = (request.require, request.memory_bytes, needed_milli(request))
        line = (need, needed_devices(request), asked.cpu_milli, asked.memory_bytes)
        first, total = groups.get(line, ((asked, request), 0))
        groups[line] = (first, total + count)
    return dict(groups.values())


def board_of(expected, hosts, like):
    board = Board(hosts, capacity_of(hosts), Mix(expected))
    for row in range(len(hosts)):
        board._taken[row] = dict(like.taken(row))
        board._refresh(row)
    return board
