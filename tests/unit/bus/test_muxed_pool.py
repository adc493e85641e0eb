"""In which order servers are tried, and how long a client waits before."""

from __future__ import annotations

from lattice.bus.muxed_pool import (
    ROUNDS_SHORT,
    WAIT_LATER_S,
    WAIT_LONG_S,
    WAIT_S,
    Server,
    ServerPool,
    read_server,
)


def pool(*urls: str) -> ServerPool:
    return ServerPool([read_server(url) for url in urls])


def tried(servers: ServerPool, count: int) -> list[str]:
    return [f"{server.host}:{server.port}" for server in (servers.next() for _ in range(count))]


def test_a_url_says_where_who_and_whose_certificate() -> None:
    assert read_server("tls://me:p%40ss@nats.example:4333") == Server(
        host="nats.example", port=4333, tls_name="nats.example", user="me", password="p@ss"
    )
    assert read_server("nats://t0ken@[::1]").fields() == {"auth_token": "t0ken"}
    assert read_server("host").address == ("host", 4222)


def test_every_server_is_tried_before_one_is_tried_again() -> None:
    servers = pool("a:1", "b:2", "c:3", "a:1")
    assert tried(servers, 5) == ["a:1", "b:2", "c:3", "a:1", "b:2"]


def test_servers_that_one_tells_of_come_first_and_show_its_certificate() -> None:
    servers = pool("nats.example:1")
    server = servers.next()
    servers.connected(server, ["10.0.0.1:1", "10.0.0.2:1", "nats.example:1", "::", ""])
    assert servers.next() == Server(host="10.0.0.1", port=1, tls_name="nats.example")
    assert tried(servers, 2) == ["10.0.0.2:1", "nats.example:1"]


def test_servers_that_are_told_of_no_more_are_forgotten_and_given_ones_are_not() -> None:
    servers = pool("a:1", "b:1")
    server = servers.next()
    servers.connected(server, ["c:1"])
    servers.learn(server, ["d:1"])
    assert sorted(tried(servers, 3)) == ["a:1", "b:1", "d:1"]
    servers.learn(server, [])
    assert len(servers) == 3


def test_waits_come_before_each_round_and_grow_while_all_are_away() -> None:
    servers = pool("a:1", "b:1")
    assert servers.wait_s(1.0) == WAIT_S[1]
    servers.next()
    assert servers.wait_s(1.0) == 0.0  # the other one of the same round
    servers.next()
    assert (servers.wait_s(0.0), servers.wait_s(1.0)) == WAIT_LATER_S
    for _ in range(2 * ROUNDS_SHORT):
        servers.next()
    assert (servers.wait_s(0.0), servers.wait_s(1.0)) == WAIT_LONG_S
    servers.connected(servers.next(), [])
    assert servers.wait_s(0.0) == WAIT_S[0]
