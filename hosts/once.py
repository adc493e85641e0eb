"""Work that is done once for each key at a time: who asks meanwhile waits for the outcome.

A key that nobody works on and nobody waits for takes no room, so the keys may come from outside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Turn:
    """The place at one key, and how many hold it or wait for it."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0


class OncePerKey(Generic[K]):
    """One holder for each key; the others wait for their turn, first in, first out."""

    def __init__(self) -> None:
        self._turns: dict[K, _Turn] = {}

    def __len__(self) -> int:
        """Return how many keys are held now."""
        return len(self._turns)

    @asynccontextmanager
    async def turn(self, key: K) -> AsyncIterator[None]:
        """Hold a key while the block runs, whose outcome the next holder looks for first.

        Cancelling while waiting gives up the turn and leaves the others theirs.
        """
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            # Only the last one drops it: a waiter keeps the lock on which newcomers must wait too.
            turn.users -= 1
            if not turn.users:
                del self._turns[key]
