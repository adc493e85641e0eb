"""A server on a free port of this machine, and a client that sends bytes as they are."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.lowlevel import checkpoint

from hosts.http.base import Exchange, Handler
from hosts.http.limits import DEFAULT_LIMITS, Limits
from hosts.http.server import HttpServer
from hosts.http.tls import Certificate

ANSWER_TIMEOUT_S = 10.0

GET = b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n%b\r\nhello\n"
"""What `hello` answers, without its date; `%b` is the place of a `connection` line."""


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops that a host may run on: their transports differ."""
    return "asyncio", {"use_uvloop": request.param}


class Running:
    """A server at work, and its port."""

    def __init__(self, server: HttpServer, port: int) -> None:
        self.server = server
        self.port = port

    async def connect(self) -> SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self.port)

    async def talk(self, *parts: bytes, is_ended: bool = True) -> bytes:
        """Send each part by itself and return all that comes until the server closes."""
        async with await self.connect() as stream:
            for part in parts:
                await stream.send(part)
            if is_ended:
                await stream.send_eof()
            return await rest(stream)

    async def until(self, claim: str) -> None:
        """Wait until a claim about the server (`connections == 0`) holds."""
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            names = {"connections", "in_flight"}
            name, _, number = claim.split(" ")
            assert name in names
            while getattr(self.server, name) != int(number):
                await checkpoint()


async def rest(stream: SocketStream) -> bytes:
    """Return all that comes until the end, or a reset."""
    data = bytearray()
    with anyio.fail_after(ANSWER_TIMEOUT_S):
        try:
            async for part in stream:
                data += part
        except anyio.BrokenResourceError:
            data += b"<reset>"
    return bytes(data)


async def until_seen(stream: SocketStream, end: bytes) -> bytes:
    """Return what comes until `end` has come."""
    data = b""
    with anyio.fail_after(ANSWER_TIMEOUT_S):
        while end not in data:
            data += await stream.receive()
    return data


@asynccontextmanager
async def serving(
    handler: Handler,
    *,
    limits: Limits = DEFAULT_LIMITS,
    tls: Certificate | None = None,
    **options: object,
) -> AsyncIterator[Running]:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    port = listening.getsockname()[1]
    server = HttpServer(handler, limits=limits, **options)
    async with anyio.create_task_group() as tasks:
        if tls is None:
            await tasks.start(server.serve, [listening])
        else:
            await tasks.start(lambda task_status: server.serve(
                [], [listening], certificate=tls, task_status=task_status
            ))  # fmt: skip
        yield Running(server, port)
        tasks.cancel_scope.cancel()


def undated(answer: bytes) -> bytes:
    """Return answers without their `date` lines, which begin them in this server."""
    lines = answer.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(b"date: "))


async def hello(exchange: Exchange) -> None:
    exchange.answer(200, ((b"content-type", b"text/plain"),), b"hello\n")


async def echo(exchange: Exchange) -> None:
    """Answer with method, target, and the body as it was read."""
    body = b""
    while part := await exchange.read(65536):
        body += part
    head = exchange.head
    exchange.answer(200, (), f"{head.method} {head.target} ".encode() + body)
