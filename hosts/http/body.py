"""Reads the body of one request off its connection, as a handler asks for it.

What nobody reads stays in the connection's buffer, so the client waits: that is the back-pressure.
Nothing here knows answers, but for the `100 Continue` that a first read sends.
"""

from __future__ import annotations

from typing import Protocol

from hosts.http.base import Headers
from hosts.http.chunked import ChunkedBody
from hosts.http.head import Head, RefusalError
from hosts.http.limits import Limits


class Source(Protocol):
    """The connection, as a body sees it."""

    buffer: bytearray

    async def more(self, *, is_body: bool) -> None:
        """Return when bytes arrived in the buffer.

        Raises:
            HttpError: none will come: the client left, or was too slow.
        """
        ...

    def was_taken(self) -> None:
        """Note that the buffer shrank: the client may be let send more."""
        ...

    def invite(self) -> None:
        """Send `100 Continue`, unless an answer has begun."""
        ...


class NoBody:
    """The body of a request that has none: the same for all."""

    is_complete = True
    is_awaited = False
    received_bytes = 0
    refusal: RefusalError | None = None
    trailers: Headers = ()

    def whole(self) -> bytes | None:
        """Return nothing, all of which is here."""
        return b""

    async def read(self, limit_bytes: int) -> bytes:
        """Return the end at once."""
        del limit_bytes  # as `RequestBody.read` has it
        return b""

    async def discard(self, bytes_max: int) -> bool:
        """Drop nothing."""
        del bytes_max  # as `RequestBody.discard` has it
        return True


NO_BODY = NoBody()


class RequestBody:
    """One body; one task at a time reads it."""

    __slots__ = (
        "_chunked",
        "_is_invited",
        "_left",
        "_next_refusal",
        "_ready",
        "_source",
        "received_bytes",
        "refusal",
    )

    def __init__(self, source: Source, head: Head, limits: Limits) -> None:
        self._source = source
        self._left = head.length or 0
        self._chunked = ChunkedBody(limits) if head.length is None else None
        self._is_invited = not head.expects_continue
        self._ready = b""  # decoded already, by `whole`
        self._next_refusal: RefusalError | None = None  # of what follows those chunks taken last
        self.received_bytes = 0
        self.refusal: RefusalError | None = None  # what came was no body, or too slow

    @property
    def is_complete(self) -> bool:
        """Tell whether all of it was taken off the connection."""
        return self._left == 0 if self._chunked is None else self._chunked.is_complete

    @property
    def is_awaited(self) -> bool:
        """Tell whether the client may still be waiting for `100 Continue`, having sent nothing."""
        return not self._is_invited and not self.is_complete and not self._source.buffer

    @property
    def trailers(self) -> Headers:
        """Return the trailers, complete once the end was read."""
        return () if self._chunked is None else self._chunked.trailers

    def whole(self) -> bytes | None:
        """Return all that was not read yet when it is here already, else None. It stays readable.

        Raises:
            RefusalError: what came is no chunked body.
        """
        if not self.is_complete:
            size_max = len(self._source.buffer)
            if self._chunked is None and size_max < self._left:
                return None
            parts = [self._ready]
            try:
                while part := self._take(size_max):
                    parts.append(part)
            except RefusalError as refusal:
                self.refusal = refusal
                raise
            finally:
                self._ready = b"".join(parts)
        return self._ready if self.is_complete else None

    async def read(self, limit_bytes: int) -> bytes:
        """Return the next 1 to `limit_bytes` bytes, `b""` at the end; see `Exchange.read`."""
        if self._ready:
            first, self._ready = self._ready[:limit_bytes], self._ready[limit_bytes:]
            return first
        try:
            while (data := self._take(limit_bytes)) is None:
                if not self._is_invited:
                    self._is_invited = True
                    if not self._source.buffer:
                        self._source.invite()
                await self._source.more(is_body=True)
        except RefusalError as refusal:
            self.refusal = refusal
            raise
        return data

    async def discard(self, bytes_max: int) -> bool:
        """Drop the rest; False when there is no telling where the next request begins.

        That is so when the rest is more than `bytes_max`, is no body, comes too slowly, or may
        never come because the client was not invited.

        Raises:
            HttpError: the client left.
        """
        self._ready = b""
        if self.is_complete:
            return True
        if self.refusal is not None or self.is_awaited or self._left > bytes_max:
            return False
        dropped = 0
        try:
            while data := await self.read(bytes_max):
                dropped += len(data)
                if dropped > bytes_max:
                    return False
        except RefusalError:
            return False
        return True

    def _take(self, limit_bytes: int) -> bytes | None:
        source = self._source
        data: bytes | None
        if self._chunked is not None:
            data = self._take_chunks(self._chunked, limit_bytes)
        elif self._left == 0:
            return b""
        elif not source.buffer:
            return None
        else:
            data = bytes(source.buffer[: min(limit_bytes, self._left)])
            del source.buffer[: len(data)]
            self._left -= len(data)
        source.was_taken()
        if data:
            self.received_bytes += len(data)
        return data

    def _take_chunks(self, chunked: ChunkedBody, limit_bytes: int) -> bytes | None:
        """Return what is here of several chunks at once: a client may send one for each byte, and
        each part that is handed on costs much more than a byte.
        """
        if self._next_refusal is not None:
            raise self._next_refusal
        first = chunked.take(self._source.buffer, limit_bytes)
        if not first or len(first) == limit_bytes or not self._source.buffer:
            return first
        parts, size = [first], len(first)
        try:
            while size < limit_bytes and (
                part := chunked.take(self._source.buffer, limit_bytes - size)
            ):
                parts.append(part)
                size += len(part)
        except RefusalError as refusal:
            self._next_refusal = refusal  # what came before it is handed out first
        return b"".join(parts)
