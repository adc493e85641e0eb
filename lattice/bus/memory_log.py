"""The log and the objects in memory: a list of records, and bytes by digest.

They keep everything until the process ends and never write to disk; the log drops its oldest
records at a limit, as the stream of the NATS implementation does.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio.lowlevel

from lattice.bus.base import Record
from lattice.bus.checks import check_digest
from lattice.bus.mailbox import Mailbox
from lattice.bus.matching import check_message, check_pattern, covers
from lattice.clock import Clock, SystemClock
from lattice.errors import NotFoundError
from lattice.model.ids import Digest

RECORDS_MAX = 100_000
"""Records of a log in memory: far above what a test or a simulation writes."""

DEDUP_S = 120.0
"""Seconds for which an id is remembered, as `Log.append` promises."""


class MemoryLog:
    """See `Log`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._records: deque[Record] = deque(maxlen=RECORDS_MAX)
        self._ids: dict[str, tuple[float, int]] = {}  # id -> (monotonic time, sequence)
        self._readers: list[tuple[str, Mailbox[Record]]] = []
        self._sequence = 0

    async def append(
        self,
        subject: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        dedup_id: str = "",
    ) -> int:
        """See `Log.append`."""
        check_message(subject, body, headers)
        await anyio.lowlevel.checkpoint()
        now_s = self._clock.monotonic_s()
        self._forget_ids(now_s)
        if dedup_id in self._ids:
            return self._ids[dedup_id][1]
        self._sequence += 1
        record = Record(
            subject=subject,
            body=body,
            headers=dict(headers or {}),
            sequence=self._sequence,
            time_s=self._clock.wall_s(),
        )
        self._records.append(record)
        if dedup_id:
            self._ids[dedup_id] = (now_s, self._sequence)
        for pattern, mailbox in self._readers:
            if covers(pattern, subject):
                mailbox.offer(record)
        return self._sequence

    def _forget_ids(self, now_s: float) -> None:
        """Drop ids past their time; they lie in the order of their times."""
        while self._ids:
            oldest = next(iter(self._ids))
            if now_s - self._ids[oldest][0] < DEDUP_S:
                return
            del self._ids[oldest]

    @asynccontextmanager
    async def read(
        self,
        subject: str = ">",
        *,
        after: int = 0,
        since_s: float | None = None,
        follow: bool = False,
    ) -> AsyncIterator[AsyncIterator[Record]]:
        """See `Log.read`."""
        check_pattern(subject)
        await anyio.lowlevel.checkpoint()
        mailbox: Mailbox[Record] = Mailbox(f"reader of {subject}", limit=RECORDS_MAX)
        for record in self._records:
            is_recent = since_s is None or record.time_s >= since_s
            if record.sequence > after and is_recent and covers(subject, record.subject):
                mailbox.offer(record)
        reader = (subject, mailbox)
        if follow:
            self._readers.append(reader)
        else:
            mailbox.finish()
        try:
            yield mailbox
        finally:
            if follow:
                self._readers.remove(reader)
            mailbox.close()


class MemoryObjects:
    """See `Objects`."""

    def __init__(self) -> None:
        self._bodies: dict[Digest, bytes] = {}

    async def put(
        self, body: bytes, *, progress: Callable[[int, int], None] | None = None
    ) -> Digest:
        """See `Objects.put`."""
        await anyio.lowlevel.checkpoint()
        digest = Digest("sha256:" + hashlib.sha256(body).hexdigest())
        self._bodies[digest] = bytes(body)
        if progress is not None:
            progress(len(body), len(body))
        return digest

    async def get(
        self, digest: Digest, *, progress: Callable[[int, int], None] | None = None
    ) -> bytes:
        """See `Objects.get`."""
        check_digest(digest)
        await anyio.lowlevel.checkpoint()
        body = self._bodies.get(digest)
        if body is None:
            raise NotFoundError(f"no object {digest} in the store", digest=digest)
        if progress is not None:
            progress(len(body), len(body))
        return body

    async def has(self, digest: Digest) -> bool:
        """See `Objects.has`."""
        check_digest(digest)
        await anyio.lowlevel.checkpoint()
        return digest in self._bodies

    async def remove(self, digest: Digest) -> None:
        """See `Objects.remove`."""
        check_digest(digest)
        await anyio.lowlevel.checkpoint()
        self._bodies.pop(digest, None)
