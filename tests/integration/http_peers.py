"""Servers that say exactly what a test has them say, and names that resolve to them."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.abc
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

PATIENCE_S = 20.0
"""Seconds after which a test gives up on a fact."""


class Peer:
    """One connection, as the server has it."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self._buffer = BufferedByteReceiveStream(stream)

    async def head(self) -> str:
        """Return the next head, lower case; raises `anyio.EndOfStream` when there is none."""
        found = await self._buffer.receive_until(b"\r\n\r\n", 1 << 20)
        return found.decode("latin-1").lower()

    async def until(self, mark: bytes) -> bytes:
        return await self._buffer.receive_until(mark, 1 << 26)

    async def exactly(self, count: int) -> bytes:
        return await self._buffer.receive_exactly(count)

    async def say(self, data: bytes) -> None:
        await self.stream.send(data)

    async def left(self) -> None:
        """Return when the client has closed."""
        with contextlib.suppress(
            anyio.EndOfStream, anyio.BrokenResourceError, anyio.IncompleteRead
        ):
            while True:
                await self._buffer.receive()

    def reset(self) -> None:
        """Have the close break the connection instead of ending it."""
        raw = self.stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@contextlib.asynccontextmanager
async def serving(
    talk: Callable[[Peer], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve on a free port of the loopback, and yield it."""

    async def handle(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            with contextlib.suppress(
                anyio.EndOfStream, anyio.BrokenResourceError, anyio.IncompleteRead
            ):
                await talk(Peer(stream))

    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port: int = plain.extra(anyio.abc.SocketAttribute.local_port)
    listener = plain if tls is None else TLSListener(plain, tls, standard_compatible=False)
    async with plain, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield port
        group.cancel_scope.cancel()


def answer(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def each_request(peer: Peer, say: bytes) -> None:
    """Answer each request without a body the same."""
    while True:
        await peer.head()
        await peer.say(say)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to; each lookup of a name that is asked takes its answer as it is then."""
    found: dict[str, list[str]] = {}
    system = socket.getaddrinfo

    def lookup(host: object, port: object, *args: object, **more: object) -> object:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name.replace(".", "").isdigit() or ":" in name:
            return system(host, port, *args, **more)  # type: ignore[arg-type]  # passed on as it is
        if name not in found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port or 0))
            for each in found[name]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return found
