"""A NATS server of a few lines whose misbehaviour a test decides: what a real one does only when it
is broken, overloaded or about to end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from lattice.testing import eventually

LINE_BYTES_MAX = 1 << 16


class ScriptedServer:
    """Greets clients and answers pings, as long as it is let; `lines` are what it heard, over all
    clients, without PING."""

    def __init__(self, port: int) -> None:
        self.url = f"nats://127.0.0.1:{port}"
        self.clients = 0
        self.lines: list[str] = []
        self.answers_pings = True
        self.reads = True
        self.info: dict[str, object] = {"headers": True, "max_payload": 1 << 20}
        self._stream: anyio.abc.SocketStream | None = None

    async def say(self, text: bytes) -> None:
        """Send bytes to the newest client."""
        assert self._stream is not None, "a client is there"
        await self._stream.send(text)

    async def say_info(self, **fields: object) -> None:
        """Tell the newest client something new of itself."""
        await self.say(b"INFO " + json.dumps(self.info | fields).encode() + b"\r\n")

    async def cut_off(self) -> None:
        """End the connection of the newest client."""
        assert self._stream is not None, "a client is there"
        await self._stream.aclose()

    async def heard(self, line: str) -> None:
        """Return when a client has sent a line that begins so."""
        await eventually(lambda: any(one.startswith(line) for one in self.lines), what=line)

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self.clients += 1
        received = BufferedByteReceiveStream(stream)
        async with stream:
            try:
                await self.say_info()
                while True:
                    line = (await received.receive_until(b"\r\n", LINE_BYTES_MAX)).decode()
                    if line == "PING":
                        if self.answers_pings:
                            await stream.send(b"PONG\r\n")
                        continue
                    self.lines.append(line)
                    if not self.reads:
                        await anyio.sleep_forever()
                    if line.startswith("PUB "):
                        await received.receive_exactly(int(line.rpartition(" ")[2]) + 2)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                return
            except anyio.ClosedResourceError:
                return


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """Yield a server on a port of its own."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        server = ScriptedServer(int(listener.extra(anyio.abc.SocketAttribute.local_port)))
        tasks.start_soon(listener.serve, server.handle)
        yield server
        tasks.cancel_scope.cancel()
