"""A bounded queue between who delivers and who iterates, for one event loop.

The deliverer never waits: what does not fit is dropped and counted, because a slow reader must
not stop the connection that all others share. It holds no knowledge of what it carries.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Mailbox(Generic[T]):
    """An async iterator over offered items, in their order; it ends when the box is closed.

    `dropped` counts the items that found the box full. One reader at a time.
    """

    def __init__(self, name: str, *, limit: int) -> None:
        self.dropped = 0
        self._name = name
        self._limit = limit
        self._items: deque[T] = deque()
        self._error: Exception | None = None
        self._is_closed = False
        self._changed = anyio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: T) -> bool:
        """Take an item and return True, or count it as dropped and return False."""
        if self._is_closed:
            return False
        if len(self._items) >= self._limit:
            self.dropped += 1
            if self.dropped == 1:
                _log.warning("%s is full at %d: messages are dropped", self._name, self._limit)
            return False
        self._items.append(item)
        self._changed.set()
        return True

    def take(self) -> T | None:
        """Return the next item if one waits, without letting others run."""
        return self._items.popleft() if self._items else None

    def fail(self, error: Exception) -> None:
        """End the iteration with an error, after what waits has been read."""
        self._error = self._error or error
        self._changed.set()

    def close(self) -> None:
        """End the iteration now; what still waits is discarded."""
        self._is_closed = True
        self._items.clear()
        self._changed.set()

    def finish(self) -> None:
        """End the iteration after what waits has been read; nothing more is taken."""
        self._is_closed = True
        self._changed.set()

    def __aiter__(self) -> Mailbox[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._is_closed:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._changed = anyio.Event()
            await self._changed.wait()
        return self._items.popleft()
