"""Outgoing requests share connections, wait for a place, and leave nothing behind."""

from __future__ import annotations

import anyio
import pytest

from hosts.engine.webvalues import Timeouts
from hosts.http.egress import Egress
from hosts.http.outgoing import EgressLimits
from lattice.model.egress import parse_http_grant
from tests.integration.http_asking import (
    LOOPBACK,
    Parts,
    anyio_backend,
    code_of,
    egress,
    get,
    refusal,
    whole,
)
from tests.integration.http_peers import PATIENCE_S, Peer, answer, each_request, names, serving

__all__ = ["anyio_backend", "names"]  # fixtures


async def test_a_thousand_requests_share_a_few_connections():
    connections = [0]

    async def talk(peer: Peer) -> None:
        connections[0] += 1
        await each_request(peer, answer(b"x" * 100))

    limits = EgressLimits(connections=8, idle_connections=8, requests_per_instance=1000)
    async with serving(talk) as port, egress(*LOOPBACK, limits=limits) as outlet:
        calls = [outlet.begin(get(port, f"/{number}")) for number in range(1000)]
        assert {len(await whole(call)) for call in calls} == {100}
    assert connections[0] <= 8


async def test_more_names_than_there_are_places_for_lookups_are_looked_up_in_turn(names):
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"x", "connection: close"))

    limits = EgressLimits(connections=100, requests_per_instance=100)
    async with serving(talk) as port, egress("*:*", *LOOPBACK, limits=limits) as outlet:
        for number in range(100):
            names[f"n{number}.test"] = ["127.0.0.1"]
        calls = [outlet.begin(get(port, host=f"n{number}.test")) for number in range(100)]
        assert {await whole(call) for call in calls} == {b"x"}


async def test_a_kept_connection_that_was_closed_is_replaced():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"once"))

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        for _ in range(5):
            assert await whole(outlet.begin(get(port))) == b"once"


async def test_a_kept_connection_that_ends_under_a_request_is_tried_again_only_where_that_is_safe():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"first"))
        await peer.head()  # and then no answer

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        await whole(outlet.begin(get(port)))
        assert await whole(outlet.begin(get(port))) == b"first"
        assert await code_of(outlet.begin(get(port, method="POST"))) == "connection-terminated"


async def test_a_connection_on_which_something_unasked_for_came_is_not_used_again():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer(b"mine") + answer(b"smuggled"))
        await peer.left()

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        assert await whole(outlet.begin(get(port))) == b"mine"
        assert await whole(outlet.begin(get(port))) == b"mine"


async def test_requests_wait_for_a_place_and_give_up_in_time():
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.left()

    limits = EgressLimits(connections=1)
    async with serving(talk) as port, egress(*LOOPBACK, limits=limits) as outlet:
        first = outlet.begin(get(port))
        await anyio.wait_all_tasks_blocked()
        second = outlet.begin(get(port, timeouts=Timeouts(connect_s=0.01)))
        assert await code_of(second) == "connection-limit-reached"
        first.cancel()


async def test_an_instance_has_a_limit_of_requests_under_way():
    async def talk(peer: Peer) -> None:
        await each_request(peer, answer(b"x"))

    limits = EgressLimits(requests_per_instance=2)
    async with serving(talk) as port, egress(*LOOPBACK, limits=limits) as outlet:
        calls = [outlet.begin(get(port)), outlet.begin(get(port))]
        assert refusal(outlet, get(port)) == "connection-limit-reached"
        for call in calls:
            await whole(call)
        await whole(outlet.begin(get(port)))


async def test_a_request_that_is_given_up_closes_its_connection():
    left = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.left()
        left.set()

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port))
        await anyio.wait_all_tasks_blocked()
        call.cancel()
        assert await code_of(call) == "connection-terminated"
        await left.wait()


async def test_the_end_of_a_workload_ends_its_requests_and_connections():
    left = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.left()
        left.set()

    async with serving(talk) as port:
        async with Egress() as whole_one:
            outlet = whole_one.outlet([parse_http_grant(LOOPBACK[0])], lambda *_: None)
            call = outlet.begin(get(port))
            await anyio.wait_all_tasks_blocked()
        assert await code_of(call) == "connection-terminated"
        with anyio.fail_after(PATIENCE_S):
            await left.wait()


@pytest.mark.parametrize("turns", range(0, 24, 2))
async def test_a_request_that_is_given_up_at_any_point_leaves_nothing_behind(turns):
    open_connections = [0]

    async def talk(peer: Peer) -> None:
        open_connections[0] += 1
        try:
            while True:
                await peer.head()
                await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                await peer.say(b"4\r\npart\r\n")
                await peer.until(b"0\r\n\r\n")
                await peer.say(b"0\r\n\r\n")
        finally:
            open_connections[0] -= 1

    limits = EgressLimits(connections=1)
    async with serving(talk) as port, egress(*LOOPBACK, limits=limits) as outlet:
        call = outlet.begin(get(port, method="POST"), Parts(b"a", b"b"))
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        call.cancel()
        # The only place is free again: another request is served.
        assert await whole(outlet.begin(get(port, method="POST"), Parts(b"c"))) == b"part"
        outlet.close()
    assert open_connections == [0]


async def test_the_next_address_of_a_name_is_tried_when_nobody_is_at_the_first(names):
    async def talk(peer: Peer) -> None:
        await each_request(peer, answer(b"second"))

    names["two.test"] = ["127.0.0.2", "127.0.0.1"]  # the server listens on the other one only
    async with serving(talk) as port, egress("two.test:*", *LOOPBACK) as outlet:
        assert await whole(outlet.begin(get(port, host="two.test"))) == b"second"
