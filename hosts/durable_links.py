"""Calls through a link with `route: durable`: submitted as a job, answered by its outcome.

A guest waits for the outcome until its deadline and is told the id of the job then; the job goes
on. Nothing here decides when a call takes this route.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

from hosts.callcontext import CallContext
from lattice.client.jobs import Jobs
from lattice.component.resolution import LinkTarget
from lattice.model.durable import NO_KEY, Retry
from lattice.wire.codec import encode
from lattice.wire.durable import StoredJob
from lattice.wire.messages import LEGS_MAX, CallReply, Leg

RETRY = Retry(attempts=5, first_s=0.1, longest_s=10.0)
"""How often such a call is tried: its guest waits, so the pauses are short."""


async def call_durably(
    jobs: Jobs,
    link: LinkTarget,
    function: str,
    args: Sequence[Any],
    context: CallContext,
    before: Sequence[Leg],
    *,
    left_s: float,
    as_json: bool,
) -> CallReply:
    """Return the outcome of the call of a linked deployment as a reply. `before` are the calls that
    its guest has made until now.

    Raises:
        DeadlineExceededError: it has not ended within `left_s`; `details["job"]` is its id.
        OverloadedError: the stream of jobs is full; nothing was stored.
        UnavailableError: the stream cannot be reached.
    """
    op = f"{link.interface}#{function}"
    job = StoredJob(
        op=op,
        args=list(args),
        timeout_ms=round(link.timeout_s * 1000),
        attempts_max=RETRY.attempts,
        pause_ms=round(RETRY.first_s * 1000),
        pause_max_ms=round(RETRY.longest_s * 1000),
        type=link.types.get(function, ""),
        trace=context.trace,
        caller=context.caller,
        chain=list(context.chain),
        hops=context.hops,
        submitted_s=jobs.kept.now_s(),
    )
    job_id = job_id_of(link.deployment, op, args, context, before)
    await jobs.kept.store(link.deployment, job_id, NO_KEY, job, as_json=as_json)
    outcome = await jobs.kept.outcome(f"{link.deployment}/{job_id}", timeout_s=left_s)
    return CallReply(ok=outcome.ok, err=outcome.err, host=outcome.host)


def job_id_of(
    deployment: str, op: str, args: Sequence[Any], context: CallContext, before: Sequence[Leg]
) -> str:
    """Return the id of a guest's job: with a key the same one each time the guest is run again, so
    that a durable job which calls on is attached to the jobs of its first attempt.

    How many durable calls of this function were made before tells two equal ones apart. When there
    were more calls than are noted, nothing does, and each gets an id of its own.
    """
    if context.key is None or len(before) >= LEGS_MAX:
        return uuid.uuid4().hex
    number = sum((leg.deployment, leg.op, leg.route) == (deployment, op, "durable")
                 for leg in before)  # fmt: skip
    said = encode([context.key, list(context.chain), deployment, op, list(args), number])
    return hashlib.sha256(said).hexdigest()[:32]
