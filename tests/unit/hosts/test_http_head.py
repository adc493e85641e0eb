"""Heads of requests: one meaning or a refusal."""

from __future__ import annotations

import pytest

from hosts.http.head import KeptHead, RefusalError, has_bare_feed, may_open, read_head
from hosts.http.limits import Limits

LIMITS = Limits(target_bytes_max=100, headers_max=5, body_bytes_max=1000)


def head(fields: bytes = b"", *, line: bytes = b"POST /a?b HTTP/1.1", host: bytes = b"Host: a\r\n"):
    raw = line + b"\r\n" + host + fields + b"\r\n"
    return read_head(raw, LIMITS, scheme="http", peer="p")


def test_a_head_is_read():
    read = head(b"X-Y:  z \t\r\nContent-Length: 12\r\nx-y:\r\n")
    request = read.request
    assert (request.method, request.target, request.path) == ("POST", "/a?b", "/a")
    assert (request.scheme, request.authority, request.peer) == ("http", "a", "p")
    assert request.headers == (
        (b"host", b"a"), (b"x-y", b"z"), (b"content-length", b"12"), (b"x-y", b""),
    )  # fmt: skip
    assert (read.length, read.is_kept, read.expects_continue, read.is_old) == (
        12,
        True,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"content-length: 1\r\ncontent-length: 1\r\n", 400),
        (b"content-length: 1\r\ncontent-length: 2\r\n", 400),
        (b"content-length: 1, 1\r\n", 400),
        (b"content-length: +1\r\n", 400),
        (b"content-length: -1\r\n", 400),
        (b"content-length: 0x1\r\n", 400),
        (b"content-length: 1_0\r\n", 400),
        (b"content-length:\r\n", 400),
        (b"content-length: \xb2\r\n", 400),
        (b"content-length: 99999999999999999999999\r\n", 400),
        (b"content-length: 1001\r\n", 413),
        (b"content-length: 1\r\ntransfer-encoding: chunked\r\n", 400),
        (b"transfer-encoding: chunked\r\ncontent-length: 1\r\n", 400),
        (b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", 400),
        (b"transfer-encoding: chunked, chunked\r\n", 400),
        (b"transfer-encoding: chunked, gzip\r\n", 400),
        (b"transfer-encoding: xchunked\r\n", 400),
        (b"transfer-encoding: \x0bchunked\r\n", 400),
        (b"transfer-encoding: gzip, chunked\r\n", 501),
        (b"transfer-encoding:\r\n", 400),
        (b"x: a\r\n b\r\n", 400),
        (b" x: a\r\n", 400),
        (b"x: a\n", 400),
        (b"x: a\rb\r\n", 400),
        (b"x: a\0\r\n", 400),
        (b"x: a\x01\r\n", 400),
        (b"x: a\x7f\r\n", 400),
        (b"x : a\r\n", 400),
        (b"x\t: a\r\n", 400),
        (b": a\r\n", 400),
        (b"x\r\n", 400),
        (b"x(: a\r\n", 400),
        (b"\xc3\xa4: a\r\n", 400),
        (b"host: a\r\n", 400),
        (b"expect: tea\r\ncontent-length: 1\r\n", 417),
        (b"x: y\r\n" * 5, 431),
    ],
)
def test_fields_that_could_be_read_in_two_ways_are_refused(fields, status):
    with pytest.raises(RefusalError) as refusal:
        head(fields)
    assert refusal.value.status == status


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET  / HTTP/1.1", 400), (b"GET / HTTP/1.1 ", 400), (b" GET / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400), (b"GET /", 400), (b"GET", 400), (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.10", 400), (b"GET /a b HTTP/1.1", 400), (b"GET /\xc3\xa4 HTTP/1.1", 400),
        (b"GET /# HTTP/1.1", 400), (b"GET /\0 HTTP/1.1", 400), (b"GET a HTTP/1.1", 400),
        (b"GET ftp://a/ HTTP/1.1", 400), (b"GET http:/// HTTP/1.1", 400), (b"G(T / HTTP/1.1", 400),
        (b"GET http://u@a/ HTTP/1.1", 400), (b"GET * HTTP/1.1", 400),
        (b"GET /%b HTTP/1.1" % (b"a" * 100), 414), (b"BREW / HTTP/1.1", 501),
        (b"CONNECT a:1 HTTP/1.1", 501), (b"get / HTTP/1.1", 501), (b"PRI * HTTP/2.0", 505),
        (b"GET / HTTP/1.2", 505), (b"GET / HTTP/0.9", 505),
    ],
)  # fmt: skip
def test_lines_that_are_no_request_here_are_refused(line, status):
    with pytest.raises(RefusalError) as refusal:
        head(line=line)
    assert refusal.value.status == status


@pytest.mark.parametrize(
    "host",
    [b"", b"host: a b\r\n", b"host: a/b\r\n", b"host: a,b:c\r\n", b"host: u@a\r\n",
     b"host: a:123456\r\n", b"host: %b\r\n" % (b"a" * 263), b"host: [::1\r\n", b"host: \xe4\r\n"],
)  # fmt: skip
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(RefusalError) as refusal:
        head(host=host)
    assert refusal.value.status == 400


@pytest.mark.parametrize("host", ["a", "a:80", "a.b-c_d", "127.0.0.1:1", "[::1]:80", "[::1]", ""])
def test_hosts_are_taken_as_they_are(host):
    assert head(host=b"host: %b\r\n" % host.encode()).request.authority == host


def test_http_1_0_needs_no_host_and_knows_no_chunks():
    old = head(line=b"GET / HTTP/1.0", host=b"")
    assert (old.request.authority, old.is_kept, old.is_old) == ("", False, True)
    assert (
        head(b"expect: 100-continue\r\ncontent-length: 1\r\n", line=b"GET / HTTP/1.0")[3] is False
    )
    with pytest.raises(RefusalError):
        head(b"transfer-encoding: chunked\r\n", line=b"POST / HTTP/1.0")


def test_line_feeds_alone_are_found_wherever_the_search_begins():
    data = b"a\r\nb\r\n"
    assert not any(has_bare_feed(data, start) for start in range(len(data) + 1))
    assert has_bare_feed(b"a\n", 0)
    assert has_bare_feed(b"a\r\n\n", 3)
    assert not has_bare_feed(b"a\nb\r\n", 2)


def test_a_tls_greeting_opens_no_request():
    assert not may_open(bytearray(b"\x16\x03\x01"))
    assert may_open(bytearray(b"G"))


def test_another_path_under_the_same_fields_is_read_without_reading_them():
    first = b"GET /a HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n"
    kept = KeptHead(first, read_head(first, LIMITS, scheme="http", peer="p"), LIMITS)
    again = kept.again(first.replace(b"/a ", b"/b?c "))
    assert again is not None
    assert (again.request.target, again.request.headers) == (
        "/b?c",
        ((b"host", b"a"), (b"x", b"y")),
    )
    assert kept.again(first) is kept.again(first)


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /a HTTP/1.1\r\nhost: a\r\n\r\n", b"GET /a HTTP/1.0\r\nhost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nhost: b\r\n\r\n", b"GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET",
        b"GET http://b/a HTTP/1.1\r\nhost: a\r\n\r\n", b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n" % (b"a" * 100), b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n", b"GET /a\r\nhost: a\r\n\r\n", b"GET /", b"",
    ],
)  # fmt: skip
def test_a_head_that_differs_in_more_is_read_anew(raw):
    first = b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
    kept = KeptHead(first, read_head(first, LIMITS, scheme="http", peer="p"), LIMITS)
    assert kept.again(raw) is None
