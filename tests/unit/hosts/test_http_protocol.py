"""A connection whose bytes arrive in parts of any size, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hosts.http.base import Exchange
from hosts.http.limits import Limits
from hosts.http.protocol import Connection
from hosts.http.service import Service
from lattice.errors import InvalidError

STREAM = (
    b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
    b"POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
    b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n"
    b"\r\nHEAD /d HTTP/1.1\r\nhost: a\r\n\r\n"
)
SEEN = ["GET /a ", "POST /b hello", "POST /c hello", "HEAD /d "]


class HandClock:
    """A clock that stands until it is moved."""

    now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s


class Recorder(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_reading_now = True
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert low is not None

    def pause_reading(self) -> None:
        assert self.is_reading_now
        self.is_reading_now = False

    def resume_reading(self) -> None:
        assert not self.is_reading_now
        self.is_reading_now = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


class World:
    def __init__(self, limits: Limits, tasks: anyio.abc.TaskGroup) -> None:
        self.seen: list[str] = []
        self.clock = HandClock()
        self.service = Service(
            handler=self.handle,
            limits=limits,
            clock=self.clock,
            start=lambda connection: tasks.start_soon(connection.run),
        )
        self.connection = Connection(self.service, scheme="http")
        self.transport = Recorder()
        self.connection.connection_made(self.transport)

    async def handle(self, exchange: Exchange) -> None:
        body = b""
        while part := await exchange.read(4):
            body += part
        self.seen.append(f"{exchange.head.method} {exchange.head.target} {body.decode()}")
        exchange.answer(200, (), b"x" * len(self.seen))

    async def arrives(self, data: bytes) -> None:
        if data:
            self.connection.data_received(data)
        await self.settled()

    async def settled(self) -> None:
        """Let the connection's task do all it can without its client."""
        for _ in range(8):
            await checkpoint()

    async def passes(self, duration_s: float) -> None:
        self.clock.now_s += duration_s
        self.connection.check(self.clock.now_s)
        await self.settled()


@asynccontextmanager
async def world(limits: Limits | None = None) -> AsyncIterator[World]:
    async with anyio.create_task_group() as tasks:
        made = World(limits or Limits(), tasks)
        await made.settled()
        yield made
        tasks.cancel_scope.cancel()


async def whole_answer() -> bytes:
    async with world() as one:
        await one.arrives(STREAM)
        assert one.seen == SEEN
        return one.transport.written


async def test_requests_are_the_same_wherever_they_are_cut():
    expected = await whole_answer()
    for cut in range(1, len(STREAM)):
        async with world() as one:
            await one.arrives(STREAM[:cut])
            await one.arrives(STREAM[cut:])
            assert (one.seen, one.transport.written) == (SEEN, expected)


async def test_requests_are_the_same_byte_by_byte():
    async with world() as one:
        for place in range(len(STREAM)):
            await one.arrives(STREAM[place : place + 1])
        assert (one.seen, one.transport.written) == (SEEN, await whole_answer())


@pytest.mark.parametrize("cut", range(1, 20))
async def test_a_bare_line_feed_is_refused_as_soon_as_it_comes(cut):
    raw = b"GET / HTTP/1.1\r\nX\n"
    async with world() as one:
        await one.arrives(raw[:cut])
        await one.arrives(raw[cut:])
        assert one.transport.written.startswith(b"HTTP/1.1 400 ")
        assert one.seen == []


async def test_a_head_must_come_within_its_time_from_its_first_byte():
    async with world(Limits(head_timeout_s=10, idle_timeout_s=60)) as one:
        await one.passes(50)
        await one.arrives(b"GET ")
        await one.passes(9)
        await one.arrives(b"/ HTTP/1.1\r\n")
        assert one.transport.written == b""
        await one.passes(1)
        assert one.transport.written.startswith(b"HTTP/1.1 408 ")


async def test_empty_lines_do_not_keep_a_connection():
    async with world(Limits(head_timeout_s=10, idle_timeout_s=60)) as one:
        for _ in range(6):
            await one.arrives(b"\r\n")
            await one.passes(9.9)
        await one.passes(1)
        assert one.transport.calls == ["close"]


async def test_an_idle_connection_is_closed_without_a_word():
    async with world(Limits(idle_timeout_s=60)) as one:
        await one.passes(59)
        assert one.transport.calls == []
        await one.passes(1)
        assert one.transport.written == b""
        assert one.transport.calls == ["close"]


async def test_a_body_must_come_at_its_rate_only_while_it_is_waited_for():
    limits = Limits(body_rate_bytes_s=10, body_rate_grace_s=5, body_timeout_s=30)
    async with world(limits) as one:
        await one.arrives(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(20):
            await one.passes(1)
            await one.arrives(b"x" * 10)
        assert one.transport.written == b""
        await one.passes(3)
        await one.arrives(b"x")
        assert one.transport.written.startswith(b"HTTP/1.1 408 ")


async def test_reading_stops_while_enough_lies_here():
    limits = Limits(head_bytes_max=1000, read_buffer_bytes=1000)
    may_read = anyio.Event()
    async with world(limits) as one:
        read = one.handle

        async def late(exchange: Exchange) -> None:
            await may_read.wait()
            await read(exchange)

        one.service.handler = late
        await one.arrives(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000\r\n\r\n")
        await one.arrives(b"x" * 999)
        assert one.transport.is_reading_now
        await one.arrives(b"x")
        assert not one.transport.is_reading_now
        may_read.set()
        await one.settled()
        assert one.transport.is_reading_now
        await one.arrives(b"x" * 1000)
        assert one.seen == ["POST / " + "x" * 2000]


def test_limits_that_cannot_be_kept_are_refused_all_at_once():
    with pytest.raises(InvalidError) as refusal:
        Limits(linger_s=0, headers_max=-1, read_buffer_bytes=10)
    assert len(refusal.value.faults) == 3
