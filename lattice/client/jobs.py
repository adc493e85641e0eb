"""Durable jobs of a lattice, from outside: submit them, fetch how they ended, mend what failed.

A durable job is a typed call that is stored before it is run, and whose outcome is stored too:
submitted once for each id, run at least once, its outcome recorded once. It needs no scheduler
once it is stored. The `job:` of a manifest, a workload that runs to completion, is another thing.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lattice.bus.durable import JobStream
from lattice.client.asking import Asker
from lattice.client.functions import Operation, choose
from lattice.client.jobviews import JobState, JobView, Submitted, outcome_in
from lattice.client.kept_jobs import KeptJobs, again
from lattice.errors import ConflictError, LatticeError, from_wire
from lattice.model import durable as rules
from lattice.model.durable import Retry
from lattice.model.recurrence import parse_recurrence
from lattice.telemetry import call_span
from lattice.wire import codec
from lattice.wire.durable import Outcome, StoredJob
from lattice.wire.requests import OneDeployment

RESULT_S = 30.0
"""Seconds for a result when the caller does not say."""

ATTEMPT_S = 60.0
"""Seconds for one attempt when the submitter does not say."""

KNOWN_S = 2.0
"""Seconds for which the functions of a deployment are remembered: a rollout may change them, and a
job of the type of before ends as a dead letter."""

KNOWN_MAX = 1024
"""Deployments whose functions are remembered."""

REPLACE_ATTEMPTS = 3
"""Attempts to replace a schedule, whose message is written anew each time that it is due."""

LISTED_MAX = 10_000
"""Jobs that one listing reads at most, the newest ones."""


class Jobs:
    """See the module; `client.jobs`."""

    def __init__(self, asker: Asker, stream: JobStream, client_id: str) -> None:
        self._asker = asker
        self._names = asker.names
        self.kept = KeptJobs(stream, asker.names, asker.bus, asker.clock)
        """What stands behind it, for those who know the functions that they call."""
        self._client_id = client_id
        self._known: dict[str, tuple[float, dict[str, dict[str, str]]]] = {}

    # --- submitting -----------------------------------------------------------------------

    async def submit(  # noqa: PLR0913 - all that a job may say, by name
        self,
        deployment: str,
        function: str,
        args: Sequence[Any] = (),
        *,
        id: str = "",
        key: str | None = None,
        delay_s: float = 0.0,
        at_s: float | None = None,
        retry: Retry | None = None,
        timeout_s: float = ATTEMPT_S,
        as_json: bool = False,
    ) -> Submitted:
        """Return when a job is stored; one with the id of a job that is kept is that job.

        Without `id` it gets one of its own. Jobs of one deployment with the same `key` run one
        after the other, in the order in which they were stored. It is run not before `delay_s`
        have passed or the time `at_s` (seconds since the Unix epoch) has come. `timeout_s` limits
        each attempt. What was not run by then is forgotten `WAIT_S` after it was due.

        Raises:
            NotFoundError: no such deployment or function.
            InvalidError: the id, the times or the size of the arguments are wrong.
            OverloadedError: the stream is full; nothing was stored.
            UnavailableError: the stream cannot be reached; repeat it with the same `id`.
        """
        job_id = id or uuid.uuid4().hex
        rules.check_id(job_id)
        rules.check_times(delay_s, at_s, timeout_s, now_s=self.kept.now_s())
        job = await self._make(deployment, function, args, retry or Retry(), timeout_s)
        if at_s is not None or delay_s > 0:
            job = replace(job, due_s=at_s if at_s is not None else job.submitted_s + delay_s)
        lane = rules.lane_of(key)
        is_new = await self.kept.store(deployment, job_id, lane, job, as_json=as_json)
        return Submitted(id=f"{deployment}/{job_id}", is_new=is_new or not id)

    async def schedule(
        self,
        deployment: str,
        function: str,
        args: Sequence[Any] = (),
        *,
        name: str,
        times: str,
        key: str | None = None,
        retry: Retry | None = None,
        as_json: bool = False,
    ) -> JobView:
        """Have a job submitted again and again, and return it with its first time (`due_s`).

        `times` is `@every 90s`, `@hourly`, `@daily`, `@weekly`, `@monthly`, or five cron fields
        (minute hour day month weekday, UTC). Each time makes a job of its own with the id
        `name-<seconds since the Unix epoch>`. A schedule of the same name is replaced, `cancel`
        removes it. Times that pass while no scheduler runs are made up for by one job.

        Raises:
            ConflictError: the name is the id of a job, or is being changed.
            InvalidError, NotFoundError, OverloadedError, UnavailableError: as `submit`.
        """
        rules.check_id(f"{name}-{0:010}")
        job = await self._make(deployment, function, args, retry or Retry(), ATTEMPT_S)
        due_s = parse_recurrence(times).after(job.submitted_s)
        job = replace(job, schedule=times, due_s=due_s)
        lane = rules.lane_of(key)
        if not await self.kept.store(deployment, name, lane, job, as_json=as_json):
            await self._replace(deployment, name, lane, job, as_json=as_json)
        return self.kept.view(await self.kept.newest(deployment, name))

    async def _replace(
        self, deployment: str, name: str, lane: str, job: StoredJob, *, as_json: bool
    ) -> None:
        """Store a schedule in place of the one of its name, which may change as its time comes."""
        for attempt in range(REPLACE_ATTEMPTS):
            found = await self.kept.newest(deployment, name)
            if not self.kept.view(found).schedule:
                raise ConflictError(
                    f"{deployment}/{name} is a job, no schedule: choose another name"
                )
            try:
                await self.kept.store_again(found, lane, job, as_json=as_json)
            except ConflictError:
                if attempt == REPLACE_ATTEMPTS - 1:
                    raise
            else:
                return

    async def _make(
        self, deployment: str, function: str, args: Sequence[Any], retry: Retry, timeout_s: float
    ) -> StoredJob:
        operation = await self._operation(deployment, function)
        with call_span(f"submit {deployment} {operation}") as span:
            return StoredJob(
                op=operation.op,
                args=list(args),
                timeout_ms=round(timeout_s * 1000),
                attempts_max=retry.attempts,
                pause_ms=round(retry.first_s * 1000),
                pause_max_ms=round(retry.longest_s * 1000),
                type=operation.fingerprint,
                trace=span.traceparent,
                caller=self._client_id,
                submitted_s=self._asker.clock.wall_s(),
            )

    async def _operation(self, deployment: str, function: str) -> Operation:
        now_s = self._asker.clock.monotonic_s()
        known_s, exposed = self._known.get(deployment, (float("-inf"), {}))
        if now_s - known_s > KNOWN_S:
            answer = await self._asker.api("get", OneDeployment(name=deployment))
            exposed = (answer.get("record") or {}).get("exposed") or {}
            while len(self._known) >= KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self._known[deployment] = (now_s, exposed)
        return choose(deployment, exposed, function)

    # --- following ------------------------------------------------------------------------

    async def result(self, job: str, *, timeout_s: float = RESULT_S) -> Any:
        """Return the value with which a job ended, waiting for it; `job` is `deployment/id`.

        It has the form in which the job was submitted. It may be fetched any number of times.

        Raises:
            NotFoundError: there is no such job, or not any more.
            DeadlineExceededError: it has not ended; it goes on, and `details` have its id.
            ConflictError: it was cancelled.
            LatticeError: the error with which it ended as a dead letter.
        """
        outcome = await self.outcome(job, timeout_s=timeout_s)
        if outcome.err is not None:
            raise from_wire(outcome.err)
        return (outcome.ok or [None])[0]

    async def outcome(self, job: str, *, timeout_s: float = RESULT_S) -> Outcome:
        """Return how a job ended, waiting for it. `Raises:` as `result`, none of its own."""
        return await self.kept.outcome(job, timeout_s=timeout_s)

    async def status(self, job: str) -> JobView:
        """Return what is known of a job. `Raises:` NotFoundError, as `result`."""
        deployment, job_id = rules.split_id(job)
        return self.kept.view(await self.kept.newest(deployment, job_id))

    async def list(self, deployment: str = "", *, states: Sequence[JobState] = ()) -> list[JobView]:
        """Return the jobs that are kept, oldest first; at most `LISTED_MAX`, the newest ones."""
        pattern = self._names.job("*", deployment or "*", "*", "*")
        newest: dict[str, JobView] = {}
        async with self.kept.stream.read(pattern) as records:
            async for record in records:
                try:
                    view = self.kept.view(record)
                except LatticeError:  # one that cannot be read must not hide the others
                    continue
                newest.pop(view.id, None)
                newest[view.id] = view
                if len(newest) > LISTED_MAX:
                    del newest[next(iter(newest))]
        return [view for view in newest.values() if not states or view.state in states]

    async def cancel(self, job: str) -> JobView:
        """Have a job end as cancelled, and return it. One that runs is stopped where it is; what it
        did remains done. One that has ended stays as it is.

        `Raises:` NotFoundError, as `result`.
        """
        deployment, job_id = rules.split_id(job)
        while True:
            found = await self.kept.newest(deployment, job_id)
            view = self.kept.view(found)
            if self.kept.has_ended(found):
                return view
            if await self.kept.cancel(found):
                if view.schedule:  # which is no job, and its name is free again
                    return replace(view, state="cancelled")
                return self.kept.view(await self.kept.newest(deployment, job_id))

    async def redrive(self, job: str) -> JobView:
        """Have a dead letter tried again from its first attempt on, and return it.

        Raises:
            NotFoundError: as `result`.
            ConflictError: it is no dead letter (any more).
        """
        deployment, job_id = rules.split_id(job)
        found = await self.kept.newest(deployment, job_id)
        view = self.kept.view(found)
        if view.state != "dead":
            raise ConflictError(
                f"job {job} is {view.state}, no dead letter that can be tried again"
            )
        anew = again(found, outcome_in(found))
        as_json = codec.is_json(found.headers)
        await self.kept.store_again(found, view.lane, anew, as_json=as_json)
        return replace(view, state="queued", attempts=0, host="", ended_s=0.0, err=None)
