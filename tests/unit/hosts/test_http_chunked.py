"""Chunked bodies, however they are cut up on their way."""

from __future__ import annotations

import pytest

from hosts.http.chunked import SIZE_LINE_BYTES_MAX, ChunkedBody
from hosts.http.head import RefusalError
from hosts.http.limits import Limits

LIMITS = Limits(body_bytes_max=100, head_bytes_max=200, headers_max=3)
BODY = b'5\r\nhello\r\n00006;a="b"\r\n world\r\n0\r\nA: b \r\nTransfer-Encoding: x\r\n\r\n'


def taken(*parts: bytes, limits: Limits = LIMITS, limit_bytes: int = 1000):
    """Return the body, its trailers, whether it ended, and what follows it."""
    body, buffer, data = ChunkedBody(limits), bytearray(), b""
    for part in parts:
        buffer += part
        while piece := body.take(buffer, limit_bytes):
            data += piece
    return data, body.trailers, body.is_complete, bytes(buffer)


WHOLE = (b"hello world", [(b"a", b"b")], True, b"NEXT")


@pytest.mark.parametrize("cut", range(len(BODY)))
def test_a_body_is_the_same_wherever_it_is_cut(cut):
    assert taken(BODY[:cut], BODY[cut:] + b"NEXT") == WHOLE


def test_a_body_is_the_same_byte_by_byte():
    assert taken(*(BODY[n : n + 1] for n in range(len(BODY))), b"NEXT", limit_bytes=2) == WHOLE


@pytest.mark.parametrize("cut", range(len(BODY)))
def test_a_body_that_stops_has_no_end(cut):
    data, _, is_complete, _ = taken(BODY[:cut])
    assert b"hello world".startswith(data)
    assert not is_complete


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\r\n", 400), (b"x\r\n", 400), (b"-1\r\n", 400), (b"+1\r\n", 400), (b"0x1\r\n", 400),
        (b" 1\r\n", 400), (b"1 \r\n", 400), (b"1 ;a\r\n", 400), (b"1\n", 400),
        (b"1\r\r\n", 400), (b"1;\0\r\n", 400),
        (b"1_0\r\n", 400), (b"1\r\nab\r\n", 400), (b"1\r\na\n", 400), (b"1\r\na\r0", 400),
        (b"f" * 16 + b"\r\n", 400), (b"f" * 15 + b"\r\n", 413), (b"65\r\n", 413),
        (b"1" * SIZE_LINE_BYTES_MAX, 400), (b"0\r\n\n\r\n\r\n", 400), (b"0\r\na b: c\r\n\r\n", 400),
        (b"0\r\na: b\r\n c\r\n\r\n", 400), (b"0\r\na : b\r\n\r\n", 400),
        (b"0\r\na: \0\r\n\r\n", 400),
        (b"0\r\na: b\nc: d\r\n\r\n", 400), (b"0\r\n" + b"a: b\r\n" * 4 + b"\r\n", 431),
        (b"0\r\na: " + b"b" * 200, 431),
        (b"1;%b\r\na\r\n" % (b"x" * 500) * 40, 400),
    ],
)  # fmt: skip
def test_what_is_no_chunk_is_refused(raw, status):
    with pytest.raises(RefusalError) as refusal:
        taken(raw)
    assert refusal.value.status == status
