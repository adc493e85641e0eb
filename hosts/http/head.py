"""Reads the head of a request strictly: one meaning, or a refusal with its status.

httptools splits and checks the fields; what it takes leniently is checked here: the request line,
`host`, the transfer codings, the version. Two parties that read one message differently can be
played against each other (request smuggling), so nothing ambiguous passes and nothing is mended.
Nothing here reads sockets; a head comes in one piece.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade
from httptools import HttpRequestParser as _Parser

from hosts.engine.errorcodes import Code, HttpFailure
from hosts.http.base import HttpError, RequestHead
from hosts.http.limits import Limits

BLANK_LINE: Final = b"\r\n\r\n"

HOST_BYTES_MAX = 262
"""A name of 255 bytes, which is the longest (RFC 1035), a colon and a port."""

HOSTS_KEPT_MAX = 256
"""Values of `host` that are not checked again: a server has a few names."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SLASH: Final = ord("/")
_VERSION_BYTES: Final = len(b" HTTP/1.1")
_TARGET = re.compile(rb"[!-\"$-~]+")
_REQUEST_LINE = re.compile(rb"(%b) ([!-\"$-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_OPENINGS = frozenset(b"!#$%&'*+.^_`|~-0123456789" + bytes(range(65, 91)) + bytes(range(97, 123)))
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"})
_CONTINUE = b"100-continue"

_FAILURES: dict[int, Code] = {
    408: "connection-read-timeout",
    413: "HTTP-request-body-size",
    431: "HTTP-request-trailer-section-size",
}
"""What of a body that is refused a guest is told, where it is not the protocol that is broken."""


class RefusalError(HttpError):
    """A request that breaks the rules or a limit: it is answered with `status` and never handled.

    The connection closes, because where the next request would begin is not known.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    @property
    def failure(self) -> HttpFailure:
        """Return what a guest is told that reads the request."""
        return HttpFailure(_FAILURES.get(self.status, "HTTP-protocol-error"))


class Head(NamedTuple):
    """A request's head, and what it says about the connection."""

    request: RequestHead
    length: int | None  # bytes of the body; None: chunked
    is_kept: bool  # the client wants to go on with this connection
    expects_continue: bool
    is_old: bool  # HTTP/1.0: knows no chunks, no informational answers


class _Fields:
    """Collects what the parser finds."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field; the parser leaves some white space at the end of values."""
        self.fields.append((name.lower(), value.rstrip(b" \t")))


def may_open(buffer: bytearray) -> bool:
    """Tell whether the first byte can begin a request: that of a TLS greeting, for one, cannot."""
    return buffer[0] in _OPENINGS


def has_bare_feed(data: bytes | bytearray, start: int) -> bool:
    """Tell whether a line feed from `start` on has no carriage return before it."""
    feeds = data.count(b"\n", start)
    return feeds != 0 and feeds != data.count(b"\r\n", max(start - 1, 0))


class KeptHead:
    """The last head of a connection: the next is mostly the same, but for its target."""

    __slots__ = ("_head", "_limits", "_start", "_tail", "raw")

    def __init__(self, raw: bytes, head: Head, limits: Limits) -> None:
        line_end = raw.find(b"\r\n")
        self.raw = raw
        self._head = head
        self._limits = limits
        # Around the target of an ordinary request; other forms of it mean more than a path.
        is_ordinary = head.request.target[:1] == "/" and raw[raw.find(b" ") + 1] == _SLASH
        self._start = raw[: raw.find(b" ") + 2] if is_ordinary else b"\0"
        self._tail = raw[line_end - _VERSION_BYTES :]

    def again(self, raw: bytes) -> Head | None:
        """Return what a head says that differs in its path and query at most, else None."""
        head = self._head
        if raw == self.raw:
            return head
        line_end = raw.find(b"\r\n")
        if not raw.startswith(self._start) or raw[line_end - _VERSION_BYTES :] != self._tail:
            return None
        target = raw[len(self._start) - 1 : line_end - _VERSION_BYTES]
        if len(target) > self._limits.target_bytes_max or not _TARGET.fullmatch(target):
            return None
        request, length, is_kept, expects_continue, is_old = head
        request = RequestHead(
            request.method, request.scheme, request.authority, target.decode(), request.headers,
            request.peer,
        )  # fmt: skip
        return Head(request, length, is_kept, expects_continue, is_old)


def read_head(raw: bytes, limits: Limits, *, scheme: str, peer: str) -> Head:
    """Return what the head `raw` says, which ends in its only blank line.

    Raises:
        RefusalError: it is malformed, ambiguous, beyond a limit, or asks for what is not done here.
    """
    line_end = raw.find(b"\r\n")
    line = _REQUEST_LINE.fullmatch(raw, 0, line_end)
    if line is None:
        raise RefusalError(400, "the request line is none")
    method, target, major, minor = line.groups()
    if major != b"1" or minor not in b"01":
        raise RefusalError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if len(target) > limits.target_bytes_max:
        raise RefusalError(414, f"the target has {len(target)} bytes, {limits.target_bytes_max} go")
    fields = _parsed(raw)
    if len(fields) > limits.headers_max:
        raise RefusalError(431, f"{len(fields)} headers, {limits.headers_max} go")
    framing: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in _FRAMING:
            if name not in framing:
                framing[name] = value
            elif name == b"connection":
                framing[name] += b"," + value
            else:
                raise RefusalError(400, f"more than one {name.decode()}")
    is_old = minor == b"0"
    length = _length(framing, limits, is_old=is_old)
    path, authority = _addressed(method, target.decode(), framing, is_old=is_old)
    if target[:1] not in b"/*":
        fields = [(b"host", authority.encode()), *(each for each in fields if each[0] != b"host")]
    return Head(
        RequestHead(
            method=method.decode(),
            scheme=scheme,
            authority=authority,
            target=path,
            headers=tuple(fields),  # one head may serve several requests
            peer=peer,
        ),
        length,
        _is_kept(framing.get(b"connection"), is_old=is_old),
        length != 0 and not is_old and _expects_continue(framing.get(b"expect")),
        is_old,
    )


def _parsed(raw: bytes) -> list[tuple[bytes, bytes]]:
    collected = _Fields()
    try:
        # A parser for each head: one that has seen a body announced would wait for it.
        _Parser(collected).feed_data(raw)
    except HttpParserUpgrade:
        pass  # an offer that may be ignored (RFC 9110, 7.8), and is; all fields were read
    except HttpParserInvalidMethodError:
        raise RefusalError(501, "the method is not known here") from None
    except HttpParserError as exc:
        raise RefusalError(400, f"the head is malformed: {exc}") from None
    return collected.fields


def _length(framing: dict[bytes, bytes], limits: Limits, *, is_old: bool) -> int | None:
    coding = framing.get(b"transfer-encoding")
    length = framing.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise RefusalError(400, "both content-length and transfer-encoding")
        if is_old:
            raise RefusalError(400, "HTTP/1.0 knows no transfer-encoding")
        if coding.lower() != b"chunked":
            raise RefusalError(501, "transfer codings other than chunked are not done here")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise RefusalError(400, "content-length is no number")
    if int(length) > limits.body_bytes_max:
        raise RefusalError(413, f"the body has {int(length)} bytes, {limits.body_bytes_max} go")
    return int(length)


def _addressed(
    method: bytes, target: str, framing: dict[bytes, bytes], *, is_old: bool
) -> tuple[str, str]:
    """Return path and query, and the authority, of any form of target (RFC 9112, 3.2)."""
    host = framing.get(b"host")
    if host is None and not is_old:
        raise RefusalError(400, "no host header")
    authority = _authority(host) if host else ""
    if method == b"CONNECT":
        raise RefusalError(501, "this is no proxy: CONNECT is not done here")
    if target.startswith("/"):
        return target, authority
    if target == "*":
        if method != b"OPTIONS":
            raise RefusalError(400, "only OPTIONS goes with the target *")
        return target, authority
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _AUTHORITY.fullmatch(absolute[1]):
        raise RefusalError(400, "the target is none")
    path = absolute[2]
    if not path and method == b"OPTIONS":
        path = "*"  # RFC 9112, 3.2.4: what a proxy in front would have made of it
    return path if path[:1] in ("/", "*") and path else f"/{path}", absolute[1]


@lru_cache(maxsize=HOSTS_KEPT_MAX)
def _authority(host: bytes) -> str:
    name = host.decode("latin-1")
    if len(host) > HOST_BYTES_MAX or not _AUTHORITY.fullmatch(name):
        raise RefusalError(400, "the host header is none")
    return name


def _is_kept(connection: bytes | None, *, is_old: bool) -> bool:
    if connection is None:
        return not is_old
    options = {option.strip(b" \t") for option in connection.lower().split(b",")}
    if b"close" in options:
        return False
    return not is_old or b"keep-alive" in options


def _expects_continue(expectation: bytes | None) -> bool:
    if expectation is None:
        return False
    if expectation.lower() != _CONTINUE:
        raise RefusalError(417, "the only expectation that is met here is 100-continue")
    return True
