"""The durable jobs that a stream keeps, by their ids: store one, find it, wait for its end, end it.

It is told everything about a job; what functions there are and how people write times is the
matter of `lattice.client.jobs`. Every question is repeated for `STORE_S`, and repeating it is safe:
a write says what it replaces, and one that took place unheard is recognised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import anyio

from lattice.bus.base import Bus, Packet, Record
from lattice.bus.durable import SEQUENCE_HEADER, JobStream
from lattice.client.jobviews import STATES, JobView, headers_of, job_in, outcome_in, view_of
from lattice.clock import Clock
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    InvalidError,
    NotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    UnavailableError,
)
from lattice.model import durable as rules
from lattice.wire import codec
from lattice.wire.durable import Outcome, StoredJob
from lattice.wire.subjects import Names

STORE_S = 10.0
"""Seconds for which a request to the stream is repeated: a change of its leader takes seven."""

RECHECK_S = 2.0
RECHECK_LONGEST_S = 8.0
"""Seconds between looks at a job whose signal may have been lost with a connection; they double."""

PAUSE_FIRST_S, PAUSE_LONGEST_S = 0.05, 1.0
"""Seconds between repetitions: they double."""

T = TypeVar("T")


class KeptJobs:
    """See the module."""

    def __init__(self, stream: JobStream, names: Names, bus: Bus, clock: Clock) -> None:
        self.stream = stream
        """Where the jobs are."""
        self._names = names
        self._bus = bus
        self._clock = clock

    def now_s(self) -> float:
        """Return what a job that is submitted now says of its time."""
        return self._clock.wall_s()

    async def store(
        self, deployment: str, job_id: str, lane: str, job: StoredJob, *, as_json: bool
    ) -> bool:
        """Store a job, and tell whether it is new; if not, its id is that of another one.

        Raises:
            InvalidError: it is too large.
            OverloadedError: the stream is full; nothing was stored.
            UnavailableError: the stream cannot be reached.
        """
        body = self._body(deployment, job, as_json=as_json)
        if await self.insist(self.stream.is_nearly_full):
            raise OverloadedError(
                "the stream of durable jobs is full: wait until some have run, or raise its bytes "
                f"(nats stream edit {self._names.jobs_stream})"
            )
        over = self._names.job("*", deployment, "*", job_id)
        put = partial(self._put, deployment, job_id, lane, job, body, as_json=as_json, expect=0)

        async def attempt() -> bool:
            try:
                await put()
            except ConflictError:
                found = await self.stream.newest(over)
                if found is None:  # one that was on its way, and may have failed
                    raise UnavailableError(f"{over} is being written by others") from None
                return found.body == body  # ours, of an attempt without an answer
            return True

        return await self.insist(attempt)

    async def store_again(self, found: Record, lane: str, job: StoredJob, *, as_json: bool) -> None:
        """Store a job in place of what was found of it: a schedule anew, a dead letter to be run.

        Raises:
            ConflictError: something else is newer.
            InvalidError, UnavailableError: as `store`.
        """
        _, deployment, old_lane, job_id = self._names.parse_job(found.subject)
        body = self._body(deployment, job, as_json=as_json)
        try:
            await self.insist(
                partial(self._put, deployment, job_id, lane, job, body, as_json=as_json,
                        expect=found.sequence)
            )  # fmt: skip
        except ConflictError:
            if (await self.newest(deployment, job_id)).body != body:
                raise
        if job.schedule and old_lane != lane:
            await self.insist(partial(self.stream.remove, found.sequence))

    async def newest(self, deployment: str, job_id: str) -> Record:
        """Return the newest message of a job, which tells its state. `Raises:` NotFoundError."""
        pattern = self._names.job("*", deployment, "*", job_id)
        found = await self.insist(partial(self.stream.newest, pattern))
        if found is None:
            raise NotFoundError(
                f"no job {deployment}/{job_id}: it was never submitted, or is not kept any more",
                job=f"{deployment}/{job_id}",
            )
        return found

    async def outcome(self, job: str, *, timeout_s: float) -> Outcome:
        """Return how a job ended, waiting for it; `job` is `deployment/id`.

        Raises:
            NotFoundError: there is no such job, or not any more.
            DeadlineExceededError: it has not ended; it goes on, and `details` have its id.
        """
        deployment, job_id = rules.split_id(job)
        signals = self._names.job_signal("done", deployment, "*", job_id)
        found: Record | None = None
        recheck_s = RECHECK_S
        with anyio.move_on_after(timeout_s):
            # The signal is subscribed to before the look, so that no outcome falls in between.
            async with self._bus.subscribe(signals) as packets:
                found = await self.newest(deployment, job_id)
                while not self.has_ended(found):
                    packet: Packet | None = None
                    with anyio.move_on_after(recheck_s):
                        packet = await anext(aiter(packets))
                    if packet is None:
                        found = await self.newest(deployment, job_id)
                        recheck_s = min(recheck_s * 2, RECHECK_LONGEST_S)
                    elif _sequence_of(packet) > found.sequence:  # not that of an earlier end
                        return _outcome_of(packet)
                return outcome_in(found)
        state = "stored" if found is None else STATES[self._place_of(found)]
        raise DeadlineExceededError(
            f"job {job} is {state} after {timeout_s:g} s; it goes on", job=job, state=state
        )

    async def cancel(self, found: Record) -> bool:
        """Have a job end as cancelled, or remove a schedule; False: it has changed meanwhile."""
        place, deployment, lane, job_id = self._names.parse_job(found.subject)
        stored = job_in(found)
        if not stored.schedule:
            fault = ConflictError(f"job {deployment}/{job_id} was cancelled", cancelled=True)
            outcome = Outcome(
                state="cancelled",
                err=fault.to_wire(),
                op=stored.op,
                submitted_s=stored.submitted_s,
                ended_s=self.now_s(),
            )
            as_json = codec.is_json(found.headers)
            done = self._names.job("done", deployment, lane, job_id)
            # It must be there when the message that is removed below could still be taken up.
            waits_s = max(stored.due_s - self.now_s(), 0.0) if place == "at" else 0.0
            put = partial(
                self.stream.put,
                done,
                codec.encode(outcome, as_json=as_json),
                keep_s=rules.KEEP_S + round(waits_s),
                headers=headers_of(as_json=as_json),
            )
            # Whoever may be first looks at the same: the timer at all places of a job to come, a
            # worker at the outcome of one to be run. Servers of a cluster tell no others apart.
            if place == "at":
                over, expect = self._names.job("*", deployment, "*", job_id), found.sequence
            else:
                over, expect = done, stored.replaces
                if expect and await self.insist(partial(self.stream.newest, done)) is None:
                    expect = 0  # the dead letter that it replaces has expired
            try:
                await self.insist(partial(put, over=over, expect=expect))
            except ConflictError:
                return False
        await self.insist(partial(self.stream.remove, found.sequence))
        return True

    def has_ended(self, record: Record) -> bool:
        """Tell whether the newest message of a job is its outcome."""
        return self._place_of(record) == "done"

    def view(self, record: Record) -> JobView:
        """Return what the newest message of a job says of it. `Raises:` DecodeError."""
        return view_of(record, self._names)

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to what may be repeated, within `STORE_S`.

        Raises:
            UnavailableError: there was none.
        """
        give_up_s = self._clock.monotonic_s() + STORE_S
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                return await ask()
            except (UnavailableError, OutcomeUnknownError) as error:
                if self._clock.monotonic_s() + pause_s > give_up_s:
                    raise UnavailableError(
                        f"durable jobs cannot be reached: {error}; repeating it is safe"
                    ) from None
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_LONGEST_S)

    def _body(self, deployment: str, job: StoredJob, *, as_json: bool) -> bytes:
        body = codec.encode(job, as_json=as_json)
        if len(body) > rules.BODY_BYTES_MAX:
            raise InvalidError(
                f"job of {deployment} {job.op} takes {len(body)} bytes, at most "
                f"{rules.BODY_BYTES_MAX} are stored; put the values elsewhere and pass where"
            )
        return body

    async def _put(
        self,
        deployment: str,
        job_id: str,
        lane: str,
        job: StoredJob,
        body: bytes,
        *,
        as_json: bool,
        expect: int,
    ) -> None:
        waits_s = max(job.due_s - self.now_s(), 0.0) if job.due_s else 0.0
        await self.stream.put(
            self._names.job("at" if job.due_s else "call", deployment, lane, job_id),
            body,
            over=self._names.job("*", deployment, "*", job_id),
            expect=expect,
            keep_s=round(waits_s) + rules.WAIT_S,
            headers=headers_of(as_json=as_json),
        )

    def _place_of(self, record: Record) -> str:
        return self._names.parse_job(record.subject)[0]


def again(dead: Record, outcome: Outcome) -> StoredJob:
    """Return the job that a dead letter is tried again as.

    Raises:
        ConflictError: nobody knows any more what was to be called.
    """
    if outcome.job is None or not outcome.job.op:
        raise ConflictError("the dead letter does not hold the job, which could not be read")
    return replace(outcome.job, replaces=dead.sequence, made=0)


def _sequence_of(packet: Packet) -> int:
    text = packet.headers.get(SEQUENCE_HEADER, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _outcome_of(packet: Packet) -> Outcome:
    return codec.decode_as(Outcome, packet.body, as_json=codec.is_json(packet.headers))
