"""The events of durable jobs: what hosts tell of those that they run, and the leader of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from lattice.bus.base import Connection
from lattice.clock import SystemClock
from lattice.errors import GuestTrapError
from lattice.model.durable import Retry
from lattice.testing import eventually
from lattice.wire.messages import Invocation
from lattice.wire.subjects import Names
from scheduler.announcements import Emit
from scheduler.durable_announcer import JobAnnouncer
from scheduler.durable_timer import DurableTimer
from tests.contract.durable_world import Guest, submitting, working
from tests.contract.joining import fresh_token


@pytest.fixture
def deployment() -> str:
    """A deployment that no other test uses."""
    return fresh_token()


async def test_hosts_tell_what_became_of_a_job_with_the_reason(
    client: Connection, scheduler: Connection, host: Connection, names: Names, deployment: str
) -> None:
    told: list[tuple[str, str, Mapping[str, Any]]] = []

    async def work(invocation: Invocation) -> Any:
        if invocation.args[0] == "poison":
            raise GuestTrapError("unreachable\nbacktrace")
        return None

    retry = Retry(attempts=2, first_s=0.01, longest_s=0.01)
    async with (
        submitting(client, scheduler, names) as jobs,
        working(host, names, deployment, Guest(work), tell=lambda *each: told.append(each)),
    ):
        await jobs.result((await jobs.submit(deployment, "f", ["good"], id="good")).id)
        await jobs.submit(deployment, "f", ["poison"], id="poison", retry=retry)
        await eventually(lambda: len(told) == 3)
    assert [(kind, entity, data["job"]) for kind, entity, data in told] == [
        ("job-completed", deployment, "good"),
        ("job-failed", deployment, "poison"),
        ("job-dead-lettered", deployment, "poison"),
    ]
    assert told[1][2]["reason"] == "attempt 1 of 2, again in 0.01 s: unreachable"
    assert told[2][2]["reason"] == "unreachable"


async def test_the_leader_tells_of_submissions_cancellations_and_second_tries(
    client: Connection, scheduler: Connection, host: Connection, names: Names, deployment: str
) -> None:
    told: list[Emit] = []

    async def trap(invocation: Invocation) -> Any:
        raise GuestTrapError("unreachable")

    once = Retry(attempts=1)
    clock = SystemClock()
    async with (
        submitting(client, scheduler, names) as jobs,
        anyio.create_task_group() as group,
    ):
        group.start_soon(JobAnnouncer(scheduler.bus, names, clock, told.append).run)
        group.start_soon(DurableTimer(scheduler.jobs, names, clock).run)
        # The subscription is there once a signal was heard.
        await jobs.submit(deployment, "f", [1], id="first")

        async def is_heard() -> bool:
            await jobs.submit(deployment, "f", [1])
            return bool(told)

        await eventually(is_heard)
        await jobs.cancel(f"{deployment}/first")
        await jobs.submit(deployment, "f", [1], id="soon", delay_s=0.1, retry=once)
        await eventually(lambda: [each.kind for each in told if each.data["job"] == "soon"]
                         == ["job-submitted"] * 2)  # fmt: skip
        async with working(host, names, deployment, Guest(trap)):
            with pytest.raises(GuestTrapError):
                await jobs.result(f"{deployment}/soon")
        await jobs.redrive(f"{deployment}/soon")
        await eventually(lambda: told[-1].kind == "job-redriven")
        group.cancel_scope.cancel()
    about = [each for each in told if each.data["job"] in ("first", "soon")]
    assert {each.kind for each in about} == {"job-submitted", "job-cancelled", "job-redriven"}
    soon = [each.id for each in about if each.data["job"] == "soon"]
    assert len(set(soon)) == 2, "a job that is moved when it is due is the same submission"
    assert all(each.data["deployment"] == deployment == each.entity for each in about)
