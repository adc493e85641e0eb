"""Outgoing requests over TLS, and lookups and handshakes that take too long."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
import trustme

from hosts.engine.webvalues import Timeouts
from tests.integration.http_asking import (
    LOOPBACK,
    anyio_backend,
    code_of,
    egress,
    get,
    whole,
)
from tests.integration.http_peers import PATIENCE_S, Peer, answer, each_request, names, serving

__all__ = ["anyio_backend", "names"]  # fixtures


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls_names_the_host_and_keeps_the_connection(authority, names):
    asked: list[str | None] = []
    connections = [0]

    async def talk(peer: Peer) -> None:
        connections[0] += 1
        await each_request(peer, answer(b"secret" * 10000))

    context = server_tls(authority, "api.test")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    names["api.test"] = ["127.0.0.1"]
    async with (
        serving(talk, context) as port,
        egress("https://api.test:*", "127.0.0.1:*", tls=client_tls(authority)) as outlet,
    ):
        for _ in range(3):
            call = outlet.begin(get(port, host="api.test", scheme="https"))
            assert await whole(call) == b"secret" * 10000
    assert (asked, connections) == (["api.test"], [1])


async def test_a_tls_server_may_end_the_connection_with_the_body(authority, caplog):
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"secret" * 10000)

    async with (
        serving(talk, server_tls(authority, "127.0.0.1")) as port,
        egress(*LOOPBACK, tls=client_tls(authority)) as outlet,
    ):
        for _ in range(2):
            assert await whole(outlet.begin(get(port, scheme="https"))) == b"secret" * 10000
    assert caplog.records == []


async def test_a_certificate_of_another_name_or_authority_is_refused(authority, names):
    async def talk(peer: Peer) -> None:
        await peer.head()

    names["api.test"] = ["127.0.0.1"]
    allowed = ("https://api.test:*", "127.0.0.1:*")
    for issuer, name in ((authority, "other.test"), (trustme.CA(), "api.test")):
        async with (
            serving(talk, server_tls(issuer, name)) as port,
            egress(*allowed, tls=client_tls(authority)) as outlet,
        ):
            call = outlet.begin(get(port, host="api.test", scheme="https"))
            assert await code_of(call) == "TLS-certificate-error"


async def test_who_does_not_agree_on_tls_in_time_is_given_up(authority):
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and says nothing
        port = server.getsockname()[1]
        async with egress(*LOOPBACK, tls=client_tls(authority)) as outlet:
            quick = Timeouts(connect_s=0.05)
            call = outlet.begin(get(port, scheme="https", timeouts=quick))
            assert await code_of(call) == "connection-timeout"


async def test_a_name_that_is_not_looked_up_in_time_is_given_up(monkeypatch):
    go = threading.Event()

    def lookup(*_: object, **__: object) -> list[object]:
        go.wait(PATIENCE_S)
        return []

    async with egress("slow.test:*") as outlet:
        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        quick = Timeouts(connect_s=0.05)
        call = outlet.begin(get(80, host="slow.test", timeouts=quick))
        assert await code_of(call) == "DNS-timeout"
        go.set()


async def test_a_server_without_tls_is_a_tls_error(authority):
    async def talk(peer: Peer) -> None:
        await peer.say(answer(b"plain"))
        await peer.left()

    async with (
        serving(talk) as port,
        egress(*LOOPBACK, tls=client_tls(authority)) as outlet,
    ):
        call = outlet.begin(get(port, scheme="https"))
        assert await code_of(call) == "TLS-protocol-error"
