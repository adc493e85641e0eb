"""What is known of durable jobs, read from the messages that their stream keeps. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from lattice.bus.base import Record
from lattice.wire import codec
from lattice.wire.durable import Outcome, StoredJob
from lattice.wire.subjects import Names

JobState = Literal["scheduled", "queued", "done", "dead", "cancelled"]
"""Where a job is: to come, to be run or running, ended with a value, with an error, cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job that is stored. `is_new` is False when its id was taken: it is that job then."""

    id: str  # `deployment/id`
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """What is known of one job. Times are seconds since the Unix epoch, 0 while unknown."""

    id: str  # `deployment/id`
    deployment: str
    state: JobState
    function: str  # `<interface>#<function>`
    lane: str  # `_`, or the partition of its key
    submitted_s: float
    due_s: float = 0.0
    ended_s: float = 0.0
    attempts: int = 0  # those that were made, known once it ended
    host: str = ""  # who ran it last
    schedule: str = ""  # of one that comes again and again
    err: dict[str, Any] | None = None


STATES: dict[str, JobState] = {"at": "scheduled", "call": "queued", "done": "done"}
"""States by the place in the stream; `done` is any end."""


def view_of(record: Record, names: Names) -> JobView:
    """Return what the newest message of a job says of it.

    Raises:
        DecodeError: it cannot be read.
    """
    place, deployment, lane, job_id = names.parse_job(record.subject)
    view = JobView(
        id=f"{deployment}/{job_id}",
        deployment=deployment,
        state=STATES[place],
        function="",
        lane=lane,
        submitted_s=0.0,
    )
    if place == "done":
        outcome = outcome_in(record)
        return replace(
            view,
            state=outcome.state,
            function=outcome.op,
            submitted_s=outcome.submitted_s,
            ended_s=outcome.ended_s,
            attempts=outcome.attempts,
            host=outcome.host,
            err=outcome.err,
        )
    job = job_in(record)
    return replace(
        view,
        function=job.op,
        submitted_s=job.submitted_s,
        due_s=job.due_s,
        schedule=job.schedule,
    )


def job_in(record: Record) -> StoredJob:
    """Return the job that a message holds. `Raises:` DecodeError."""
    return codec.decode_as(StoredJob, record.body, as_json=codec.is_json(record.headers))


def outcome_in(record: Record) -> Outcome:
    """Return the outcome that a message holds. `Raises:` DecodeError."""
    return codec.decode_as(Outcome, record.body, as_json=codec.is_json(record.headers))


def headers_of(*, as_json: bool) -> dict[str, str]:
    """Return the headers that say in which form a message is."""
    return {codec.CONTENT_TYPE: codec.JSON_TYPE} if as_json else {}
