"""Frames carry any bytes as ASCII, and refuse what is no frame."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.engine.frames import decode_frame, encode_frame
from lattice.errors import DecodeError

SIZES = (0, 1, 15, 16, 17, 111, 112, 113, 2047, 2048, 2049, 2240, 2241, 70_000)


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_as_they_were(size: int) -> None:
    data = random.Random(size).randbytes(size)
    for each in (data, bytes(size), b"\xff" * size, b"x" * size):
        frame = encode_frame(each)
        assert frame.isascii()
        assert decode_frame(frame) == each


@given(st.binary(max_size=5000))
def test_frame_is_ascii_and_holds_the_bytes(data: bytes) -> None:
    frame = encode_frame(data)
    assert frame.isascii()
    assert decode_frame(frame) == decode_frame(memoryview(frame)) == data


def test_any_buffer_is_taken() -> None:
    data = bytes(range(256)) * 20
    assert encode_frame(bytearray(data)) == encode_frame(memoryview(data)) == encode_frame(data)


def test_frame_is_a_seventh_longer_at_most() -> None:
    size = 1 << 20
    assert len(encode_frame(b"\xff" * size)) < size * 8 / 7 + 128
    assert len(encode_frame(b"x" * size)) == size + 1


@pytest.mark.parametrize(
    "frame",
    [b"", b"z", b"h1", b"hxy", b"b", b"b" + bytes(15), b"b" + bytes(142), b"bp" + bytes(142)],
)
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(DecodeError, match="bulk frame"):
        decode_frame(frame)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode_frame(data)


def test_padding_that_is_too_long_is_refused() -> None:
    frame = bytearray(encode_frame(b"\xff" * 3000))
    frame[1] = 112
    with pytest.raises(DecodeError):
        decode_frame(frame)
