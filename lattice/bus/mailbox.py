"""A bounded queue between who delivers and who iterates, for one event loop.

The deliverer never waits: what does not fit is dropped and counted, because a slow reader must
not stop the connection that all others share. It knows nothing of what it carries
but its size.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio

from lattice.bus.base import Packet

T = TypeVar("T")

BYTES_MAX = 64 * 1024 * 1024
"""Bytes that wait in one box whose items have a size: a slow reader of large messages must not
take the memory of the process, whatever number of items it may be behind."""

_log = logging.getLogger(__name__)


def body_bytes(packet: Packet) -> int:
    """Return what a message counts in a box."""
    return len(packet.body)


class Mailbox(Generic[T]):
    """An async iterator over offered items, in their order; it ends when the box is closed.

    `limit` counts items; with `size_of`, which tells an item's bytes, `BYTES_MAX` holds too.
    `dropped` counts the items that found the box full. One reader at a time.
    """

    def __init__(self, name: str, *, limit: int, size_of: Callable[[T], int] | None = None) -> None:
        self.dropped = 0
        self._name = name
        self._limit = limit
        self._size_of = size_of
        self._bytes = 0
        self._items: deque[T] = deque()
        self._error: Exception | None = None
        self._is_closed = False
        self._reader: anyio.Event | None = None  # set to wake the reader that waits
        self.at_once: Callable[[T], bool] | None = None
        """Takes an item that comes while none waits, or returns False; it must raise nothing."""

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: T) -> bool:
        """Take an item and return True, or count it as dropped and return False."""
        if self._is_closed:
            return False
        if self.at_once is not None and not self._items and self.at_once(item):
            return True
        size = self._size_of(item) if self._size_of else 0
        if len(self._items) >= self._limit or (self._items and self._bytes + size > BYTES_MAX):
            self.dropped += 1
            if self.dropped == 1:
                _log.warning(
                    "%s is full with %d messages, %d bytes: further ones are dropped",
                    self._name, len(self._items), self._bytes,
                )  # fmt: skip
            return False
        self._items.append(item)
        self._bytes += size
        if self._reader is not None:
            self._wake()
        return True

    def take(self) -> T | None:
        """Return the next item if one waits, without letting others run."""
        return self._pop() if self._items else None

    def fail(self, error: Exception) -> None:
        """End the iteration with an error, after what waits has been read."""
        self._error = self._error or error
        self._wake()

    def close(self) -> None:
        """End the iteration now; what still waits is discarded."""
        self._is_closed = True
        self._items.clear()
        self._bytes = 0
        self._wake()

    def finish(self) -> None:
        """End the iteration after what waits has been read; nothing more is taken."""
        self._is_closed = True
        self._wake()

    def __aiter__(self) -> Mailbox[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._is_closed:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._reader = anyio.Event()
            await self._reader.wait()
        return self._pop()

    def _wake(self) -> None:
        if self._reader is not None:
            self._reader.set()
            self._reader = None

    def _pop(self) -> T:
        item = self._items.popleft()
        if self._size_of:
            self._bytes -= self._size_of(item)
        return item
