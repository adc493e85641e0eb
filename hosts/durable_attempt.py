"""One delivery of a durable job: run it on this host, store how it ended, settle it.

What follows from what is decided by `lattice.model.durable`. The order is what the promises rest
on: the outcome is stored before the job is removed, only the first outcome is stored, and the job
is removed before its delivery is confirmed, so that no confirmed job is left to be taken up again
when its outcome is not kept any more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio

from lattice.bus.base import Packet
from lattice.bus.durable import JobStream, Pulling, Taken
from lattice.clock import Clock
from lattice.errors import (
    ConflictError,
    GuestTrapError,
    InternalError,
    InvalidError,
    LatticeError,
    OutcomeUnknownError,
    OverloadedError,
    UnavailableError,
)
from lattice.model import durable as rules
from lattice.model.durable_events import JobEvents
from lattice.wire.codec import CONTENT_TYPE, JSON_TYPE, decode_as, encode, is_json
from lattice.wire.durable import Ending, Outcome, StoredJob
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.subjects import Names

TRY_FIRST_S = 0.05
TRY_LONGEST_S = 1.0
"""Seconds between attempts to begin a job here, and to store its outcome: they double."""

OUTCOME_BYTES_MAX = 960 * 1024
"""Bytes of one outcome: what one message takes, less its headers."""

REASON_LENGTH_MAX = 500
"""Characters of the reason in an event: the outcome has it in full."""

log = logging.getLogger(__name__)

Answer = Callable[[Packet], Awaitable[bytes]]
"""Answers a call as if it had come over the bus."""

Tell = Callable[[str, str, Mapping[str, Any]], None]
"""Takes an event: its kind, what it is about, and its data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What all attempts on one host share."""

    host: str
    names: Names
    jobs: JobStream
    clock: Clock
    answer: Answer
    tell: Tell = lambda _kind, _entity, _data: None
    events: JobEvents = field(default_factory=JobEvents)


class Attempt:
    """One delivery of one job."""

    def __init__(
        self, place: Workplace, pulling: Pulling, taken: Taken, is_closing: Callable[[], bool]
    ) -> None:
        """Prepare. `is_closing` tells whether this host is to begin nothing any more.

        Raises:
            InvalidError: the subject is not that of a job.
        """
        self._place = place
        self._pulling = pulling
        self._taken = taken
        self._is_closing = is_closing
        _, self._deployment, self._lane, self.id = place.names.parse_job(taken.record.subject)
        self._as_json = is_json(taken.record.headers)
        self._running = anyio.CancelScope()
        self._is_over = False  # it has an outcome, or is about to store one
        self._number = taken.delivered  # of the attempt, from 1

    def ended_elsewhere(self, sequence: str) -> None:
        """Stop the guest, because the job has an outcome that is not of this attempt; `sequence` is
        that of the outcome, "" if it is not known.
        """
        is_earlier = sequence.isdecimal() and int(sequence) < self._taken.record.sequence
        if not self._is_over and not is_earlier:
            self._is_over = True
            self._running.cancel()

    async def carry_out(self) -> None:
        """Return when the delivery is settled or given back. Cancelling leaves it as it is: it is
        delivered again after the lane's time.
        """
        try:
            job = decode_as(StoredJob, self._taken.record.body, as_json=self._as_json)
        except LatticeError as error:
            await self._store(StoredJob(op=""), "dead", CallReply(err=error.to_wire()))
            return
        self._number = max(job.made, 0) + self._taken.delivered
        match await self._begin(job):
            case "ended":
                await self._settle()
            case "bury":
                await self._store(job, "dead", CallReply(err=_worn_out(job).to_wire()))
            case "run":
                await self._run(job)

    async def _begin(self, job: StoredJob) -> rules.Begin:
        names, record = self._place.names, self._taken.record
        newest = await self._insist(
            partial(self._place.jobs.newest, names.job("*", self._deployment, "*", self.id))
        )
        # Whatever is newer replaces this: an outcome, or the job of another submission.
        return rules.begin(
            number=self._number,
            attempts_max=job.attempts_max,
            has_ended=newest is None or newest.sequence != record.sequence,
        )

    async def _run(self, job: StoredJob) -> None:
        pause_s = TRY_FIRST_S
        while not self._is_closing():
            reply: CallReply | None = None
            if not self._is_over:
                with anyio.CancelScope() as self._running:
                    reply = await self._ask(job)
            if reply is None or self._is_over:  # it has an outcome by now
                await self._settle()
                return
            match rules.after_reply(
                err=reply.err,
                was_begun=_was_begun(reply),
                number=self._number,
                attempts_max=job.attempts_max,
                first_s=job.pause_ms / 1000,
                longest_s=job.pause_max_ms / 1000,
            ):
                case rules.Store(state):
                    await self._store(job, state, reply)
                    return
                case rules.GiveBack(wait_s):
                    self._tell("job-failed", f"attempt {self._number} of {job.attempts_max}, again "
                               f"in {wait_s:g} s: {_message(reply)}")  # fmt: skip
                    await self._pulling.give_back(self._taken, wait_s)
                    return
                case rules.TryHere():
                    await anyio.sleep(pause_s)
                    pause_s = min(pause_s * 2, TRY_LONGEST_S)
        await self.put_back()

    async def put_back(self) -> None:
        """Give back what was not begun, so that this delivery is no attempt. Jobs with a key keep
        their place in their order instead, and it is one.
        """
        record = self._taken.record
        if self._lane == rules.NO_KEY:
            try:
                job = decode_as(StoredJob, record.body, as_json=self._as_json)
                job = replace(job, made=max(job.made, 0) + self._taken.delivered - 1)
                await self._place.jobs.put(
                    record.subject,
                    encode(job, as_json=self._as_json),
                    over=self._place.names.job("*", self._deployment, "*", self.id),
                    expect=record.sequence,
                    keep_s=rules.WAIT_S,
                    headers=self._headers(),
                )
            except LatticeError as error:
                log.info("durable job %s/%s: %s", self._deployment, self.id, error)
        # Also where it was stored anew: then nothing is there that would come again.
        await self._pulling.give_back(self._taken, 0)

    async def _ask(self, job: StoredJob) -> CallReply:
        interface, _, function = job.op.rpartition("#")
        invocation = Invocation(
            op=job.op,
            args=job.args,
            deadline_ms=job.timeout_ms,
            key=f"{self._deployment}/{self.id}",
            attempt=self._number,
            hops=job.hops,
            type=job.type,
            trace=job.trace,
            caller=job.caller,
            chain=job.chain,
        )
        packet = Packet(
            subject=self._place.names.call(self._deployment, interface, function),
            body=encode(invocation, as_json=self._as_json),
            headers=self._headers(),
        )
        try:
            answer = await self._place.answer(packet)
            return decode_as(CallReply, answer, as_json=self._as_json)
        except LatticeError as error:
            return CallReply(err=error.to_wire())
        except Exception as error:  # the top of a call, as for those from the bus
            log.exception("durable job %s/%s at attempt %d",
                          self._deployment, self.id, self._number)  # fmt: skip
            return CallReply(
                err=InternalError(
                    f"job {self._deployment}/{self.id} failed with {type(error).__name__}; the log "
                    f"of host {self._place.host} has it"
                ).to_wire()
            )

    async def _store(self, job: StoredJob, state: Ending, reply: CallReply) -> None:
        """Store the outcome, unless there is one, and settle the delivery."""
        self._is_over = True
        outcome = self._outcome(job, state, reply)
        body = encode(outcome, as_json=self._as_json)
        if len(body) > OUTCOME_BYTES_MAX:
            fault = InvalidError(
                f"outcome takes {len(body)} bytes, at most {OUTCOME_BYTES_MAX} are kept; it did run"
            )
            # A job that came by other ways may be too large to be kept once more.
            is_kept = len(self._taken.record.body) <= rules.BODY_BYTES_MAX
            outcome = replace(
                outcome, state="dead", ok=None, err=fault.to_wire(), job=job if is_kept else None
            )
            body = encode(outcome, as_json=self._as_json)
        if await self._put(outcome, body, expect=job.replaces):
            kind = "job-completed" if outcome.state == "done" else "job-dead-lettered"
            self._tell(kind, _message(CallReply(err=outcome.err)))
        else:
            log.info("durable job %s/%s has an outcome already", self._deployment, self.id)
        await self._settle()

    def _tell(self, kind: str, reason: str) -> None:
        """Tell an event, with the first line of its reason."""
        place = self._place
        text = reason.partition("\n")[0][:REASON_LENGTH_MAX]
        data = {"job": self.id, "attempt": self._number, "reason": text}
        told = place.events.take(place.clock.monotonic_s(), kind, self._deployment, data)
        for each, facts in told:
            place.tell(each, facts["deployment"], facts)

    def _outcome(self, job: StoredJob, state: Ending, reply: CallReply) -> Outcome:
        return Outcome(
            state=state,
            ok=reply.ok if state == "done" else None,
            err=reply.err,
            op=job.op,
            host=reply.host or self._place.host,
            attempts=min(self._number, job.attempts_max),
            submitted_s=job.submitted_s,
            ended_s=self._place.clock.wall_s(),
            job=job if state == "dead" else None,
        )

    async def _put(self, outcome: Outcome, body: bytes, *, expect: int) -> bool:
        """Store the outcome and return True, or return False because there is another one."""
        place = self._place
        done = place.names.job("done", self._deployment, self._lane, self.id)
        keep_s = rules.DEAD_KEEP_S if outcome.state == "dead" else rules.KEEP_S
        put = partial(place.jobs.put, done, body, over=done, keep_s=keep_s, headers=self._headers())
        try:
            await self._insist(partial(put, expect=expect))
        except ConflictError:
            if not expect or await self._insist(partial(place.jobs.newest, done)) is not None:
                return False
            # The dead letter that this replaces has expired meanwhile.
            return await self._put(outcome, body, expect=0)
        return True

    async def _settle(self) -> None:
        try:
            await self._place.jobs.remove(self._taken.record.sequence)
            await self._pulling.settle(self._taken)
        except (UnavailableError, OutcomeUnknownError) as error:
            # It is delivered again, and found to have an outcome.
            log.info("durable job %s/%s: %s", self._deployment, self.id, error)

    async def _insist(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer to what may be repeated, however long the stream is away or full."""
        pause_s = TRY_FIRST_S
        while True:
            try:
                return await ask()
            except (UnavailableError, OutcomeUnknownError, OverloadedError) as error:
                log.debug("durable job %s/%s: %s", self._deployment, self.id, error)
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, TRY_LONGEST_S)

    def _headers(self) -> dict[str, str]:
        return {CONTENT_TYPE: JSON_TYPE} if self._as_json else {}


def _was_begun(reply: CallReply) -> bool:
    """Tell whether an attempt began: a host that turns a call down answers without its name, and
    a replica that is full answers `overloaded`.
    """
    kind = (reply.err or {}).get("kind")
    return kind != OverloadedError.kind and (bool(reply.host) or kind != "no-route")


def _message(reply: CallReply) -> str:
    return str((reply.err or {}).get("message", ""))


def _worn_out(job: StoredJob) -> GuestTrapError:
    return GuestTrapError(
        f"{job.attempts_max} attempts ended without an answer: each time the host that ran it was "
        "lost",
        attempts=job.attempts_max,
    )
