"""Servers that answer wrongly, late, or not at all: each fault has its error code."""

from __future__ import annotations

import socket

import anyio
import pytest

from hosts.engine.webvalues import EgressError, Timeouts
from hosts.http.base import HttpError
from hosts.http.outgoing import EgressLimits
from tests.integration.http_asking import (
    LOOPBACK,
    QUICK,
    Faucet,
    Parts,
    anyio_backend,
    code_of,
    egress,
    get,
    whole,
)
from tests.integration.http_peers import Peer, serving

__all__ = ["anyio_backend"]  # a fixture


async def test_nobody_there_is_refused():
    async with serving(lambda _: anyio.lowlevel.checkpoint()) as port:
        pass
    async with egress(*LOOPBACK) as outlet:
        assert await code_of(outlet.begin(get(port))) == "connection-refused"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", "connection-terminated"),
        (b"HTTP/1.1 200 OK\r\nconte", "HTTP-response-incomplete"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "HTTP-response-incomplete"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
            "HTTP-response-incomplete",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "HTTP-protocol-error"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "HTTP-response-transfer-coding"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP-protocol-error",
        ),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", "HTTP-protocol-error"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "HTTP-protocol-error"),
        (
            b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
            "HTTP-response-header-section-size",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000,
            "HTTP-response-body-size",
        ),
    ],
)  # fmt: skip
async def test_what_is_no_response_is_an_error_of_its_own(said, code):
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(said)

    async with (
        serving(talk) as port,
        egress(*LOOPBACK, limits=EgressLimits(response_bytes=1000)) as outlet,
    ):
        assert await code_of(outlet.begin(get(port))) == code


async def test_a_reset_in_the_body_leaves_what_came_before_it():
    read = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        await read.wait()
        peer.reset()

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port))
        assert await call.read(100) == b"half"
        read.set()
        assert await code_of(call) in ("connection-terminated", "HTTP-response-incomplete")


async def test_servers_that_do_not_answer_or_do_not_go_on_are_given_up():
    async def talk(peer: Peer) -> None:
        if "/half" in await peer.head():
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        await peer.left()

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        assert await code_of(outlet.begin(get(port, timeouts=QUICK))) == "connection-read-timeout"
        slow = Timeouts(between_bytes_s=0.05)
        call = outlet.begin(get(port, "/half", timeouts=slow))
        assert await call.read(100) == b"half"
        assert await code_of(call) == "connection-read-timeout"


async def test_a_server_that_takes_nothing_is_given_up_and_the_body_is_not_read_ahead():
    body = Faucet()
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and reads nothing
        port = server.getsockname()[1]
        async with egress(*LOOPBACK) as outlet:
            slow = Timeouts(between_bytes_s=0.05)
            call = outlet.begin(get(port, method="POST", timeouts=slow), body)
            assert await code_of(call) == "connection-write-timeout"
    assert body.read_bytes < 64 * 2**20


async def test_a_response_that_nobody_reads_is_not_taken_in():
    sent = [0]

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await peer.say(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent[0] += 65536

    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        call = outlet.begin(get(port))
        await call.answered()
        await anyio.wait_all_tasks_blocked()
        assert sent[0] < 64 * 2**20
        before = sent[0]
        while sent[0] == before:
            assert await call.read(1 << 20)


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ((), lambda: Parts(b"x" * 600, b"x" * 600), "HTTP-request-body-size"),
        (((b"content-length", b"2"),), lambda: Parts(b"too long"), "HTTP-request-body-size"),
        (((b"content-length", b"20"),), lambda: Parts(b"too short"), "HTTP-request-body-size"),
        ((), lambda: Parts(b"x", then=HttpError("dropped")), "HTTP-protocol-error"),
    ],
)
async def test_bodies_that_are_not_what_was_announced_break_the_request_off(headers, body, code):
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.left()

    async with (
        serving(talk) as port,
        egress(*LOOPBACK, limits=EgressLimits(request_bytes=1000)) as outlet,
    ):
        head = get(port, method="POST", headers=headers)
        assert await code_of(outlet.begin(head, body())) == code


async def test_whatever_a_server_says_becomes_a_response_or_an_error_of_http(rng):
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nz: a\r\n\r\n"
    )
    good = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n" + chunked,
        b"HTTP/1.0 404 Not Found\r\nconnection: close\r\n\r\nhello",
    )
    said = [b""]

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(said[0])

    codes: set[str] = set()
    async with serving(talk) as port, egress(*LOOPBACK) as outlet:
        for _ in range(150):
            mutant = bytearray(rng.choice(good))
            for _ in range(rng.randrange(4)):
                at = rng.randrange(len(mutant))
                mutant[at : at + rng.randrange(3)] = rng.choice(
                    (b"\r\n", b"\0", b"\xff", b"9", b":", b" ", b"", rng.choice(good))
                )
            said[0] = bytes(mutant)
            try:
                await whole(outlet.begin(get(port)))
            except EgressError as error:
                codes.add(error.code)
    assert codes
    assert "internal-error" not in codes
