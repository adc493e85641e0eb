"""Bytes of answers, and the statuses of errors."""

from __future__ import annotations

import pytest

from hosts.http.answers import NAMES_KEPT_MAX, DateLine, checked, chunk, last_chunk, status_line
from hosts.http.failures import STATUSES, answer_to, status_of
from lattice import errors
from lattice.errors import InvalidError, LatticeError, OverloadedError


def test_fields_keep_their_order_and_repetitions():
    fields = checked([(b"Set-Cookie", b"a"), (b"x", b""), (b"set-cookie", b"b\xff")])
    assert fields.lines == b"set-cookie: a\r\nx: \r\nset-cookie: b\xff\r\n"
    assert (fields.length, fields.has_date, fields.is_closing) == (None, False, False)


def test_what_belongs_to_the_connection_is_the_servers():
    fields = checked(
        [
            (b"Connection", b"Close"), (b"Keep-Alive", b"x"), (b"Transfer-Encoding", b"chunked"),
            (b"Upgrade", b"h2c"), (b"Content-Length", b"5"), (b"Date", b"now"),
        ]
    )  # fmt: skip
    assert fields == (b"date: now\r\n", 5, True, True)


@pytest.mark.parametrize(
    "fields",
    [
        [(b"a", b"b\r\nc: d")], [(b"a", b"b\r")], [(b"a", b"b\n")], [(b"a", b"\0")],
        [(b"a", b"b"), (b"c", b"\r\n")], [(b"", b"")], [(b"a ", b"")], [(b"a:b", b"")],
        [(b"a\r\nb", b"")], [(b"\xe4", b"")], [(b"content-length", b"")],
        [(b"content-length", b"-1")], [(b"content-length", b"1" * 19)],
        [(b"content-length", b"1"), (b"Content-Length", b"1")],
    ],
)  # fmt: skip
def test_fields_that_would_end_their_line_are_refused_each_time(fields):
    for _ in range(2):
        with pytest.raises(InvalidError):
            checked(fields)


def test_names_beyond_those_that_are_kept_are_still_checked():
    for number in range(NAMES_KEPT_MAX + 10):
        assert checked([(b"x-%d" % number, b"y")]).lines == b"x-%d: y\r\n" % number
    with pytest.raises(InvalidError):
        checked([(b"x y", b"z")])


def test_chunks_and_status_lines():
    assert chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert last_chunk(()) == b"0\r\n\r\n"
    assert last_chunk([(b"A", b"b")]) == b"0\r\na: b\r\n\r\n"
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(799) == b"HTTP/1.1 799 \r\n"


def test_the_date_changes_with_the_second():
    date = DateLine()
    assert date.at(784111777.9) == b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"  # RFC 9110, 5.6.7
    assert date.at(784111778.0) == b"date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"


def test_every_kind_of_error_has_a_status():
    kinds = {
        found.kind
        for found in vars(errors).values()
        if isinstance(found, type) and issubclass(found, LatticeError)
    }
    assert kinds == STATUSES.keys()
    assert status_of(KeyError()) == 500
    assert status_of(InvalidError("of the answer", part="answer")) == 500


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(1, b"1"), (1000, b"1"), (1001, b"2"), (0, b"0"), (-1, b"1"), ("x", b"1"), (None, b"1")],
)
def test_how_long_to_stay_away_is_told_in_whole_seconds(told, seconds):
    status, headers, _ = answer_to(OverloadedError("full", retry_after_ms=told), is_dev=False)
    assert status == 503
    assert dict(headers)[b"retry-after"] == seconds
