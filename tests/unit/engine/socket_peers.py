"""The sockets of an instance, and peers on this machine for them to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from hosts.engine.network.errors import SocketError
from hosts.engine.network.loopback import Loopback
from hosts.engine.network.machine import SocketAddress
from hosts.engine.network.table import INTERESTS, READ, STATE, WRITE, Sockets
from lattice.model.network import NOTHING, Network, parse_endpoint, parse_listen, parse_pattern

FOR_EVER = 2**64 - 1
HERE = "127.0.0.1"


def address(host: str, port: int) -> SocketAddress:
    return SocketAddress(ipaddress.ip_address(host), port)


def granted(*connect: str, listen: str = "", lookup: str = "") -> Network:
    return Network(
        connect=tuple(map(parse_endpoint, connect)),
        listen=(parse_listen(listen),) if listen else (),
        lookup=(parse_pattern(lookup),) if lookup else (),
    )


def code(function: Callable[..., object], *args: object, **named: object) -> str:
    with pytest.raises(SocketError) as caught:
        function(*args, **named)
    return caught.value.code


@pytest.fixture
def lines() -> list[str]:
    return []


New = Callable[..., Sockets]


@pytest.fixture
async def new(lines: list[str]) -> AsyncIterator[New]:
    """Return what makes the sockets of an instance."""
    made: list[Sockets] = []

    def make(network: Network = NOTHING, loopback: Loopback | None = None) -> Sockets:
        made.append(
            Sockets(network, loopback or Loopback(), lambda _level, line: lines.append(line))
        )
        return made[-1]

    yield make
    for each in made:
        each.close_all()


Serve = Callable[..., Awaitable[int]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return what serves connections of the machine, and returns the port."""
    servers: list[asyncio.Server] = []

    async def start(handler: Handler) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await handler(reader, writer)
            writer.close()

        server = await asyncio.start_server(handle, HERE, 0)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()


async def wait(sockets: Sockets, number: int, kind: int) -> None:
    with anyio.fail_after(10):
        while not sockets.is_ready(number * INTERESTS + kind):
            await sockets.wait([number * INTERESTS + kind], FOR_EVER)


async def connect(sockets: Sockets, port: int, host: str = HERE) -> int:
    number = sockets.create(4)
    sockets.tcp(number).start_connect(address(host, port))
    await wait(sockets, number, STATE)
    sockets.tcp(number).finish_connect()
    return number


def listen(sockets: Sockets, host: str = HERE, port: int = 0, backlog: int = 0) -> tuple[int, int]:
    number = sockets.create(4)
    listener = sockets.tcp(number)
    if backlog:
        listener.set_option("listen-backlog-size", backlog)
    listener.start_bind(address(host, port))
    listener.finish_bind()
    listener.start_listen()
    listener.finish_listen()
    return number, listener.local.port


async def receive(sockets: Sockets, number: int, length: int) -> bytes:
    """Return exactly so many bytes."""
    data = b""
    while len(data) < length:
        await wait(sockets, number, READ)
        part = sockets.tcp(number).stream.receive(length - len(data))
        assert part is not None, f"the end after {len(data)} bytes"
        data += part
    return data


async def send(sockets: Sockets, number: int, data: bytes) -> None:
    while data:
        await wait(sockets, number, WRITE)
        part = data[: sockets.tcp(number).stream.offered()]
        sockets.send(number, part)
        data = data[len(part) :]


def sockets_open() -> int:
    return sum(
        os.readlink(entry.path).startswith("socket:")
        for entry in os.scandir("/proc/self/fd")
        if os.path.islink(entry.path)
    )


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="open sockets are counted in /proc"
)


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Give the port of a listener that answers nobody, since its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HERE, 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
