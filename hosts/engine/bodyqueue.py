"""A body on its way between a guest and the host: a bounded queue of bytes with an end.

One side is the guest, which never waits in here: it puts and takes what is possible, and is told by
`on_change` when that may have become more. The other side is a task, which waits for room or for
bytes. Nothing here knows HTTP beyond trailers and the numbers of its error-codes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from hosts.engine.errorcodes import TERMINATED, HttpFailure
from hosts.engine.webvalues import Headers

QUEUE_BYTES = 256 * 1024
"""What one body holds here at most, and a part of it more: enough to keep both sides busy."""

OVERFULL_BYTES = 2 * 1024 * 1024
"""Bytes in a queue that nobody reaches who looks at `room`: what is kept back before a request is
sent, 1 MiB, is put in at once."""

JOINED_BYTES_MAX = 4096
"""Parts that come one after the other are joined up to here: each takes some 300 bytes of memory
besides its own, so that a body in parts of one byte would take that many times its size."""


class BodyQueue:
    """Bytes of one body, in order."""

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = _ignore
        """Called when the guest may find something new; it must be quick."""
        self.trailers: Headers = ()
        """Complete when `is_ended`."""
        self.is_ended = False
        """Whether all bytes are in here."""
        self.error: HttpFailure | None = None
        """What broke the body off."""
        self._chunks: deque[memoryview] = deque()  # so that cutting one copies nothing
        self._size = 0
        self._is_discarding = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def room(self) -> int:
        """Return how many bytes are welcome now."""
        return max(0, QUEUE_BYTES - self._size)

    @property
    def is_overfull(self) -> bool:
        """Tell whether somebody puts in much more than is welcome."""
        return self._size >= OVERFULL_BYTES

    def is_ready(self, *, is_end: bool) -> bool:
        """Tell whether a guest that receives it finds something: bytes, or only its end."""
        return self.is_over or (not is_end and bool(self._chunks))

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will be put in."""
        return self.is_ended or self.error is not None

    # --- without waiting -----------------------------------------------------------------------

    def put(self, data: bytes) -> None:
        """Put bytes in, whether they are welcome or not."""
        if data and not self._is_discarding and not self.is_over:
            append(self._chunks, data)
            self._size += len(data)
            self._tell()

    def take(self, limit_bytes: int) -> bytes:
        """Return the next 1 to `limit_bytes` bytes, `b""` when there are none now."""
        taken: list[memoryview] = []
        left = limit_bytes
        while self._chunks and left > 0:
            chunk = self._chunks.popleft()
            if len(chunk) > left:
                self._chunks.appendleft(chunk[left:])
                chunk = chunk[:left]
            taken.append(chunk)
            left -= len(chunk)
        if not taken:
            return b""
        self._size -= limit_bytes - left
        self._tell()
        return b"".join(taken)

    def end(self, trailers: Headers = ()) -> None:
        """Say that the body is complete."""
        if not self.is_over:
            self.trailers = trailers
            self.is_ended = True
            self._tell()

    def fail(self, error: HttpFailure = TERMINATED) -> None:
        """Say that the body broke off behind what is in here; without effect when it is over."""
        if not self.is_over:
            self.error = error
            self._tell()

    def discard(self) -> None:
        """Drop what is in here and what will come."""
        self._is_discarding = True
        self._chunks.clear()
        self._size = 0
        self._tell()

    # --- waiting -------------------------------------------------------------------------------

    async def wait_for_room(self) -> None:
        """Return when bytes are welcome, or the body broke off."""
        while self.room == 0 and self.error is None:
            await self._changed()

    async def get(self, limit_bytes: int) -> bytes:
        """Return the next bytes as `take`, when they are there; `b""` at the end and on errors."""
        while not self._chunks and not self.is_over:
            await self._changed()
        return self.take(limit_bytes)

    async def _changed(self) -> None:
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _tell(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self.on_change()


def append(parts: deque[memoryview], data: bytes) -> None:
    """Add bytes behind what waits already; small ones become one part."""
    if parts and len(parts[-1]) + len(data) <= JOINED_BYTES_MAX:
        data = b"".join((parts.pop(), data))
    parts.append(memoryview(data))


def _ignore() -> None:
    """Nobody waits."""
