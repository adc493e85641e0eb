"""The stream of durable jobs, in memory and on a real server: one text for both."""

from __future__ import annotations

import anyio
import pytest

from lattice.bus.base import Connection
from lattice.bus.durable import SEQUENCE_HEADER, JobStream, Lane, Pulling, Taken
from lattice.errors import ConflictError
from lattice.testing import eventually
from lattice.wire.subjects import Names
from tests.contract.joining import fresh_token

KEEP_S = 60


@pytest.fixture
def deployment() -> str:
    """A deployment that no other test uses."""
    return fresh_token()


async def put(
    jobs: JobStream, names: Names, deployment: str, job: str, body: bytes = b"1", lane: str = "_"
) -> int:
    return await jobs.put(
        names.job("call", deployment, lane, job), body,
        over=names.job("*", deployment, "*", job), expect=0, keep_s=KEEP_S,
    )  # fmt: skip


def lane_of(
    names: Names,
    deployment: str,
    lane: str = "_",
    *,
    is_ordered: bool = False,
    ack_wait_s: float = 30,
) -> Lane:
    return Lane(
        name=f"{lane}-{deployment}", subject=names.job("call", deployment, lane, "*"),
        is_ordered=is_ordered, ack_wait_s=ack_wait_s,
    )  # fmt: skip


async def take(pulling: Pulling) -> Taken:
    await pulling.ask(1)
    with anyio.fail_after(10):
        return await pulling.next()


async def test_messages_are_counted_by_subject_and_none_that_was_removed(
    client: Connection, host: Connection, names: Names, deployment: str
) -> None:
    pattern = names.job("call", deployment, "*", "*")
    assert await client.jobs.count(pattern) == 0
    first = await put(client.jobs, names, deployment, "a")
    for lane, job in (("_", "b"), ("3", "c")):
        await put(client.jobs, names, deployment, job, lane=lane)
    await put(client.jobs, names, f"{deployment}x", "a")
    assert await client.jobs.count(pattern) == 3
    assert await client.jobs.count(names.job("call", deployment, "_", "*")) == 2
    assert await client.jobs.count(names.job("done", deployment, "*", "*")) == 0
    await host.jobs.remove(first)
    assert await client.jobs.count(pattern) == 2


async def test_one_of_many_submissions_of_an_id_is_stored_whatever_its_lane(
    client: Connection, host: Connection, names: Names, deployment: str
) -> None:
    stored: list[int] = []

    async def submit(connection: Connection, lane: str) -> None:
        try:
            stored.append(await put(connection.jobs, names, deployment, "a", lane=lane))
        except ConflictError:
            return

    async with anyio.create_task_group() as group:
        for connection, lane in [(client, "_"), (host, "3"), (client, "3"), (host, "_")]:
            group.start_soon(submit, connection, lane)
    assert len(stored) == 1
    newest = await client.jobs.newest(names.job("*", deployment, "*", "a"))
    assert newest is not None
    assert newest.sequence == stored[0]


async def test_a_write_over_another_sequence_is_a_conflict_and_over_the_newest_takes_place(
    client: Connection, names: Names, deployment: str
) -> None:
    first = await put(client.jobs, names, deployment, "a")
    over = names.job("*", deployment, "*", "a")
    done = names.job("done", deployment, "_", "a")
    with pytest.raises(ConflictError):
        await client.jobs.put(done, b"2", over=over, expect=first + 7, keep_s=KEEP_S)
    second = await client.jobs.put(done, b"2", over=over, expect=first, keep_s=KEEP_S)
    newest = await client.jobs.newest(over)
    assert newest is not None
    assert (newest.sequence, newest.body, newest.subject) == (second, b"2", done)
    assert second > first


async def test_headers_and_names_come_back_and_what_was_removed_is_gone(
    client: Connection, names: Names, deployment: str
) -> None:
    job = "of a/ü.*"
    subject = names.job("call", deployment, "_", job)
    over = names.job("*", deployment, "*", job)
    sequence = await client.jobs.put(
        subject, b"{}", over=over, expect=0, keep_s=KEEP_S, headers={"Content-Type": "a/b: c"}
    )
    found = await client.jobs.newest(over)
    assert found is not None
    assert dict(found.headers) == {"Content-Type": "a/b: c"}
    assert names.parse_job(found.subject) == ("call", deployment, "_", job)
    assert await client.jobs.remove(sequence)
    assert not await client.jobs.remove(sequence)
    assert await client.jobs.newest(over) is None
    await put(client.jobs, names, deployment, job)


async def test_what_is_stored_is_signalled(
    client: Connection, host: Connection, names: Names, deployment: str
) -> None:
    signals = host.bus.subscribe(names.job_signal("call", deployment, "*", "*"))
    async with signals as packets:
        sequence = await put(client.jobs, names, deployment, "a", b"body")
        with anyio.fail_after(10):
            packet = await anext(packets)
    assert packet.headers[SEQUENCE_HEADER] == str(sequence)
    assert names.parse_job(packet.subject) == ("call", deployment, "_", "a")
    assert packet.body == b"body"


async def test_a_message_is_gone_after_its_time(
    client: Connection, names: Names, deployment: str
) -> None:
    subject = names.job("done", deployment, "_", "a")
    over = names.job("*", deployment, "*", "a")
    await client.jobs.put(subject, b"1", over=over, expect=0, keep_s=1)

    async def is_gone() -> bool:
        return await client.jobs.newest(over) is None

    await eventually(is_gone, what="the message expired")


async def test_all_that_matches_is_read_in_order(
    client: Connection, names: Names, deployment: str
) -> None:
    for job in ("b", "a", "c"):
        await put(client.jobs, names, deployment, job)
    async with client.jobs.read(names.job("call", deployment, "*", "*")) as records:
        found = [names.parse_job(record.subject)[3] async for record in records]
    assert found == ["b", "a", "c"]


async def test_a_message_is_one_workers_until_it_is_given_back_and_settled(
    client: Connection, host: Connection, sibling: Connection, names: Names, deployment: str
) -> None:
    lane = lane_of(names, deployment)
    async with host.jobs.pull(lane) as first, sibling.jobs.pull(lane) as second:
        await put(client.jobs, names, deployment, "a", b"body")
        taken = await take(first)
        assert (taken.record.body, taken.delivered) == (b"body", 1)
        await first.give_back(taken, 0)
        again = await take(second)
        assert (again.record.sequence, again.delivered) == (taken.record.sequence, 2)
        assert not await second.is_empty()
        await second.settle(again)
        assert await second.is_empty()


async def test_what_is_not_settled_in_time_is_delivered_again_and_a_sign_of_life_prevents_it(
    client: Connection, host: Connection, names: Names, deployment: str
) -> None:
    lane = lane_of(names, deployment, ack_wait_s=1)
    async with host.jobs.pull(lane) as pulling:
        await put(client.jobs, names, deployment, "a")
        taken = await take(pulling)
        start_s = anyio.current_time()
        await pulling.ask(1)
        again: Taken | None = None
        while anyio.current_time() - start_s < 2:
            await pulling.working(taken)
            with anyio.move_on_after(0.2):
                again = await pulling.next()
        assert again is None
        with anyio.fail_after(10):
            again = await pulling.next()
        assert again.delivered == 2
        await pulling.settle(again)


async def test_an_ordered_lane_delivers_the_next_only_when_the_one_before_is_settled(
    client: Connection, host: Connection, sibling: Connection, names: Names, deployment: str
) -> None:
    lane = lane_of(names, deployment, "3", is_ordered=True)
    for job in ("a", "b"):
        await put(client.jobs, names, deployment, job, lane="3")
    async with host.jobs.pull(lane) as first, sibling.jobs.pull(lane) as second:
        taken = await take(first)
        await second.ask(1)
        await first.give_back(taken, 0.3)
        with anyio.fail_after(10):
            again = await second.next()
        assert again.record.sequence == taken.record.sequence
        await second.settle(again)
        assert names.parse_job((await take(first)).record.subject)[3] == "b"


async def test_what_is_removed_is_not_delivered(
    client: Connection, host: Connection, names: Names, deployment: str
) -> None:
    lane = lane_of(names, deployment)
    removed = await put(client.jobs, names, deployment, "a")
    await client.jobs.remove(removed)
    await put(client.jobs, names, deployment, "b")
    async with host.jobs.pull(lane) as pulling:
        assert names.parse_job((await take(pulling)).record.subject)[3] == "b"
