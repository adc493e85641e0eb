"""`lattice:jobs/jobs`: guests submit durable jobs without waiting, and fetch their results.

A binding of the manifest grants it, for the deployments that its `allow` lists. Values travel as
JSON texts, which the host that runs the job checks against the types of the function. Calls that
wait for their outcome go through a link with `route: durable` (`hosts.durable_links`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hosts.callcontext import CallContext
from hosts.durable_links import job_id_of
from hosts.dynamic import Grant, failure_of, not_allowed, parsed_args
from hosts.engine.base import Capability
from lattice.clock import Clock
from lattice.errors import ConflictError, InvalidError, LatticeError, UnavailableError, from_wire
from lattice.model import durable as rules
from lattice.model.ids import name_fault
from lattice.model.wit import interface_key
from lattice.wire.durable import StoredJob
from lattice.wire.messages import HOPS_MAX, Leg

if TYPE_CHECKING:
    from lattice.client.jobs import Jobs

INTERFACE = "lattice:jobs/jobs@0.1.0"
"""What hosts offer, and bindings name."""

TIMEOUT_MS = 60_000
"""Milliseconds for one attempt of a job that a guest submits."""


class GuestJobs:
    """What one instance may submit and ask for."""

    def __init__(
        self,
        grant: Grant,
        jobs: Jobs | None,
        clock: Clock,
        context: Callable[[], CallContext],
        require_open: Callable[[], None] = lambda: None,
    ) -> None:
        """`require_open` raises while the replica may not work."""
        self._grant = grant
        self._jobs = jobs
        self._clock = clock
        self._context = context
        self._require_open = require_open

    def capability(self) -> Capability:
        """Return what satisfies the import of the instance."""
        return Capability(waiting={"submit": self.submit, "result": self.result})

    async def submit(
        self, deployment: str, function: str, args: str, how: Mapping[str, Any]
    ) -> list[Any]:
        """Return `ok` with the id of a job that is stored, or `err` with why there is none."""
        try:
            jobs, context = self._allowed(deployment), self._context()
            given = parsed_args(args)
            job = _stored(function, given, how, context, jobs.kept.now_s())
            job_id = how["id"] or job_id_of(deployment, job.op, given, context, context.legs)
            rules.check_id(job_id)
            lane = rules.lane_of(how["key"])
            await jobs.kept.store(deployment, job_id, lane, job, as_json=True)
            context.report(
                Leg(deployment=deployment, op=job.op, route="durable", host="", took_us=0)
            )
        except LatticeError as error:
            return ["err", failure_of(error)]
        return ["ok", f"{deployment}/{job_id}"]

    async def result(self, job: str, wait_ms: int) -> list[Any]:
        """Return `ok` with the JSON of a job's value, or `err`: it failed, or has not ended."""
        try:
            deployment, _ = rules.split_id(job)
            jobs = self._allowed(deployment)
            left_s = self._context().left_s(self._clock.monotonic_s())
            outcome = await jobs.kept.outcome(job, timeout_s=min(wait_ms / 1000, left_s))
            if outcome.err is not None:
                raise from_wire(outcome.err)
            return ["ok", _text((outcome.ok or [None])[0], job)]
        except LatticeError as error:
            return ["err", failure_of(error)]

    def _allowed(self, deployment: str) -> Jobs:
        """Return where jobs go. `Raises:` DeniedError, InvalidError, and if it may not work now."""
        self._require_open()
        if (fault := name_fault(deployment)) is not None:
            raise InvalidError(fault)
        if not self._grant.covers(deployment):
            raise not_allowed(deployment, "given jobs", INTERFACE)
        if self._jobs is None:
            raise UnavailableError("this host has no durable jobs")
        return self._jobs


def _stored(
    function: str, args: list[Any], how: Mapping[str, Any], context: CallContext, now_s: float
) -> StoredJob:
    """Return what is stored. `Raises:` InvalidError, ConflictError: the chain is too long."""
    if "#" not in function:
        raise InvalidError(f"{function!r} is no function, expected ns:pkg/iface@version#function")
    if context.hops >= HOPS_MAX:
        raise ConflictError(
            f"job is hop {context.hops + 1}, at most {HOPS_MAX}: {' -> '.join(context.chain)}",
            chain=list(context.chain),
        )
    retry = rules.Retry(attempts=how["attempts"] or rules.Retry().attempts)
    delay_s = how["delay-ms"] / 1000
    rules.check_times(delay_s, None, TIMEOUT_MS / 1000, now_s=now_s)
    return StoredJob(
        op=function,
        args=args,
        timeout_ms=TIMEOUT_MS,
        attempts_max=retry.attempts,
        pause_ms=round(retry.first_s * 1000),
        pause_max_ms=round(retry.longest_s * 1000),
        trace=context.trace,
        caller=context.caller,
        chain=list(context.chain),
        hops=context.hops + 1,
        submitted_s=now_s,
        due_s=now_s + delay_s if delay_s else 0.0,
    )


def is_jobs(interface: str) -> bool:
    """Tell whether an import is the one that this satisfies."""
    return interface_key(interface) == interface_key(INTERFACE)


def _text(value: Any, job: str) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise InvalidError(
            f"value of {job} has no JSON form: the job was submitted in another one"
        ) from None
