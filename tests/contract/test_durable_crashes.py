"""What a crash at each point of a durable job does, in memory and on a real server.

Who crashes is replaced by what it leaves behind: the messages that it wrote until then.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lattice.bus.base import Connection
from lattice.client.jobs import Jobs
from lattice.clock import SystemClock
from lattice.errors import GuestTrapError, NotFoundError, OverloadedError
from lattice.model.durable import NO_KEY, Retry
from lattice.testing import eventually
from lattice.wire.codec import encode
from lattice.wire.durable import Outcome, StoredJob
from lattice.wire.messages import Invocation
from lattice.wire.subjects import Names
from scheduler.durable_timer import DurableTimer
from tests.contract.durable_silence import Unheard
from tests.contract.durable_world import Guest, submitting, working
from tests.contract.joining import fresh_token

ONCE = Retry(attempts=1, first_s=0, longest_s=0)


@pytest.fixture
def deployment() -> str:
    """A deployment that no other test uses."""
    return fresh_token()


@pytest.fixture
async def jobs(client: Connection, scheduler: Connection, names: Names) -> AsyncIterator[Jobs]:
    async with submitting(client, scheduler, names) as found:
        yield found


async def first_argument(invocation: Invocation) -> Any:
    return invocation.args[0]


async def put(
    connection: Connection, subject: str, message: object, *, expect: int = 0, keep_s: int = 60
) -> int:
    """Store a message in place of the one of a sequence at its own subject."""
    return await connection.jobs.put(
        subject, encode(message), over=subject, expect=expect, keep_s=keep_s
    )


async def test_a_submission_whose_answer_was_lost_is_the_first_when_it_is_repeated(
    client: Connection, scheduler: Connection, host: Connection, names: Names, deployment: str
) -> None:
    unheard = replace(client, jobs=Unheard(client.jobs))
    guest = Guest(first_argument)
    async with submitting(unheard, scheduler, names) as jobs:
        submitted = await jobs.submit(deployment, "f", [1], id="a")
        assert submitted.is_new
        assert not (await jobs.submit(deployment, "f", [2], id="a")).is_new
        cancelled = await jobs.submit(deployment, "f", [3], id="b")
        assert (await jobs.cancel(cancelled.id)).state == "cancelled"
        async with working(host, names, deployment, guest):
            assert await jobs.result(submitted.id) == 1
    assert guest.began == [(submitted.id, 1)]


async def test_an_outcome_whose_answer_was_lost_is_stored_once_and_the_job_is_gone(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    async def fail_once(invocation: Invocation) -> Any:
        if invocation.args[0] == "poison" or invocation.attempt == 1:
            raise GuestTrapError("no")
        return invocation.attempt

    retry = Retry(attempts=2, first_s=0.01, longest_s=0.01)
    unheard = replace(host, jobs=Unheard(host.jobs))
    good = await jobs.submit(deployment, "f", ["good"], id="good", retry=retry)
    poison = await jobs.submit(deployment, "f", ["poison"], id="poison", retry=retry)
    async with working(unheard, names, deployment, Guest(fail_once)):
        assert await jobs.result(good.id) == 2
        with pytest.raises(GuestTrapError):
            await jobs.result(poison.id)
        await eventually(no_calls(host, names, deployment), what="both were removed")
        anew = await jobs.redrive(poison.id)
        assert anew.state == "queued"
        with pytest.raises(GuestTrapError):
            await jobs.result(poison.id)


async def test_a_worker_that_died_between_outcome_and_removal_leaves_nothing_that_runs_again(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    """Also not when the outcome is not kept any more."""
    guest = Guest(first_argument)
    submitted = await jobs.submit(deployment, "f", [1], id="a")
    done = names.job("done", deployment, NO_KEY, "a")
    await put(host, done, Outcome(state="done", ok=["of the dead"]), keep_s=2)
    async with working(host, names, deployment, guest):
        assert await jobs.result(submitted.id) == "of the dead"
        await eventually(no_calls(host, names, deployment), what="the job was removed")

        async def is_forgotten() -> bool:
            return await host.jobs.newest(names.job("*", deployment, "*", "a")) is None

        await eventually(is_forgotten, what="the outcome expired")
        with pytest.raises(NotFoundError):
            await jobs.status(submitted.id)
        other = await jobs.submit(deployment, "f", [2], id="b")
        assert await jobs.result(other.id) == 2
    assert guest.began == [(other.id, 1)]


async def test_a_scheduler_that_died_between_the_steps_of_a_move_leaves_nothing_that_runs_again(
    jobs: Jobs, scheduler: Connection, host: Connection, names: Names, deployment: str
) -> None:
    guest = Guest(first_argument)
    at = names.job("at", deployment, NO_KEY, "a")
    now_s = time.time()
    await put(scheduler, at, StoredJob(op="#f", args=[1], due_s=now_s))
    call = names.job("call", deployment, NO_KEY, "a")
    await put(scheduler, call, StoredJob(op="#f", args=[1]))
    async with working(host, names, deployment, guest), moving(scheduler, names):
        assert await jobs.result(f"{deployment}/a") == 1

        async def is_removed() -> bool:
            return await host.jobs.newest(at) is None

        await eventually(is_removed, what="the place of before is empty")
    assert len(guest.began) == 1


async def test_a_scheduler_that_died_between_the_steps_of_a_schedule_submits_its_time_once(
    jobs: Jobs, scheduler: Connection, host: Connection, names: Names, deployment: str
) -> None:
    guest = Guest(first_argument)
    due_s = time.time() - 5
    each = StoredJob(op="#f", args=[1], due_s=due_s, schedule="@hourly")
    await put(scheduler, names.job("at", deployment, NO_KEY, "tick"), each)
    this_time = f"tick-{round(due_s)}"
    await put(scheduler, names.job("call", deployment, NO_KEY, this_time),
              replace(each, due_s=0.0, schedule=""))  # fmt: skip
    async with working(host, names, deployment, guest), moving(scheduler, names):

        async def waits_for_the_next() -> bool:
            return (await jobs.status(f"{deployment}/tick")).due_s > time.time()

        await eventually(waits_for_the_next)
        assert await jobs.result(f"{deployment}/{this_time}") == 1
    assert guest.began == [(f"{deployment}/{this_time}", 1)]


async def test_a_schedule_that_was_removed_or_replaced_does_not_come_once_more(
    jobs: Jobs, scheduler: Connection, host: Connection, names: Names, deployment: str
) -> None:
    guest = Guest(first_argument)
    async with working(host, names, deployment, guest), moving(scheduler, names):
        await jobs.schedule(deployment, "f", ["removed"], name="removed", times="@every 1s")
        await jobs.cancel(f"{deployment}/removed")
        await jobs.schedule(deployment, "f", ["old"], name="moved", times="@every 1s")
        await jobs.schedule(deployment, "f", ["new"], name="moved", times="@every 1s", key="k")
        await eventually(lambda: len(guest.ended) >= 2, what="the new one came twice")
        await jobs.cancel(f"{deployment}/moved")
        kept = [job.id for job in await jobs.list(deployment, states=["done"])]
    assert all(job.startswith(f"{deployment}/moved-") for job in kept)
    assert {key.rpartition("-")[0] for key, _ in guest.began} == {f"{deployment}/moved"}
    assert set(guest.ended.values()) == {1}


async def test_what_was_delivered_to_a_worker_that_stops_and_was_not_begun_is_no_attempt(
    jobs: Jobs, host: Connection, sibling: Connection, names: Names, deployment: str
) -> None:
    """Even one with a single attempt is run elsewhere."""
    refused = anyio.Event()

    async def nobody(invocation: Invocation) -> Any:
        refused.set()
        raise OverloadedError("all busy")

    full, guest = Guest(nobody), Guest(first_argument)
    async with working(sibling, names, deployment, full, host="full"):
        submitted = await jobs.submit(deployment, "f", [1], id="a", retry=ONCE)
        with anyio.fail_after(10):
            await refused.wait()
    async with working(host, names, deployment, guest):
        assert await jobs.result(submitted.id) == 1
    assert guest.began == [(submitted.id, 1)]


async def test_a_message_that_nobody_can_name_is_removed_and_bothers_no_other_job(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    guest = Guest(first_argument)
    odd = names.job("call", deployment, NO_KEY, "a").removesuffix(".a") + "._zz"
    await put(host, odd, StoredJob(op="#f"))
    async with working(host, names, deployment, guest):
        submitted = await jobs.submit(deployment, "f", [1])
        assert await jobs.result(submitted.id) == 1
        await eventually(no_calls(host, names, deployment), what="it was removed")
        assert [job.id for job in await jobs.list(deployment)] == [submitted.id]


async def test_a_job_that_nobody_ran_and_an_outcome_are_forgotten_after_their_time(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    guest = Guest(first_argument)
    call = names.job("call", deployment, NO_KEY, "old")
    await put(host, call, StoredJob(op="#f", args=[1]), keep_s=1)
    done = names.job("done", deployment, NO_KEY, "ended")
    await put(host, done, Outcome(state="done", ok=[1]), keep_s=1)

    async def are_forgotten() -> bool:
        return await host.jobs.newest(names.job("*", deployment, "*", "*")) is None

    await eventually(are_forgotten)
    for job in ("old", "ended"):
        with pytest.raises(NotFoundError, match="not kept any more"):
            await jobs.result(f"{deployment}/{job}")
        assert (await jobs.submit(deployment, "f", [job], id=job)).is_new
    async with working(host, names, deployment, guest):
        assert await jobs.result(f"{deployment}/ended") == "ended"
        assert await jobs.result(f"{deployment}/old") == "old"


def no_calls(connection: Connection, names: Names, deployment: str) -> Any:
    """Return whether nothing is left to be run."""

    async def are_none() -> bool:
        return await connection.jobs.newest(names.job("call", deployment, "*", "*")) is None

    return are_none


@asynccontextmanager
async def moving(scheduler: Connection, names: Names) -> AsyncIterator[None]:
    """Have a scheduler look at the clock."""
    async with anyio.create_task_group() as group:
        group.start_soon(DurableTimer(scheduler.jobs, names, SystemClock()).run)
        yield
        group.cancel_scope.cancel()
