"""Durable jobs from submission to outcome, in memory and on a real server, with each role's rights:
what is promised, and what a crash at each point does.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lattice.bus.base import Connection
from lattice.client.jobs import Jobs
from lattice.clock import SystemClock
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    GuestTrapError,
    InvalidError,
    NotFoundError,
)
from lattice.model.durable import Retry
from lattice.testing import eventually
from lattice.wire.messages import Invocation
from lattice.wire.subjects import Names
from scheduler.durable_timer import DurableTimer
from tests.contract.durable_silence import Silent
from tests.contract.durable_world import ACK_WAIT_S, Guest, submitting, working
from tests.contract.joining import fresh_token

SOON = Retry(attempts=3, first_s=0.01, longest_s=0.05)


@pytest.fixture
def deployment() -> str:
    """A deployment that no other test uses."""
    return fresh_token()


@pytest.fixture
async def jobs(client: Connection, scheduler: Connection, names: Names) -> AsyncIterator[Jobs]:
    async with submitting(client, scheduler, names) as found:
        yield found


@pytest.fixture
async def timers(scheduler: Connection, standby: Connection, names: Names) -> AsyncIterator[None]:
    """Two schedulers, which both look at the clock."""
    async with anyio.create_task_group() as group:
        for connection in (scheduler, standby):
            group.start_soon(DurableTimer(connection.jobs, names, SystemClock()).run)
        yield
        group.cancel_scope.cancel()


async def first_argument(invocation: Invocation) -> Any:
    return invocation.args[0]


async def trap(invocation: Invocation) -> Any:
    raise GuestTrapError("unreachable")


async def test_a_job_that_is_submitted_before_anybody_runs_it_ends_with_its_value(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    guest = Guest(first_argument)
    submitted = await jobs.submit(deployment, "f", [b"\x00v"], id="a")
    assert (submitted.id, submitted.is_new) == (f"{deployment}/a", True)
    assert (await jobs.status(submitted.id)).state == "queued"
    async with working(host, names, deployment, guest):
        assert await jobs.result(submitted.id) == b"\x00v"
        other = await jobs.submit(deployment, "f", [2])
        assert await jobs.result(other.id) == 2
    assert guest.began == [(submitted.id, 1), (other.id, 1)]
    view = await jobs.status(submitted.id)
    assert (view.state, view.attempts, view.host, view.function) == ("done", 1, "h", "#f")
    assert [job.id for job in await jobs.list(deployment)] == [submitted.id, other.id]


async def test_an_id_is_submitted_once_by_however_many_also_after_it_ended(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    guest = Guest(first_argument)
    found = []

    async def submit(number: int) -> None:
        key = "k" if number % 2 else None
        found.append(await jobs.submit(deployment, "f", [number], id="a", key=key))

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(submit, number)
    assert sum(one.is_new for one in found) == 1
    async with working(host, names, deployment, guest):
        value = await jobs.result(f"{deployment}/a")
        assert not (await jobs.submit(deployment, "f", [99], id="a")).is_new
        assert await jobs.result(f"{deployment}/a") == value
    assert len(guest.began) == 1


async def test_a_job_whose_host_dies_runs_again_elsewhere_with_the_same_key(
    jobs: Jobs, host: Connection, sibling: Connection, names: Names, deployment: str
) -> None:
    begun = anyio.Event()

    async def hang(invocation: Invocation) -> Any:
        begun.set()
        await anyio.sleep_forever()

    dying, guest = Guest(hang), Guest(first_argument)
    submitted = await jobs.submit(deployment, "f", [1], id="a")
    async with working(sibling, names, deployment, dying) as life:
        with anyio.fail_after(10):
            await begun.wait()
        life.cancel()
    async with working(host, names, deployment, guest):
        assert await jobs.result(submitted.id) == 1
    assert dying.began == [(submitted.id, 1)]
    assert guest.began == [(submitted.id, 2)]


async def test_a_job_that_runs_for_long_is_not_begun_again(
    jobs: Jobs, host: Connection, sibling: Connection, names: Names, deployment: str
) -> None:
    begun_s: list[float] = []
    finish = anyio.Event()

    async def work_for_long(invocation: Invocation) -> Any:
        begun_s.append(time.monotonic())
        await finish.wait()
        return invocation.attempt

    guest = Guest(work_for_long)
    async with (
        working(host, names, deployment, guest),
        working(sibling, names, deployment, guest, host="other"),
    ):
        submitted = await jobs.submit(deployment, "f", [1])
        await eventually(lambda: begun_s and time.monotonic() > begun_s[0] + 2 * ACK_WAIT_S)
        finish.set()
        assert await jobs.result(submitted.id) == 1
    assert len(guest.began) == 1


async def test_a_result_that_comes_late_loses(
    jobs: Jobs, host: Connection, sibling: Connection, names: Names, deployment: str
) -> None:
    """The first worker stalls, without a sign of life, until another one has the outcome."""
    begun, resume = anyio.Event(), anyio.Event()

    async def stall(invocation: Invocation) -> Any:
        begun.set()
        with anyio.CancelScope(shield=True):  # as who is stopped hears of nothing
            await resume.wait()
        return "late"

    slow, guest = Guest(stall), Guest(first_argument)
    stalled = stopped(sibling)
    submitted = await jobs.submit(deployment, "f", ["first"], id="a")
    async with working(stalled, names, deployment, slow, host="slow"):
        with anyio.fail_after(10):
            await begun.wait()
        async with working(host, names, deployment, guest):
            assert await jobs.result(submitted.id) == "first"
        resume.set()
        await eventually(lambda: slow.ended[submitted.id], what="the late one ended")
    assert await jobs.result(submitted.id) == "first"
    assert (await jobs.status(submitted.id)).host == "h"


def stopped(connection: Connection) -> Connection:
    """Return a connection whose signs of life do not arrive."""
    return replace(connection, jobs=Silent(connection.jobs))


async def test_a_poisonous_job_is_a_dead_letter_after_its_attempts_and_can_be_tried_again(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    poison = Guest(trap)
    submitted = await jobs.submit(deployment, "f", [5], id="a", retry=SOON)
    async with working(host, names, deployment, poison):
        with pytest.raises(GuestTrapError, match="unreachable"):
            await jobs.result(submitted.id)
    assert poison.began == [(submitted.id, attempt) for attempt in (1, 2, 3)]
    assert [job.id for job in await jobs.list(deployment, states=["dead"])] == [submitted.id]
    assert (await jobs.redrive(submitted.id)).state == "queued"
    with pytest.raises(ConflictError, match="queued"):
        await jobs.redrive(submitted.id)
    mended = Guest(first_argument)
    async with working(host, names, deployment, mended):
        assert await jobs.result(submitted.id) == 5
    assert mended.began == [(submitted.id, 1)]


async def test_an_error_that_stays_is_a_dead_letter_at_once(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    async def refuse(invocation: Invocation) -> Any:
        raise InvalidError("args[0]: no number")

    guest = Guest(refuse)
    submitted = await jobs.submit(deployment, "f", ["x"], retry=SOON)
    async with working(host, names, deployment, guest):
        with pytest.raises(InvalidError, match="no number"):
            await jobs.result(submitted.id)
    assert len(guest.began) == 1


async def test_a_job_that_kills_each_host_is_a_dead_letter_without_another_try(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    begun = anyio.Event()

    async def hang(invocation: Invocation) -> Any:
        begun.set()
        await anyio.sleep_forever()

    killed, survivor = Guest(hang), Guest(first_argument)
    once = Retry(attempts=1, first_s=0, longest_s=0)
    submitted = await jobs.submit(deployment, "f", [1], id="a", retry=once)
    async with working(host, names, deployment, killed) as life:
        with anyio.fail_after(10):
            await begun.wait()
        life.cancel()
    async with working(host, names, deployment, survivor):
        with pytest.raises(GuestTrapError, match="without an answer"):
            await jobs.result(submitted.id)
    assert survivor.began == []


async def test_a_cancelled_job_is_not_run_and_one_that_runs_is_stopped(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    begun = anyio.Event()

    async def hang(invocation: Invocation) -> Any:
        begun.set()
        await anyio.sleep_forever()

    guest = Guest(hang)
    before = await jobs.submit(deployment, "f", [1], id="before")
    assert (await jobs.cancel(before.id)).state == "cancelled"
    async with working(host, names, deployment, guest):
        running = await jobs.submit(deployment, "f", [1], id="running")
        with anyio.fail_after(10):
            await begun.wait()
        assert (await jobs.cancel(running.id)).state == "cancelled"
    assert guest.began == [(running.id, 1)]
    for job in (before, running):
        with pytest.raises(ConflictError, match="cancelled"):
            await jobs.result(job.id)
    assert not (await jobs.submit(deployment, "f", [1], id="before")).is_new


async def test_jobs_of_one_key_run_in_their_order_also_when_one_fails_meanwhile(
    jobs: Jobs, host: Connection, sibling: Connection, names: Names, deployment: str
) -> None:
    order: list[int] = []

    async def sometimes(invocation: Invocation) -> Any:
        if invocation.args[0] == 2 and invocation.attempt < 3:
            raise GuestTrapError("not yet")
        order.append(invocation.args[0])
        return None

    guest = Guest(sometimes)
    for number in range(6):
        await jobs.submit(deployment, "f", [number], id=str(number), key="account", retry=SOON)
    async with (
        working(host, names, deployment, guest),
        working(sibling, names, deployment, guest, host="other"),
    ):
        await jobs.result(f"{deployment}/5")
    assert order == list(range(6))


async def test_a_job_to_come_is_run_when_it_is_due_and_its_id_is_taken_meanwhile(
    jobs: Jobs, host: Connection, timers: None, names: Names, deployment: str
) -> None:
    guest = Guest(first_argument)
    start_s = time.time()
    submitted = await jobs.submit(deployment, "f", [1], id="a", delay_s=0.5)
    assert (await jobs.status(submitted.id)).state == "scheduled"
    assert not (await jobs.submit(deployment, "f", [2], id="a")).is_new
    never = await jobs.submit(deployment, "f", [3], id="never", at_s=start_s + 0.6)
    await jobs.cancel(never.id)
    last = await jobs.submit(deployment, "f", [4], id="last", at_s=start_s + 0.7)
    async with working(host, names, deployment, guest):
        assert await jobs.result(submitted.id) == 1
        assert time.time() - start_s >= 0.5
        assert await jobs.result(last.id) == 4
    assert guest.began == [(submitted.id, 1), (last.id, 1)]


async def test_a_schedule_submits_one_job_each_time_until_it_is_removed(
    jobs: Jobs, host: Connection, timers: None, names: Names, deployment: str
) -> None:
    guest = Guest(first_argument)
    await jobs.schedule(deployment, "f", [0], name="tick", times="@hourly")
    view = await jobs.schedule(deployment, "f", [7], name="tick", times="@every 1s")
    assert (view.state, view.schedule) == ("scheduled", "@every 1s")
    async with working(host, names, deployment, guest):
        await eventually(lambda: len(guest.ended) >= 2, what="two times came")
        await jobs.cancel(view.id)
        with pytest.raises(NotFoundError):
            await jobs.status(view.id)
    assert set(guest.ended.values()) == {1}
    assert all(key.startswith(f"{deployment}/tick-") for key, _ in guest.began)
    one = await jobs.submit(deployment, "f", [1], id="job")
    with pytest.raises(ConflictError, match="is a job"):
        await jobs.schedule(deployment, "f", name="job", times="@daily")
    await jobs.cancel(one.id)


async def test_who_waits_in_vain_is_told_where_the_job_is(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    submitted = await jobs.submit(deployment, "f", [1])
    with pytest.raises(DeadlineExceededError, match="is queued") as failure:
        await jobs.result(submitted.id, timeout_s=0.1)
    assert failure.value.details["job"] == submitted.id
    with pytest.raises(NotFoundError):
        await jobs.result(f"{deployment}/unknown")
    with pytest.raises(InvalidError, match="expected deployment/id"):
        await jobs.status("unknown")


async def test_what_ran_while_its_worker_was_told_to_stop_is_stored(
    jobs: Jobs, host: Connection, names: Names, deployment: str
) -> None:
    begun, finish = anyio.Event(), anyio.Event()

    async def wait(invocation: Invocation) -> Any:
        begun.set()
        await finish.wait()
        return 1

    guest = Guest(wait)
    submitted = await jobs.submit(deployment, "f", [1])
    async with anyio.create_task_group() as group:
        async with working(host, names, deployment, guest):
            with anyio.fail_after(10):
                await begun.wait()
            group.start_soon(eventually, lambda: finish.set() is None)
        assert await jobs.result(submitted.id) == 1
    assert len(guest.began) == 1
