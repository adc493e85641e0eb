"""What `Log` and `Objects` promise, for each implementation."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import anyio
import pytest

from lattice.bus.base import Connection, Log, Objects, Record
from lattice.errors import InvalidError, NotFoundError
from lattice.model.ids import Digest
from lattice.wire.subjects import Names
from tests.contract.joining import fresh_token
from tests.contract.taking import take, take_all


async def bodies(records: AsyncIterator[Record]) -> list[bytes]:
    return [record.body for record in await take_all(records)]


async def test_an_empty_log_ends_at_once(read_log: Log) -> None:
    async with read_log.read() as records:
        assert await take_all(records) == []


async def test_a_record_is_read_as_it_was_appended(log: Log, read_log: Log, names: Names) -> None:
    subject = names.event("host-joined", "h1")
    first = await log.append(subject, b"1", headers={"ce-id": "7"}, dedup_id=fresh_token())
    second = await log.append(subject, b"2")
    assert second > first > 0
    async with read_log.read() as records:
        found = await take_all(records)
    assert [(record.subject, record.body, record.headers, record.sequence) for record in found] == [
        (subject, b"1", {"ce-id": "7"}, first),
        (subject, b"2", {}, second),
    ]
    assert found[0].time_s <= found[1].time_s


async def test_an_equal_dedup_id_is_not_stored_again(log: Log, read_log: Log, names: Names) -> None:
    subject = names.event("a", "b")
    one, another = fresh_token(), fresh_token()  # servers remember them for two minutes
    first = await log.append(subject, b"1", dedup_id=one)
    assert await log.append(subject, b"other", dedup_id=one) == first
    assert await log.append(subject, b"2", dedup_id=another) > first
    async with read_log.read() as records:
        assert await bodies(records) == [b"1", b"2"]


async def test_reading_begins_after_a_sequence(log: Log, read_log: Log, names: Names) -> None:
    sequences = [await log.append(names.event("a", "b"), b"%d" % number) for number in range(5)]
    async with read_log.read(after=sequences[2]) as records:
        assert await bodies(records) == [b"3", b"4"]
    async with read_log.read(after=sequences[4]) as records:
        assert await bodies(records) == []


async def test_reading_begins_at_a_time(log: Log, read_log: Log, names: Names) -> None:
    for number in range(5):
        await log.append(names.event("a", "b"), b"%d" % number)
    async with read_log.read() as records:
        times = [record.time_s for record in await take_all(records)]
    expected = [b"%d" % number for number in range(5) if times[number] >= times[2]]
    async with read_log.read(since_s=times[2]) as records:
        assert await bodies(records) == expected
    async with read_log.read(since_s=times[4] + 3600) as records:
        assert await bodies(records) == []


async def test_reading_shows_what_matches(log: Log, read_log: Log, names: Names) -> None:
    await log.append(names.event("joined", "h1"), b"1")
    await log.append(names.event("lost", "h1"), b"2")
    await log.append(names.event("joined", "h2"), b"3")
    async with read_log.read(names.prefix + ".evt.joined.*") as records:
        assert await bodies(records) == [b"1", b"3"]
    async with read_log.read(names.event("lost", "h1")) as records:
        assert await bodies(records) == [b"2"]


async def test_following_goes_on_with_what_is_appended(
    log: Log, read_log: Log, names: Names, scheduler: Connection
) -> None:
    await log.append(names.event("a", "b"), b"1")
    async with read_log.read(follow=True) as records:
        assert [record.body for record in await take(records, 1)] == [b"1"]
        await scheduler.events.append(names.event("a", "b"), b"2")
        await scheduler.events.append(names.event("a", "c"), b"3")
        assert [record.body for record in await take(records, 2)] == [b"2", b"3"]


async def test_following_ends_with_the_context(read_log: Log) -> None:
    ended = anyio.Event()

    async def read(records: AsyncIterator[Record]) -> None:
        await take_all(records)
        ended.set()

    async with anyio.create_task_group() as tasks:
        async with read_log.read(follow=True) as records:
            tasks.start_soon(read, records)
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            await ended.wait()


async def test_a_long_log_is_read_in_order(log: Log, read_log: Log, names: Names) -> None:
    for number in range(600):
        await log.append(names.event("a", "b"), b"%d" % number)
    async with read_log.read() as records:
        assert await bodies(records) == [b"%d" % number for number in range(600)]


async def test_a_malformed_subject_is_refused(log: Log, read_log: Log) -> None:
    with pytest.raises(InvalidError):
        await log.append("a b", b"")
    with pytest.raises(InvalidError):
        async with read_log.read("a b"):
            pass


# --- objects ------------------------------------------------------------------------------------

SIZES = (0, 1, 128 * 1024, 128 * 1024 + 1, 5_000_000)


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_is_read_by_its_digest(
    objects: Objects, read_objects: Objects, size: int
) -> None:
    body = bytes(number % 251 for number in range(1000)) * (size // 1000 + 1)
    body = body[:size]
    digest = await objects.put(body)
    assert digest == "sha256:" + hashlib.sha256(body).hexdigest()
    assert await read_objects.get(digest) == body
    assert await objects.has(digest)


async def test_an_object_that_is_not_there_is_not_found(
    objects: Objects, read_objects: Objects
) -> None:
    digest = Digest("sha256:" + "0" * 64)
    assert not await objects.has(digest)
    with pytest.raises(NotFoundError, match=f"no object {digest}"):
        await read_objects.get(digest)


@pytest.mark.parametrize("digest", ["", "sha256:0", "md5:" + "0" * 64, "sha256:" + "G" * 64])
async def test_a_malformed_digest_is_refused(
    objects: Objects, read_objects: Objects, digest: str
) -> None:
    with pytest.raises(InvalidError, match="is not a digest"):
        await read_objects.get(Digest(digest))
    with pytest.raises(InvalidError, match="is not a digest"):
        await objects.has(Digest(digest))


async def test_progress_is_told_up_to_the_whole(objects: Objects, read_objects: Objects) -> None:
    body = b"x" * 400_000
    sent: list[tuple[int, int]] = []
    again: list[tuple[int, int]] = []
    received: list[tuple[int, int]] = []
    digest = await objects.put(body, progress=lambda *told: sent.append(told))
    await objects.put(body, progress=lambda *told: again.append(told))
    await read_objects.get(digest, progress=lambda *told: received.append(told))
    for told in (sent, received):
        assert told == sorted(told)
        assert told[-1] == (len(body), len(body))
    assert again == [(len(body), len(body))]


async def test_two_may_put_the_same_object_at_once(
    objects: Objects, read_objects: Objects, scheduler: Connection
) -> None:
    body = b"same" * 100_000
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(objects.put, body)
        tasks.start_soon(scheduler.artifacts.put, body)
    digest = Digest("sha256:" + hashlib.sha256(body).hexdigest())
    assert await read_objects.get(digest) == body


async def test_what_was_removed_is_not_there_and_can_be_put_again(
    scheduler: Connection, read_objects: Objects
) -> None:
    body = bytes(range(256)) * 2000
    digest = await scheduler.artifacts.put(body)
    other = await scheduler.artifacts.put(b"other")
    await scheduler.artifacts.remove(digest)
    await scheduler.artifacts.remove(digest)
    assert not await read_objects.has(digest)
    with pytest.raises(NotFoundError):
        await read_objects.get(digest)
    assert await read_objects.get(other) == b"other"
    assert await scheduler.artifacts.put(body) == digest
    assert await read_objects.get(digest) == body
