"""Damaged requests: whatever this server takes, h11 takes too, and for the same request."""

from __future__ import annotations

import os

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.http.chunked import ChunkedBody
from hosts.http.head import BLANK_LINE, KeptHead, RefusalError, read_head
from hosts.http.limits import DEFAULT_LIMITS

EXAMPLES = int(os.environ.get("LATTICE_HTTP_EXAMPLES", "500"))
"""Damaged requests that are tried: 20 000 take half a minute."""

REQUESTS = (
    b"GET /a?b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a:80\r\nContent-Length: 5\r\nX: y z\r\n\r\nhello",
    (
        b"PUT / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n"
    ),
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
)
PIECES = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"1", b"chunked", b"gzip",
    b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n", b"Host: b\r\n", b"\r\n ", b"\xff", b"\x0b", b"HTTP/1.1",
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = draw(st.sampled_from(REQUESTS))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(raw)))
        length = draw(st.integers(0, 3))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=3))
        raw = raw[:place] + piece + raw[place + length :]
    return raw


def ours(raw: bytes):
    """Return method, fields without `host`, body and what follows; None when it is incomplete."""
    try:
        return read(raw)
    except RefusalError as refusal:
        return refusal


def read(raw: bytes):
    before, found, after = raw.partition(BLANK_LINE)
    if not found:
        return None
    head = read_head(before + found, DEFAULT_LIMITS, scheme="http", peer="")
    buffer = bytearray(after)
    if head.length is None:
        body, chunked = b"", ChunkedBody(DEFAULT_LIMITS)
        while part := chunked.take(buffer, 3):
            body += part
        if part is None:
            return None
    else:
        body = bytes(buffer[: head.length])
        if len(body) < head.length:
            return None
        del buffer[: head.length]
    fields = [field for field in head.request.headers if field[0] != b"host"]
    return head.request.method.encode(), fields, body, bytes(buffer)


def theirs(raw: bytes):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(raw)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    fields = [field for field in request.headers if field[0] != b"host"]
    return request.method, fields, body, connection.trailing_data[0]


@settings(max_examples=EXAMPLES)
@given(damaged())
def test_what_is_taken_means_the_same_to_h11(raw):
    while raw.startswith(b"\r\n"):  # h11 knows no empty lines before a request
        raw = raw[2:]
    found = ours(raw)
    if isinstance(found, RefusalError):
        assert 400 <= found.status < 600
    elif found is not None:
        assert theirs(raw) == found


@settings(max_examples=EXAMPLES)
@given(st.sampled_from(REQUESTS), damaged())
def test_a_head_that_is_known_but_for_its_target_means_what_reading_it_would_give(known, raw):
    known = known.partition(BLANK_LINE)[0] + BLANK_LINE
    kept = KeptHead(known, read_head(known, DEFAULT_LIMITS, scheme="http", peer=""), DEFAULT_LIMITS)
    for changed in (raw.partition(BLANK_LINE)[0] + BLANK_LINE, raw):
        found = kept.again(changed)
        if found is not None:
            assert found == read_head(changed, DEFAULT_LIMITS, scheme="http", peer="")


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw):
    found = ours(raw + BLANK_LINE)
    if isinstance(found, RefusalError):
        assert 400 <= found.status < 600
