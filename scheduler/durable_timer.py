"""Moves durable jobs to where they are run when their time has come, once or again and again.

Every scheduler does it, also one that does not lead: a move is a conditional write, so that one of
them wins and the others see it. A full stream refuses the move, and it is repeated. Nothing here
runs jobs, and deployments that run to completion (`scheduler.jobs`) are another thing.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import anyio

from lattice.bus.base import Record
from lattice.bus.durable import JobStream
from lattice.clock import Clock
from lattice.errors import ConflictError, DecodeError, InvalidError, LatticeError
from lattice.model.durable import NO_KEY, WAIT_S
from lattice.model.recurrence import parse_recurrence
from lattice.wire.codec import CONTENT_TYPE, JSON_TYPE, decode_as, encode, is_json
from lattice.wire.durable import StoredJob
from lattice.wire.subjects import Names

LOOK_S = 1.0
"""Seconds between looks at the clock at most: what a step of the system's clock may delay."""

REPEAT_S = 1.0
"""Seconds after which a move that failed, or the reading, is tried again."""

MOVES_AT_ONCE = 32
"""Moves that are under way at once: many jobs are due at midnight."""

log = logging.getLogger(__name__)

_Due = tuple[float, int, str]
"""When a message is due, its sequence, and its subject; what it holds is read when it is due."""


class DurableTimer:
    """The jobs to come of one lattice."""

    def __init__(self, jobs: JobStream, names: Names, clock: Clock) -> None:
        self._jobs = jobs
        self._names = names
        self._clock = clock
        self._waiting: list[_Due] = []  # a heap
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Move jobs until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._read)
            while True:
                self._changed = anyio.Event()
                await self._move_all(self._due())
                first_s = self._waiting[0][0] if self._waiting else math.inf
                with anyio.move_on_after(min(max(first_s - self._clock.wall_s(), 0), LOOK_S)):
                    await self._changed.wait()

    async def _read(self) -> None:
        """Learn of all that is to come, and of what is added."""
        while True:
            try:
                async with self._jobs.read(self._names.jobs("at"), follow=True) as records:
                    async for record in records:
                        self._add(record)
            except LatticeError as error:
                log.warning("durable jobs to come cannot be read, trying on: %s", error)
            await anyio.sleep(REPEAT_S)

    def _add(self, record: Record) -> None:
        try:
            self._names.parse_job(record.subject)
            due_s = _job_of(record).due_s
        except LatticeError as error:
            log.warning("durable job at %s cannot be read: %s", record.subject, error)
            return
        if math.isfinite(due_s):
            self._push((due_s, record.sequence, record.subject))

    def _push(self, due: _Due) -> None:
        heapq.heappush(self._waiting, due)
        if self._waiting[0] is due:
            self._changed.set()

    def _due(self) -> list[_Due]:
        """Take off what is due, in that order."""
        now_s = self._clock.wall_s()
        found = []
        while self._waiting and self._waiting[0][0] <= now_s:
            found.append(heapq.heappop(self._waiting))
        return found

    async def _move_all(self, due: Sequence[_Due]) -> None:
        """Move several, those of one key one after the other."""
        chains: dict[tuple[str, str], list[_Due]] = {}
        for one in due:
            _, deployment, lane, _ = self._names.parse_job(one[2])
            chain = one[2] if lane == NO_KEY else lane
            chains.setdefault((deployment, chain), []).append(one)
        limiter = anyio.CapacityLimiter(MOVES_AT_ONCE)

        async def follow(chain: Sequence[_Due]) -> None:
            for one in chain:
                async with limiter:
                    await self._move(one)

        async with anyio.create_task_group() as group:
            for several in chains.values():
                group.start_soon(follow, several)

    async def _move(self, one: _Due) -> None:
        _, sequence, subject = one
        _, deployment, _, job_id = self._names.parse_job(subject)
        try:
            found = await self._jobs.newest(self._names.job("*", deployment, "*", job_id))
            if found is None or found.sequence != sequence:
                # It was moved, cancelled or replaced. Who did that may have died before it removed
                # this, which would be taken for the job when that has been forgotten.
                await self._jobs.remove(sequence)
                return
            job = _job_of(found)
            await (self._recur(found, job) if job.schedule else self._once(found, job))
        except ConflictError:
            log.debug("%s was moved by another scheduler, or cancelled", subject)
        except (DecodeError, InvalidError) as error:
            log.warning("durable job at %s stays where it is: %s", subject, error)
        except LatticeError as error:
            log.warning("durable job at %s is moved a little later: %s", subject, error)
            self._push((self._clock.wall_s() + REPEAT_S, sequence, subject))

    async def _once(self, found: Record, job: StoredJob) -> None:
        _, deployment, lane, job_id = self._names.parse_job(found.subject)
        call = self._names.job("call", deployment, lane, job_id)
        await self._put(found, replace(job, due_s=0.0), call, expect=found.sequence)
        await self._jobs.remove(found.sequence)

    async def _recur(self, found: Record, job: StoredJob) -> None:
        """Submit the job of this time, whose id says which that is; then wait for the next one.

        A crash in between repeats the first step, which finds its job there. Times that passed
        while no scheduler ran are made up for by one job.
        """
        _, deployment, lane, name = self._names.parse_job(found.subject)
        recurrence = parse_recurrence(job.schedule)
        now_s = self._clock.wall_s()
        call = self._names.job("call", deployment, lane, f"{name}-{round(job.due_s)}")
        try:
            await self._put(found, replace(job, due_s=0.0, schedule="", submitted_s=now_s), call)
        except ConflictError:
            log.debug("%s was submitted by another scheduler", call)
        due_s = recurrence.after(job.due_s)
        if due_s <= now_s:
            due_s = recurrence.after(now_s)
        await self._put(found, replace(job, due_s=due_s), found.subject, expect=found.sequence)

    async def _put(self, found: Record, job: StoredJob, subject: str, *, expect: int = 0) -> None:
        _, deployment, _, job_id = self._names.parse_job(subject)
        as_json = is_json(found.headers)
        await self._jobs.put(
            subject,
            encode(job, as_json=as_json),
            over=self._names.job("*", deployment, "*", job_id),
            expect=expect,
            keep_s=round(max(job.due_s - self._clock.wall_s(), 0)) + WAIT_S,
            headers={CONTENT_TYPE: JSON_TYPE} if as_json else {},
        )


def _job_of(record: Record) -> StoredJob:
    return decode_as(StoredJob, record.body, as_json=is_json(record.headers))
