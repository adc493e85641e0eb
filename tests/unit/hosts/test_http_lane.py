"""What one side of a streamed exchange keeps of frames that nobody has received yet."""

from __future__ import annotations

import tracemalloc

import pytest

from hosts.http.flow import WINDOW_BYTES, Inflow
from hosts.http.lane import UNREAD_MAX, Lane, LostError
from lattice.bus.memory import MemoryBus
from lattice.wire.http import FrameKind, HttpFrame


@pytest.fixture
async def lane() -> Lane:
    return Lane(MemoryBus(), "here", Inflow(WINDOW_BYTES), lambda _: True, asks=True)


async def test_a_body_in_frames_of_one_byte_takes_little_more_than_its_size(lane: Lane) -> None:
    size = WINDOW_BYTES // 16
    tracemalloc.start()
    try:
        for number in range(size):
            lane.arrive(HttpFrame(kind="data", sequence=number, data=bytes((number % 256,))))
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lane.failure is None
    assert taken_bytes < 2 * size


async def test_frames_that_are_joined_keep_their_bytes_and_their_end(lane: Lane) -> None:
    lane.arrive(HttpFrame(kind="head", sequence=0, status=200))
    for number in range(1, 1001):
        lane.arrive(HttpFrame(kind="data", sequence=number, data=b"%08d" % number))
    lane.arrive(HttpFrame(kind="end", sequence=1001, headers=[b"a", b"b"]))
    kinds, data = [], b""
    while not kinds or kinds[-1] != "end":
        frame = await lane.receive()
        kinds.append(frame.kind)
        data += frame.data
    assert data == b"".join(b"%08d" % number for number in range(1, 1001))
    assert kinds == ["head", "data", "data", "end"]


@pytest.mark.parametrize("kind", ["inform", "head"])
async def test_who_sends_heads_without_end_is_given_up(lane: Lane, kind: FrameKind) -> None:
    for number in range(UNREAD_MAX):
        lane.arrive(HttpFrame(kind=kind, sequence=number))
    assert lane.failure is None
    lane.arrive(HttpFrame(kind=kind, sequence=UNREAD_MAX))
    assert isinstance(lane.failure, LostError)
