"""A client of HTTP/1.1 that keeps its connection, and asks for what a test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import anyio
import h11
from anyio.abc import SocketStream

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection at a time to one address; a new one when the server closed the last."""

    def __init__(self, port: int, *, host: str = "") -> None:
        self.port = port
        self._host = host or "127.0.0.1"
        self._stream: SocketStream | None = None
        self._wire = h11.Connection(h11.CLIENT)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None

    async def get(self, target: str = "/", *, host: str = "", method: str = "GET") -> Reply:
        return await self.ask(target, host=host, method=method)

    async def ask(
        self,
        target: str = "/",
        *,
        host: str = "",
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Reply:
        """Return the answer. What is lost on the way is raised, nothing is tried again."""
        with anyio.fail_after(PATIENCE_S):
            await self._connect()
            fields = [("host", host or self._host), *headers]
            if body:
                fields.append(("content-length", str(len(body))))
            await self._send(h11.Request(method=method, target=target, headers=fields))
            if body:
                await self._send(h11.Data(data=body))
            await self._send(h11.EndOfMessage())
            return await self._reply()

    async def begin(self, target: str, first: bytes) -> None:
        """Return when the first part of a body that goes on came back from what echoes it."""
        with anyio.fail_after(PATIENCE_S):
            await self._connect()
            fields = [("host", self._host), ("transfer-encoding", "chunked")]
            await self._send(h11.Request(method="POST", target=target, headers=fields))
            await self._send(h11.Data(data=first))
            event = await self._next()
            assert isinstance(event, h11.Response)
            assert event.status_code == 200
            event = await self._next()
            assert isinstance(event, h11.Data)
            assert bytes(event.data) == first

    async def end(self, last: bytes) -> bytes:
        """Send the rest of the body and return what comes back."""
        with anyio.fail_after(PATIENCE_S):
            await self._send(h11.Data(data=last))
            await self._send(h11.EndOfMessage())
            parts: list[bytes] = []
            while isinstance(event := await self._next(), h11.Data):
                parts.append(bytes(event.data))
            assert isinstance(event, h11.EndOfMessage)
            return b"".join(parts)

    async def _connect(self) -> None:
        if self._stream is None or self._wire.our_state is not h11.IDLE:
            await self.close()
            self._stream = await anyio.connect_tcp("127.0.0.1", self.port)
            self._wire = h11.Connection(h11.CLIENT)

    async def _send(self, event: h11.Event) -> None:
        assert self._stream is not None
        data = self._wire.send(event)
        if data:
            await self._stream.send(data)

    async def _reply(self) -> Reply:
        head: h11.Response | None = None
        parts: list[bytes] = []
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                break
        assert head is not None
        if self._wire.our_state is h11.DONE and self._wire.their_state is h11.DONE:
            self._wire.start_next_cycle()
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return Reply(head.status_code, headers, b"".join(parts))

    async def _next(self) -> h11.Event:
        assert self._stream is not None
        while True:
            event = self._wire.next_event()
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionError("the server closed the connection in place of an answer")
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type)
                return event
            try:
                self._wire.receive_data(await self._stream.receive())
            except anyio.EndOfStream:
                self._wire.receive_data(b"")
