"""The bucket in memory: what a JetStream key-value bucket with history 1 does, in one event loop.

It keeps no value but the newest of each key, and it never writes to disk. Time comes from the
given clock, so that a test decides when a time to live is over.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.lowlevel

from lattice.bus.base import CAUGHT_UP, CaughtUp, Entry, Fence, Write
from lattice.bus.checks import check_put, check_writes
from lattice.bus.mailbox import Mailbox
from lattice.bus.matching import check_key, check_prefix, in_family
from lattice.clock import Clock, SystemClock
from lattice.errors import ConflictError

WATCH_PENDING_MAX = 1_000_000
"""Changes that wait for one watcher. It never fills in practice: a watch must miss nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """The newest write of a key; `value` None is a removal, which keeps its revision."""

    value: bytes | None
    revision: int
    expires_s: float = math.inf  # by the clock's monotonic time


@dataclass(eq=False, slots=True, kw_only=True)
class _Watcher:
    prefix: str
    mailbox: Mailbox[Entry | CaughtUp]


class MemoryStore:
    """See `Store`. Expiry is noticed at every use, and by waiting watchers in real time."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._cells: dict[str, _Cell] = {}
        self._watchers: list[_Watcher] = []
        self._revision = 0

    async def get(self, key: str) -> Entry | None:
        """See `Store.get`."""
        check_key(key)
        await self._turn()
        cell = self._cells.get(key)
        if cell is None or cell.value is None:
            return None
        return Entry(key=key, value=cell.value, revision=cell.revision)

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        expect: int | None = None,
        fence: Fence | None = None,
        ttl_s: float | None = None,
    ) -> int:
        """See `Store.put`."""
        check_put(key, value, expect, fence, ttl_s)
        await self._turn()
        self._check(key, expect)
        self._check_fence(fence)
        expires_s = math.inf if ttl_s is None else self._clock.monotonic_s() + ttl_s
        return self._write(key, value, expires_s)

    async def put_many(self, writes: Sequence[Write], *, fence: Fence | None = None) -> int:
        """See `Store.put_many`."""
        check_writes(writes)
        await self._turn()
        self._check_fence(fence)
        for write in writes:
            self._check(write.key, write.expect)
        for write in writes:
            self._write(write.key, write.value)
        return self._revision

    async def delete(
        self, key: str, *, expect: int | None = None, fence: Fence | None = None
    ) -> int:
        """See `Store.delete`."""
        check_put(key, b"", expect, fence, None)
        await self._turn()
        self._check(key, expect)
        self._check_fence(fence)
        return self._write(key, None)

    async def keys(self, prefix: str = "") -> tuple[str, ...]:
        """See `Store.keys`."""
        check_prefix(prefix)
        await self._turn()
        return tuple(sorted(entry.key for entry in self._standing(prefix)))

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[AsyncIterator[Entry | CaughtUp]]:
        """See `Store.watch`."""
        check_prefix(prefix)
        await self._turn()
        mailbox: Mailbox[Entry | CaughtUp] = Mailbox(f"watch {prefix}", limit=WATCH_PENDING_MAX)
        for entry in self._standing(prefix):
            mailbox.offer(entry)
        mailbox.offer(CAUGHT_UP)
        watcher = _Watcher(prefix=prefix, mailbox=mailbox)
        self._watchers.append(watcher)
        try:
            yield _WatchIterator(self, mailbox)
        finally:
            self._watchers.remove(watcher)
            mailbox.close()

    def expire_due(self) -> None:
        """Remove what has outlived its time, and tell the watchers."""
        now_s = self._clock.monotonic_s()
        due = [key for key, cell in self._cells.items() if cell.expires_s <= now_s]
        for key in due:
            self._write(key, None)

    def next_expiry_in_s(self) -> float:
        """Return the seconds until the next expiry by the clock, infinite if none is due."""
        nearest_s = min((cell.expires_s for cell in self._cells.values()), default=math.inf)
        return nearest_s - self._clock.monotonic_s()

    async def _turn(self) -> None:
        """Let others run, as a store behind a network would, then let time take its toll."""
        await anyio.lowlevel.checkpoint()
        self.expire_due()

    def _standing(self, prefix: str) -> list[Entry]:
        return [
            Entry(key=key, value=cell.value, revision=cell.revision)
            for key, cell in sorted(self._cells.items(), key=lambda item: item[1].revision)
            if cell.value is not None and in_family(prefix, key)
        ]

    def _check(self, key: str, expect: int | None) -> None:
        """Compare a key's revision; a removal counts as revision 0 and as its own revision."""
        if expect is None:
            return
        cell = self._cells.get(key)
        found = 0 if cell is None else cell.revision
        if expect == found or (expect == 0 and cell is not None and cell.value is None):
            return
        raise ConflictError(
            f"{key} stands at revision {found}, expected {expect}",
            key=key,
            expected=expect,
            found=found,
        )

    def _check_fence(self, fence: Fence | None) -> None:
        if fence is None:
            return
        cell = self._cells.get(fence.key)
        found = 0 if cell is None else cell.revision
        if found != fence.revision:
            raise ConflictError(
                f"fence {fence.key} stands at revision {found}, expected {fence.revision}",
                key=fence.key,
                expected=fence.revision,
                found=found,
            )

    def _write(self, key: str, value: bytes | None, expires_s: float = math.inf) -> int:
        before = self._cells.get(key)
        self._revision += 1
        self._cells[key] = _Cell(value=value, revision=self._revision, expires_s=expires_s)
        if value is None and (before is None or before.value is None):
            return self._revision  # nothing stood, so nothing changed for a watcher
        entry = Entry(key=key, value=value, revision=self._revision)
        for watcher in self._watchers:
            if in_family(watcher.prefix, key):
                watcher.mailbox.offer(entry)
        return self._revision


class _WatchIterator:
    """A watcher's view: the mailbox, and the patience until the next expiry."""

    def __init__(self, store: MemoryStore, mailbox: Mailbox[Entry | CaughtUp]) -> None:
        self._store = store
        self._mailbox = mailbox

    def __aiter__(self) -> _WatchIterator:
        return self

    async def __anext__(self) -> Entry | CaughtUp:
        while True:
            self._store.expire_due()
            with anyio.move_on_after(max(self._store.next_expiry_in_s(), 0.001)):
                return await anext(self._mailbox)
