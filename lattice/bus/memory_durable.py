"""Durable jobs in memory: see `JobStream`. What JetStream does for them, within one event loop.

Times (what is kept, what is not settled in time) are by the event loop's clock.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from lattice.bus.base import Bus, Record
from lattice.bus.durable import FULL_SHARE, PENDING_MAX, SEQUENCE_HEADER, Lane, Taken
from lattice.bus.mailbox import Mailbox
from lattice.bus.matching import check_message, check_pattern, covers
from lattice.clock import Clock, SystemClock
from lattice.errors import ConflictError, OverloadedError

BYTES_MAX = 256 * 1024 * 1024
"""Bytes of all messages."""

READ_MAX = 1_000_000
"""Messages that wait for one reader."""


@dataclass(slots=True, kw_only=True)
class _Claim:
    """A delivery that is not settled: when it is delivered again, and how often it was."""

    delivered: int
    due_s: float
    token: str


@dataclass(slots=True, kw_only=True)
class _LaneState:
    """What a durable consumer remembers."""

    lane: Lane
    settled: set[int] = field(default_factory=set[int])
    claims: dict[int, _Claim] = field(default_factory=dict[int, _Claim])


class MemoryJobs:
    """See `JobStream`. What is stored is told on `bus` by `signal_of` its subject."""

    def __init__(
        self,
        bus: Bus,
        prefix: str,
        signals: str,
        *,
        clock: Clock | None = None,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        """Begin empty; a subject that begins with `prefix` is told with `signals` in its place."""
        self._bus = bus
        self._prefix = prefix
        self._signals = signals
        self._clock = clock or SystemClock()
        self._bytes_max = bytes_max
        self._kept: dict[str, tuple[Record, float]] = {}  # by subject, with its end
        self._lanes: dict[str, _LaneState] = {}
        self._readers: list[tuple[str, Mailbox[Record]]] = []
        self._sequence = 0
        self._tokens = 0
        self._changed = anyio.Event()

    async def put(
        self,
        subject: str,
        body: bytes,
        *,
        over: str,
        expect: int,
        keep_s: int,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """See `JobStream.put`."""
        check_message(subject, body, headers)
        await anyio.lowlevel.checkpoint()
        found = self._newest(over)
        if (found.sequence if found else 0) != expect:
            raise ConflictError(
                f"another message is newest of {over}", found=found.sequence if found else 0
            )
        if self._used() + len(body) > self._bytes_max:
            raise OverloadedError(f"{subject} does not fit: the stream is full")
        self._sequence += 1
        record = Record(
            subject=subject,
            body=body,
            headers=dict(headers or {}),
            sequence=self._sequence,
            time_s=self._clock.wall_s(),
        )
        self._kept.pop(subject, None)
        self._kept[subject] = (record, anyio.current_time() + keep_s)
        for pattern, mailbox in self._readers:
            if covers(pattern, subject):
                mailbox.offer(record)
        self._wake()
        signal = self._signals + subject.removeprefix(self._prefix)
        told = {**(headers or {}), SEQUENCE_HEADER: str(record.sequence)}
        await self._bus.publish(signal, body, headers=told)
        return record.sequence

    async def newest(self, pattern: str) -> Record | None:
        """See `JobStream.newest`."""
        check_pattern(pattern)
        await anyio.lowlevel.checkpoint()
        return self._newest(pattern)

    async def remove(self, sequence: int) -> bool:
        """See `JobStream.remove`."""
        await anyio.lowlevel.checkpoint()
        for subject, (record, _) in self._kept.items():
            if record.sequence == sequence:
                del self._kept[subject]
                self._wake()
                return True
        return False

    @asynccontextmanager
    async def read(
        self, pattern: str, *, follow: bool = False
    ) -> AsyncIterator[AsyncIterator[Record]]:
        """See `JobStream.read`."""
        check_pattern(pattern)
        await anyio.lowlevel.checkpoint()
        mailbox: Mailbox[Record] = Mailbox(f"reader of {pattern}", limit=READ_MAX)
        for record in self._standing(pattern):
            mailbox.offer(record)
        reader = (pattern, mailbox)
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

    @asynccontextmanager
    async def pull(self, lane: Lane) -> AsyncIterator[MemoryPulling]:
        """See `JobStream.pull`."""
        await anyio.lowlevel.checkpoint()
        state = self._lanes.setdefault(lane.name, _LaneState(lane=lane))
        state.lane = lane
        yield MemoryPulling(self, state)

    async def count(self, pattern: str) -> int:
        """See `JobStream.count`."""
        check_pattern(pattern)
        await anyio.lowlevel.checkpoint()
        return len(self._standing(pattern))

    async def is_nearly_full(self) -> bool:
        """See `JobStream.is_nearly_full`."""
        await anyio.lowlevel.checkpoint()
        return self._used() > self._bytes_max * FULL_SHARE

    # --- for the lanes ----------------------------------------------------------------------

    def deliver(self, state: _LaneState) -> Taken | None:
        """Return what the lane has to be delivered now, if anything."""
        now_s = anyio.current_time()
        standing = self._standing(state.lane.subject)
        sequences = {record.sequence for record in standing}
        for gone in [one for one in state.claims if one not in sequences]:
            del state.claims[gone]
        limit = 1 if state.lane.is_ordered else PENDING_MAX
        for record in standing:
            claim = state.claims.get(record.sequence)
            if record.sequence in state.settled or (claim is not None and claim.due_s > now_s):
                continue
            if claim is None and len(state.claims) >= limit:
                continue
            self._tokens += 1
            claim = state.claims[record.sequence] = _Claim(
                delivered=claim.delivered + 1 if claim else 1,
                due_s=now_s + state.lane.ack_wait_s,
                token=f"{record.sequence}.{self._tokens}",
            )
            return Taken(record=record, delivered=claim.delivered, token=claim.token)
        return None

    async def wait(self, state: _LaneState) -> None:
        """Return when something may be there to deliver."""
        changed = self._changed
        due_s = min((claim.due_s for claim in state.claims.values()), default=math.inf)
        with anyio.CancelScope(deadline=due_s):
            await changed.wait()

    def is_empty(self, state: _LaneState) -> bool:
        """Tell whether everything that stands in the lane is settled."""
        standing = self._standing(state.lane.subject)
        return all(record.sequence in state.settled for record in standing)

    def change(self, state: _LaneState, taken: Taken, due_s: float | None) -> None:
        """Move the end of a delivery, or settle it with None; it may have ended meanwhile."""
        sequence = taken.record.sequence
        if due_s is None:
            state.settled.add(sequence)
            state.claims.pop(sequence, None)
        elif sequence in state.claims and state.claims[sequence].token == taken.token:
            state.claims[sequence].due_s = due_s
        self._wake()

    # ----------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _standing(self, pattern: str) -> list[Record]:
        now_s = anyio.current_time()
        for subject in [s for s, (_, end_s) in self._kept.items() if end_s <= now_s]:
            del self._kept[subject]
        return [record for subject, (record, _) in self._kept.items() if covers(pattern, subject)]

    def _newest(self, pattern: str) -> Record | None:
        found = self._standing(pattern)
        return found[-1] if found else None

    def _used(self) -> int:
        return sum(len(record.body) for record, _ in self._kept.values())


class MemoryPulling:
    """See `Pulling`."""

    def __init__(self, jobs: MemoryJobs, state: _LaneState) -> None:
        self._jobs = jobs
        self._state = state
        self._owed = 0
        self._asked = anyio.Event()

    async def ask(self, count: int) -> None:
        """See `Pulling.ask`."""
        self._owed += count
        self._asked.set()

    async def next(self) -> Taken:
        """See `Pulling.next`."""
        while True:
            await anyio.lowlevel.checkpoint()
            if not self._owed:
                self._asked = anyio.Event()
                await self._asked.wait()
            elif (taken := self._jobs.deliver(self._state)) is not None:
                self._owed -= 1
                return taken
            else:
                await self._jobs.wait(self._state)

    async def working(self, taken: Taken) -> None:
        """See `Pulling.working`."""
        due_s = anyio.current_time() + self._state.lane.ack_wait_s
        self._jobs.change(self._state, taken, due_s)

    async def settle(self, taken: Taken) -> None:
        """See `Pulling.settle`."""
        await anyio.lowlevel.checkpoint()
        self._jobs.change(self._state, taken, None)

    async def give_back(self, taken: Taken, pause_s: float) -> None:
        """See `Pulling.give_back`."""
        self._jobs.change(self._state, taken, anyio.current_time() + pause_s)

    async def stop(self) -> Sequence[Taken]:
        """See `Pulling.stop`: nothing is delivered before it is asked for."""
        await anyio.lowlevel.checkpoint()
        self._owed = 0
        return ()

    async def is_empty(self) -> bool:
        """See `Pulling.is_empty`."""
        return self._jobs.is_empty(self._state)
