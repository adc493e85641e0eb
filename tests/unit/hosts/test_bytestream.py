"""The streams of one call: what is put and written comes out as it was, in any order of words."""

from __future__ import annotations

import random

import anyio
import pytest

from hosts.bytestream import WRITTEN_BYTES_MAX, ByteStream
from lattice.clock import SystemClock
from lattice.errors import InvalidError
from lattice.wire.streaming import PART_BYTES, WINDOW

NOW_S = 0.0


def new_stream() -> ByteStream:
    return ByteStream(SystemClock(), idle_s=30.0)


async def read_all(stream: ByteStream, sizes: random.Random) -> bytes:
    found: list[bytes] = []
    while part := await stream.read(sizes.choice((0, 1, 100, PART_BYTES, 2**32 - 1))):
        found.append(part)
    return b"".join(found)


@pytest.mark.parametrize("seed", range(20))
async def test_parts_put_in_any_order_and_twice_are_read_as_they_were(seed: int) -> None:
    chance = random.Random(seed)
    parts = [chance.randbytes(chance.choice((1, 7, PART_BYTES))) for _ in range(12)]
    stream, read = new_stream(), b""

    async def put(number: int) -> None:
        stream.put(number, parts[number])
        assert await stream.taken(number, 30)
        stream.put(number, parts[number])  # its acknowledgement was lost

    async with anyio.create_task_group() as group:

        async def reading() -> None:
            nonlocal read
            read = await read_all(stream, chance)

        group.start_soon(reading)
        for start in range(0, len(parts), WINDOW):
            async with anyio.create_task_group() as window:
                numbers = list(range(start, min(start + WINDOW, len(parts))))
                for number in chance.sample(numbers, len(numbers)):
                    window.start_soon(put, number)
        stream.end(len(parts))
    assert read == b"".join(parts)
    assert stream.held_bytes == 0


@pytest.mark.parametrize("seed", range(20))
async def test_what_is_written_is_got_as_it_was_and_may_be_got_again(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [chance.randbytes(chance.choice((0, 1, 9, 5000, 3 * PART_BYTES))) for _ in range(40)]
    stream = new_stream()
    parts: dict[int, bytes] = {}

    async def write() -> None:
        for piece in pieces:
            await stream.write(piece)
        stream.finish()

    async def get(number: int) -> None:
        while (part := await stream.part(number, 30)) is None:
            pass
        assert await stream.part(number, NOW_S) == part
        assert stream.held_bytes <= WRITTEN_BYTES_MAX + (2 * WINDOW) * PART_BYTES
        if part:
            parts[number] = part

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        start = 0
        while len(parts) == start:
            async with anyio.create_task_group() as window:
                for number in chance.sample(range(start, start + WINDOW), WINDOW):
                    window.start_soon(get, number)
            start += WINDOW
    assert b"".join(parts[number] for number in sorted(parts)) == b"".join(pieces)
    assert sorted(parts) == list(range(len(parts)))


async def test_bytes_written_one_by_one_take_little_more_than_their_size() -> None:
    stream = new_stream()
    for _ in range(100_000):
        await stream.write(b"x")
    assert len(stream._written) < 100


async def test_parts_that_do_not_fit_are_refused() -> None:
    stream = new_stream()
    for number, part in ((0, b""), (0, bytes(PART_BYTES + 1)), (WINDOW, b"far ahead")):
        with pytest.raises(InvalidError):
            stream.put(number, part)
    await stream.write(bytes((WINDOW - 1) * PART_BYTES))
    for number in range(WINDOW - 1):
        assert await stream.part(number, NOW_S)
    assert await stream.part(WINDOW, NOW_S) is None
    stream.finish()
    assert await stream.part(2 * WINDOW, NOW_S) == b""
    with pytest.raises(InvalidError, match="not kept any more"):
        await stream.part(0, NOW_S)


async def test_nobody_waits_longer_than_asked_for() -> None:
    stream = new_stream()
    stream.put(0, b"nobody reads")
    assert not await stream.taken(0, NOW_S)
    assert await stream.part(0, NOW_S) is None
    stream.finish()
    assert await stream.taken(0, NOW_S)
    assert stream.held_bytes == 0
