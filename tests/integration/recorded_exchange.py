"""An exchange without a connection: it gives a request to a handler and keeps the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import anyio

from hosts.http.base import Headers, HttpError, RequestHead


class RecordedExchange:
    """One request and what was answered to it; see `hosts.http.base.Exchange`.

    Without `parts` the whole body is there at the beginning. The client leaves when `leave` is
    called, and takes what is written only while `takes` is set.
    """

    def __init__(
        self,
        target: str = "/",
        *,
        method: str = "GET",
        authority: str = "localhost:8080",
        headers: Headers = (),
        body: bytes = b"",
        parts: Iterable[bytes] | None = None,
        trailers: Headers = (),
        keeps: bool = True,
    ) -> None:
        self.head = RequestHead(method, "http", authority, target, headers, "127.0.0.1")
        self.body = body if parts is None else None
        self.trailers = trailers
        self.status = 0
        self.headers: Headers = ()
        self.received = bytearray()
        self.received_bytes = 0
        self.writes: list[bytes] = []
        self.informed: list[tuple[int, Headers]] = []
        self.sent_trailers: Headers | None = None
        self.is_whole = False
        self.read_bytes = 0
        self.takes = anyio.Event()
        self.takes.set()
        self.begun = anyio.Event()
        self._parts: Iterator[bytes] = iter(() if parts is None else parts)
        self._keeps = keeps
        self._left = anyio.Event()

    def leave(self) -> None:
        """Have the client go away."""
        self._left.set()

    async def read(self, limit_bytes: int) -> bytes:
        """Return the next part, which is to be no longer than `limit_bytes`."""
        await anyio.lowlevel.checkpoint()
        self._require_client()
        part = next(self._parts, b"")
        assert len(part) <= limit_bytes, "a part fits"
        self.read_bytes += len(part)
        return part

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Take a whole answer."""
        self._take_head(status, headers)
        self._take(body)
        self.is_whole = True

    async def begin(self, status: int, headers: Headers) -> None:
        """Take the head of an answer."""
        self._require_client()
        self._take_head(status, headers)

    async def write(self, data: bytes) -> None:
        """Take a part of an answer, when the client takes any."""
        await self.takes.wait()
        self._require_client()
        if self._keeps:
            self.writes.append(data)
        self._take(data)

    async def finish(self, trailers: Headers = ()) -> None:
        """Take the end of an answer."""
        self.sent_trailers = trailers
        self.is_whole = True

    async def inform(self, status: int, headers: Headers) -> None:
        """Take an informational answer."""
        self.informed.append((status, headers))

    async def closed(self) -> None:
        """Return when the client has left."""
        await self._left.wait()

    def _take_head(self, status: int, headers: Headers) -> None:
        assert not self.status, "one answer for each request"
        self.status, self.headers = status, list(headers)
        self.begun.set()

    def _take(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self._keeps:
            self.received += data

    def _require_client(self) -> None:
        if self._left.is_set():
            raise HttpError("the client left")
