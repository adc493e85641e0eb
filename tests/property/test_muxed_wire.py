"""The protocol of NATS as bytes: whole messages come out however they were cut, and garbage never
does more than end the connection."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lattice.bus.muxed_wire import (
    LINE_BYTES_MAX,
    Frame,
    Line,
    Parser,
    publication_head,
    read_headers,
    read_info,
)
from lattice.errors import DecodeError

TOKENS = st.text("abcXYZ019-_$é", min_size=1, max_size=8)
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=4).map(".".join).map(str.encode)
BODIES = st.binary(max_size=40) | st.sampled_from([b"\r\n", b"MSG a 1 2\r\n", b"x" * 5000])
NAMES = st.text("abcXYZ-019", min_size=1, max_size=8)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=20)
HEADERS = st.dictionaries(NAMES, VALUES.map(str.strip), max_size=4)
LINES = st.sampled_from([Line(b"PING"), Line(b"PONG"), Line(b"+OK"), Line(b"-ERR", b"'no'")])


@st.composite
def messages(draw: st.DrawFn) -> tuple[Frame, bytes]:
    """A message as a frame, and as a server writes it."""
    sid = b"%d" % draw(st.integers(1, 10**6))
    subject, body = draw(SUBJECTS), draw(BODIES)
    reply = draw(SUBJECTS | st.just(b""))
    headers = draw(HEADERS | st.none())
    block = b""
    if headers is not None:
        block = b"NATS/1.0\r\n"
        block += b"".join(f"{name}: {headers[name]}\r\n".encode() for name in headers) + b"\r\n"
    words = [b"HMSG" if block else b"MSG", subject, sid]
    words += [reply] if reply else []
    words += [b"%d" % len(block)] if block else []
    words.append(b"%d" % (len(block) + len(body)))
    return (sid, subject, reply, block, body), b" ".join(words) + b"\r\n" + block + body + b"\r\n"


def written(line: Line) -> tuple[Frame, bytes]:
    return line, line.verb + (b" " + line.text if line.text else b"") + b"\r\n"


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    return [*chunks, stream]


STREAMS = st.lists(messages() | LINES.map(written), max_size=8)
SIZES = st.lists(st.integers(0, 60), max_size=30)


@given(STREAMS, SIZES)
def test_every_frame_comes_out_whole_and_in_order_however_the_stream_is_cut(
    stream: list[tuple[Frame, bytes]], sizes: list[int]
) -> None:
    parser = Parser()
    frames: list[Frame] = []
    for chunk in cut(b"".join(text for _, text in stream), sizes):
        frames += parser.feed(chunk)
    assert frames == [frame for frame, _ in stream]


@given(
    st.binary(max_size=200) | messages().map(lambda message: message[1]),
    st.binary(max_size=50),
    SIZES,
)
@example(b"MSG a 1 -1\r\n\r\n", b"", [])
@example(b"HMSG a 1 9 3\r\nabc\r\n", b"", [])
@example(b"MSG a 1 " + b"9" * 5000 + b"\r\n", b"", [])
@example(b"MSG a 1 3\r\nabcd\r\n", b"", [])
@example(b"MSG 3\r\nabc\r\n", b"", [])
@example(b"MSG a 1 b c 3\r\nabc\r\n", b"", [])
def test_garbage_is_a_decode_error_or_waits_for_more(
    before: bytes, garbage: bytes, sizes: list[int]
) -> None:
    parser = Parser()
    with suppress(DecodeError):
        for chunk in cut(before + garbage, sizes):
            for frame in parser.feed(chunk):
                assert isinstance(frame, Line) or len(frame) == 5


def test_a_line_without_end_is_refused_before_it_takes_the_memory() -> None:
    parser = Parser()
    assert parser.feed(b"x" * LINE_BYTES_MAX) == []
    with pytest.raises(DecodeError, match="has more than"):
        parser.feed(b"x")


@given(SUBJECTS, SUBJECTS | st.just(b""), st.integers(0, 10**6), HEADERS)
def test_what_is_published_says_its_sizes_and_headers(
    subject: bytes, reply_to: bytes, size: int, headers: dict[str, str]
) -> None:
    head = publication_head(subject.decode(), reply_to.decode(), size, headers)
    line, _, block = head.partition(b"\r\n")
    words = line.split(b" ")
    assert words[0] == (b"HPUB" if headers else b"PUB")
    assert words[1 : 2 + bool(reply_to)] == [subject, *([reply_to] if reply_to else [])]
    assert int(words[-1]) == len(block) + size
    if headers:
        assert int(words[-2]) == len(block)
        assert read_headers(block) == headers


@given(st.binary(max_size=200))
@example(b"NATS/1.0 503\r\n\r\n")
@example(b"NATS/1.0 503 \xff\r\nA: \xff\r\n\xff: b\r\n\r\n")
@example(b"")
def test_headers_are_read_from_any_bytes(block: bytes) -> None:
    headers = read_headers(block)
    assert all(isinstance(text, str) for pair in headers.items() for text in pair)


@given(st.binary(max_size=100))
@example(b'{"max_payload": "1"}')
@example(b'{"connect_urls": [1]}')
@example(b'{"headers": 1}')
@example(b"[]")
@example(b"[" * 100_000)
def test_what_a_server_says_of_itself_is_read_or_refused(text: bytes) -> None:
    with suppress(DecodeError):
        read_info(text)


def test_a_status_of_the_server_is_told_as_headers() -> None:
    assert read_headers(b"NATS/1.0 503\r\n\r\n") == {"Status": "503"}
    assert read_headers(b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n") == {
        "Status": "100",
        "Description": "Idle Heartbeat",
        "Nats-Last-Consumer": "7",
    }
