"""What a watcher of a bucket is told, out of a reader that shows what stands.

It compares and orders; it asks nothing and waits only for its reader.
"""

from __future__ import annotations

from collections import deque

from lattice.bus.base import CAUGHT_UP, CaughtUp, Entry
from lattice.bus.jetstream_api import is_marker
from lattice.bus.jetstream_delivery import Delivery
from lattice.bus.jetstream_reader import Reader, Reattached


class Watch:
    """Entries and changes out of a reader that shows what stands, again after each loss.

    `known` has the revision and a hash of each value that was told, so that a repeated showing
    tells the differences only, also when the bucket was made anew and counts from one again.
    """

    def __init__(self, reader: Reader, subject_prefix: str) -> None:
        self._reader = reader
        self._subject_prefix = subject_prefix
        self._known: dict[str, tuple[int, int]] = {}
        self._unseen: set[str] = set()  # known keys that the showing under way has not shown
        self._ready: deque[Entry | CaughtUp] = deque()
        self._is_settled = False
        self._has_caught_up = False
        self._newest = 0

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Entry | CaughtUp:
        while True:
            if not self._is_settled and self._reader.is_caught_up:
                self._settle()
            if self._ready:
                return self._ready.popleft()
            message = await self._reader.next()
            if isinstance(message, Reattached):
                self._unseen = set(self._known)
                self._is_settled = False
            else:
                self._take(message)

    def _take(self, message: Delivery) -> None:
        key = message.subject.removeprefix(self._subject_prefix)
        self._newest = message.sequence
        self._unseen.discard(key)
        if is_marker(message.headers):
            self._forget(key)
            return
        state = (message.sequence, hash(message.body))
        if self._known.get(key) != state:
            self._known[key] = state
            self._ready.append(Entry(key=key, value=message.body, revision=message.sequence))

    def _settle(self) -> None:
        """End a showing: what was known and was not shown is gone."""
        self._is_settled = True
        for key in sorted(self._unseen):
            self._forget(key)
        self._unseen.clear()
        if not self._has_caught_up:
            self._has_caught_up = True
            self._ready.append(CAUGHT_UP)

    def _forget(self, key: str) -> None:
        if self._known.pop(key, None) is not None:
            self._ready.append(Entry(key=key, value=None, revision=self._newest))
