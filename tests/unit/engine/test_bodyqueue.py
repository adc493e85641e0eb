"""What a body on its way takes of memory, and that joining its parts changes nothing of it."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from hosts.engine.bodyqueue import QUEUE_BYTES, BodyQueue


def test_a_body_in_parts_of_one_byte_takes_little_more_than_its_size() -> None:
    tracemalloc.start()
    try:
        queue = BodyQueue()
        for number in range(QUEUE_BYTES):
            queue.put(bytes((number % 256,)))
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert queue.room == 0
    assert taken_bytes < 2 * QUEUE_BYTES


@given(
    st.lists(st.binary(max_size=6000), max_size=12),
    st.lists(st.integers(min_value=1, max_value=7000), max_size=12),
)
def test_bytes_come_out_as_they_went_in(parts: list[bytes], limits: list[int]) -> None:
    queue = BodyQueue()
    taken = b""
    for part, limit in zip(parts, [*limits, *[1] * len(parts)], strict=False):
        queue.put(part)
        found = queue.take(limit)
        assert len(found) <= limit
        taken += found
    while found := queue.take(1 << 20):
        taken += found
    assert taken == b"".join(parts)
    assert queue.room == QUEUE_BYTES
