"""`lattice job ...`: durable jobs, which are typed calls that are stored first."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from cyclopts import Parameter, Token

from lattice.cli.arguments import argument
from lattice.cli.options import DEFAULT, Options, Seconds, client_of
from lattice.cli.output import clock_time, print_json, print_table, short_ids
from lattice.cli.verb_call import print_value
from lattice.client.jobs import ATTEMPT_S, RESULT_S
from lattice.client.jobviews import JobState, JobView, Submitted
from lattice.model.durable import Retry

_RETRY = Retry()


def _as_time(_: object, tokens: Sequence[Token]) -> float:
    """Return seconds since the Unix epoch of a time as ISO 8601 writes it."""
    found = datetime.fromisoformat(tokens[0].value)
    return (found if found.tzinfo else found.astimezone()).timestamp()


Time = Annotated[float | None, Parameter(converter=_as_time, metavar="TIME")]
Words = Annotated[str, Parameter(allow_leading_hyphen=True)]


async def submit_(  # noqa: PLR0913 - each is an option
    deployment: str,
    function: str,
    /,
    *args: Words,
    id: str = "",
    key: str | None = None,
    delay: Seconds = 0.0,
    at: Time = None,
    attempts: int = _RETRY.attempts,
    pause: Seconds = _RETRY.first_s,
    pause_max: Seconds = _RETRY.longest_s,
    timeout: Seconds = ATTEMPT_S,
    wait: bool = False,
    options: Options = DEFAULT,
) -> None:
    """Store a call of a deployment's function, which is run when a replica is there.

    Prints the id of the job, deployment/id. A job with an id that is kept is not stored again.
    Arguments are written as for lattice call.

    Parameters
    ----------
    deployment
        The deployment to call.
    function
        ns:pkg/iface[@version]#func, iface#func, or func when that is unique.
    args
        The arguments in their order, each JSON.
    id
        What makes the submission safe to repeat; without it the job gets an id of its own.
    key
        Jobs of one key run one after the other, in the order in which they were stored.
    delay
        Run it not before this time has passed.
    at
        Run it not before this time, such as 2026-12-24T18:00:00+01:00; local without an offset.
    attempts
        How often it is tried before it is a dead letter.
    pause
        Pause after the first attempt that failed; it doubles.
    pause_max
        Longest pause between attempts.
    timeout
        Time for each attempt.
    wait
        Wait for the result and print it.
    """
    retry = Retry(attempts=attempts, first_s=pause, longest_s=max(pause, pause_max))
    async with client_of(options) as client:
        submitted = await client.jobs.submit(
            deployment, function, [argument(text) for text in args], id=id, key=key,
            delay_s=delay, at_s=at, retry=retry, timeout_s=timeout, as_json=True,
        )  # fmt: skip
        value = await client.jobs.result(submitted.id) if wait else None
    if wait:
        _print_result(value, options)
    else:
        _print_submitted(submitted, options)


async def result_(job: str, /, *, timeout: Seconds = RESULT_S, options: Options = DEFAULT) -> None:
    """Print the value with which a job ended, and wait for it.

    Parameters
    ----------
    job
        The job as deployment/id.
    timeout
        How long to wait.
    """
    async with client_of(options) as client:
        value = await client.jobs.result(job, timeout_s=timeout)
    _print_result(value, options)


async def status_(job: str, /, *, options: Options = DEFAULT) -> None:
    """Show what is known of a job.

    Parameters
    ----------
    job
        The job as deployment/id.
    """
    async with client_of(options) as client:
        _print_one(await client.jobs.status(job), options)


async def cancel_(job: str, /, *, options: Options = DEFAULT) -> None:
    """Have a job end as cancelled, or remove a schedule.

    A job that has ended stays as it is. What a running job did already remains done.

    Parameters
    ----------
    job
        The job as deployment/id, or the schedule as deployment/name.
    """
    async with client_of(options) as client:
        _print_one(await client.jobs.cancel(job), options)


async def list_(
    deployment: str = "", /, *, state: list[JobState] | None = None, options: Options = DEFAULT
) -> None:
    """List jobs and schedules, oldest first.

    Parameters
    ----------
    deployment
        Those of this deployment only.
    state
        Those in this state only; may be repeated.
    """
    async with client_of(options) as client:
        found = await client.jobs.list(deployment, states=state or ())
    _print_many(found, options, empty="no jobs")


async def dead_(deployment: str = "", /, *, options: Options = DEFAULT) -> None:
    """List dead letters, which are jobs that failed.

    Parameters
    ----------
    deployment
        Those of this deployment only.
    """
    async with client_of(options) as client:
        found = await client.jobs.list(deployment, states=("dead",))
    _print_many(found, options, empty="no dead letters")


async def redrive_(job: str, /, *more: str, options: Options = DEFAULT) -> None:
    """Have dead letters tried again.

    Their attempts are counted anew.

    Parameters
    ----------
    job
        The job as deployment/id.
    more
        Further ones.
    """
    async with client_of(options) as client:
        views = [await client.jobs.redrive(each) for each in (job, *more)]
    if more:
        _print_many(views, options, empty="")
    else:
        _print_one(views[0], options)


async def schedule_(
    deployment: str,
    function: str,
    /,
    *args: Words,
    name: str,
    times: str,
    key: str | None = None,
    options: Options = DEFAULT,
) -> None:
    """Store a call that is submitted again and again, each time as a job of its own.

    A schedule of the same name is replaced; lattice job cancel removes it.

    Parameters
    ----------
    deployment
        The deployment to call.
    function
        ns:pkg/iface[@version]#func, iface#func, or func when that is unique.
    args
        The arguments in their order, each JSON.
    name
        What the schedule is called; its jobs are called name-TIME.
    times
        "@every 90s", @hourly, @daily, @weekly, @monthly, @yearly, or five cron fields in UTC:
        "minute hour day month weekday".
    key
        Its jobs run one after the other, together with all others of this key.
    """
    async with client_of(options) as client:
        view = await client.jobs.schedule(
            deployment, function, [argument(text) for text in args], name=name, times=times,
            key=key, as_json=True,
        )  # fmt: skip
    _print_one(view, options)


def _print_submitted(submitted: Submitted, options: Options) -> None:
    if options.is_json:
        print_json(submitted)
        return
    print(submitted.id, flush=True)
    if not submitted.is_new:
        print(f"{submitted.id} was there already: nothing was stored", file=sys.stderr)


def _print_result(value: Any, options: Options) -> None:
    if options.is_json:
        print_json(value)
    else:
        print_value(value)


def _print_one(view: JobView, options: Options) -> None:
    if options.is_json:
        print_json(view)
    else:
        _print_many([view], options, empty="")


def _print_many(views: list[JobView], options: Options, *, empty: str) -> None:
    if options.is_json:
        print_json({"jobs": views})
        return
    rows = [
        (
            view.id, view.state, view.function, view.attempts or None,
            clock_time(view.submitted_s), _time(view),
            short_ids(str((view.err or {}).get("message", "")).partition("\n")[0]) or None,
        )
        for view in views
    ]  # fmt: skip
    print_table(
        ("job", "state", "function", "attempts", "submitted", "due or ended", "error"),
        rows,
        empty=empty,
    )


def _time(view: JobView) -> str | None:
    if view.ended_s:
        return clock_time(view.ended_s)
    if view.schedule:
        return f"{clock_time(view.due_s)} ({view.schedule})"
    return clock_time(view.due_s) if view.due_s > time.time() else None
