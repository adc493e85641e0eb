"""Durable jobs when the server crashes or is full; on a real server only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from lattice.bus.base import Connection
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.jetstream import ensure_stores, open_connection
from lattice.client.jobs import Jobs
from lattice.errors import OverloadedError
from lattice.testing import LATTICE, connect_as, running_nats
from lattice.wire.messages import Invocation
from lattice.wire.subjects import Names
from tests.contract.durable_world import Guest, submitting, working
from tests.contract.joining import SMALL, joined

pytestmark = pytest.mark.nats

NAMES = Names(LATTICE)


@pytest.fixture
async def jobs(fresh_nats: EmbeddedNats) -> AsyncIterator[Jobs]:
    async with (
        connect_as(fresh_nats, "scheduler") as scheduler,
        connect_as(fresh_nats, "client") as client,
        submitting(client, scheduler, NAMES) as found,
    ):
        yield found


@pytest.fixture
async def host(fresh_nats: EmbeddedNats) -> AsyncIterator[Connection]:
    async with connect_as(fresh_nats, "host") as connection:
        yield connection


async def test_jobs_survive_a_crash_of_the_server_while_they_run(
    jobs: Jobs, host: Connection, fresh_nats: EmbeddedNats
) -> None:
    begun, finish = anyio.Event(), anyio.Event()

    async def wait(invocation: Invocation) -> Any:
        begun.set()
        await finish.wait()
        return invocation.args[0]

    guest = Guest(wait)
    ids = [(await jobs.submit("d", "f", [number], id=str(number))).id for number in range(5)]
    key = await jobs.submit("d", "f", [5], key="k")
    values: list[object] = []

    async def follow(job: str) -> None:
        values.append(await jobs.result(job, timeout_s=60))

    async with working(host, NAMES, "d", guest), anyio.create_task_group() as group:
        for job in (*ids, key.id):
            group.start_soon(follow, job)
        with anyio.fail_after(10):
            await begun.wait()
        await fresh_nats.kill()
        await fresh_nats.restart()
        finish.set()
        later = await jobs.submit("d", "f", [6], id="later")
        group.start_soon(follow, later.id)
    assert sorted(values, key=str) == list(range(7))
    assert {view.state for view in await jobs.list("d")} == {"done"}


async def test_a_full_stream_refuses_submissions_and_what_it_holds_still_ends() -> None:
    async with running_nats(with_stores=False) as nats, joined(nats, "scheduler") as (link, _):
        await ensure_stores(link, NAMES, limits=SMALL)
        scheduler = open_connection(link, LATTICE)
        async with (
            connect_as(nats, "client") as client,
            connect_as(nats, "host") as host,
            submitting(client, scheduler, NAMES) as jobs,
        ):
            body = b"x" * 400_000
            stored: list[str] = []

            async def fill() -> None:
                while True:
                    job = await jobs.submit("d", "f", [body], id=str(len(stored)))
                    stored.append(job.id)

            with pytest.raises(OverloadedError):
                await fill()
            assert len(stored) > 10
            await scheduler.control.put("free", b"the control plane has its own room")

            async def size(invocation: Invocation) -> Any:
                return len(invocation.args[0])

            async with working(host, NAMES, "d", Guest(size)):
                for job in stored:
                    assert await jobs.result(job) == len(body)
                await jobs.submit("d", "f", [b"there is room again"], id="new")
