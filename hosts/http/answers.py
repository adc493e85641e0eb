"""Writes the bytes of answers: status lines, fields, dates, chunks.

Fields come from guests, so each is checked: no name or value can end a line and begin another.
What belongs to the connection (`connection`, `transfer-encoding`, ...) is the server's: a handler's
is left out. Nothing here sends anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple

from lattice.errors import InvalidError

NAMES_KEPT_MAX = 1024
"""Names of fields that are checked once and remembered: a guest that makes up names without end
gets each checked again."""

HEADS_KEPT_MAX = 256
"""Sets of fields that are checked once and remembered: most answers of a guest have one of a few.
When there are more, all are forgotten and those in use come back."""

HEAD_KEPT_BYTES_MAX = 1024
"""Beyond, a set of fields is checked each time: what is remembered stays below 300 KiB."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MEANING = frozenset(
    name + b": "
    for name in (
        b"content-length", b"date", b"connection", b"keep-alive", b"proxy-connection",
        b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES: dict[int, bytes] = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode()
    for status in range(100, 1000)
}
_names: dict[bytes, bytes] = {}


class Fields(NamedTuple):
    """Checked fields, as bytes that end in a line end, and what the server must know of them."""

    lines: bytes
    length: int | None  # of content-length
    has_date: bool
    is_closing: bool  # the handler asks for `connection: close`


_heads: dict[tuple[tuple[bytes, bytes], ...], Fields] = {}


def checked(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Return fields as they go on the wire, in their order.

    Raises:
        InvalidError: a name is no token, a value holds a line end or NUL, or there is more than one
            `content-length`, or one that is no number.
    """
    fields = tuple(fields)
    found = _heads.get(fields)
    if found is None:
        found = _checked(fields)
        if sum(len(name) + len(value) for name, value in fields) <= HEAD_KEPT_BYTES_MAX:
            if len(_heads) >= HEADS_KEPT_MAX:
                _heads.clear()
            _heads[fields] = found
    return found


def _checked(fields: tuple[tuple[bytes, bytes], ...]) -> Fields:
    lines: list[bytes] = []
    length: int | None = None
    has_date = is_closing = False
    for name, value in fields:
        start = _names.get(name) or _learnt(name)
        if start not in _MEANING:
            lines.append(start + value)
        elif start == b"content-length: ":
            if length is not None or not value.isdigit() or len(value) > 18:
                raise InvalidError(
                    f"content-length of an answer: found {value[:80]!r}", part="answer"
                )
            length = int(value)
        elif start == b"date: ":
            has_date = True
            lines.append(start + value)
        elif start == b"connection: ":
            is_closing = is_closing or b"close" in value.lower()
    if not lines:
        return Fields(b"", length, has_date, is_closing)
    block = b"\r\n".join(lines) + b"\r\n"
    if block.count(b"\n") != len(lines) or block.count(b"\r") != len(lines) or b"\0" in block:
        raise InvalidError(
            "a header of an answer holds a line end or NUL in its value", part="answer"
        )
    return Fields(block, length, has_date, is_closing)


def _learnt(name: bytes) -> bytes:
    if not _NAME.fullmatch(name):
        raise InvalidError(f"a header of an answer is named {name[:80]!r}", part="answer")
    start = name.lower() + b": "
    if len(_names) < NAMES_KEPT_MAX:
        _names[name] = start
    return start


def status_line(status: int) -> bytes:
    """Return the first line of an answer; `status` is 100 to 999."""
    return _STATUS_LINES[status]


def phrase(status: int) -> str:
    """Return what a status is called, "" when nobody has named it."""
    return _PHRASES.get(status, "")


def has_no_body(status: int) -> bool:
    """Tell whether answers of this status never have a body (RFC 9110, 6.4.1)."""
    return status < 200 or status in (204, 304)


def chunk(data: bytes) -> bytes:
    """Return `data`, which is not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the end of a chunked body.

    Raises:
        InvalidError: a trailer cannot be sent; see `checked`.
    """
    lines = checked(trailers).lines
    return b"0\r\n%b\r\n" % lines if lines else LAST_CHUNK


class DateLine:
    """The `date` field, made anew once a second."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def at(self, wall_s: float) -> bytes:
        """Return the field for a time since the epoch, with its line end."""
        second = int(wall_s)
        if second != self._second:
            self._second = second
            self._line = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line
