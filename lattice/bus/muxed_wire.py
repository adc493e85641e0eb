"""The client protocol of NATS as bytes: what a server sends into frames, and commands into bytes.

It holds the bytes of one unfinished frame and nothing else. It has no socket and no clock, and
does not know what a frame means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from lattice.errors import DecodeError

LINE_BYTES_MAX = 1024 * 1024
"""Bytes of one protocol line. The longest is INFO, which names every server of a cluster."""

MESSAGE_BYTES_MAX = 80 * 1024 * 1024
"""Bytes of one message with its headers: nats-server's own upper limit is 64 MiB, and a stream
adds headers to what was published."""

CRLF = b"\r\n"
PING = b"PING\r\n"
PONG = b"PONG\r\n"

_VERSION = b"NATS/1.0"
_NO_RESPONDERS = b"NATS/1.0 503\r\n\r\n"

Message = tuple[bytes, bytes, bytes, bytes, bytes]
"""A delivered message: subscription id, subject, reply subject or nothing, header block or
nothing, body. A plain tuple, because one is made for every message of the data path."""


@dataclass(frozen=True, slots=True)
class Line:
    """Everything that is no message: a verb (`INFO`, `PING`, `PONG`, `+OK`, `-ERR`), its text."""

    verb: bytes
    text: bytes = b""


Frame = Message | Line

T = TypeVar("T", str, int, bool)

_VERBS = frozenset({b"INFO", b"PING", b"PONG", b"+OK", b"-ERR"})


class Parser:
    """Cuts one connection's bytes into frames, however they were cut on their way."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # of a frame that is not whole
        self._missing = 0  # bytes until it may be

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes, in order.

        Raises:
            DecodeError: this is no NATS server's protocol; the connection cannot be used further.
        """
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        frames: list[Frame] = []
        at, size = 0, len(data)
        while at < size:
            end = data.find(CRLF, at)
            if end < 0:
                if size - at > LINE_BYTES_MAX:
                    raise DecodeError(f"line of a server has more than {LINE_BYTES_MAX} bytes")
                self._keep(data[at:], 1)
                break
            words = data[at:end].split(b" ")
            verb, count = words[0], len(words)
            if verb == b"MSG" and 4 <= count <= 5:
                head_size, body_size = 0, _size(words[-1])
            elif verb == b"HMSG" and 5 <= count <= 6:
                head_size, body_size = _size(words[-2]), _size(words[-1])
                count -= 1
            else:
                frames.append(_line(data[at:end]))
                at = end + 2
                continue
            start = end + 2
            stop = start + body_size
            if size < stop + 2:
                self._keep(data[at:], stop + 2 - size)
                break
            body = start + head_size
            if body > stop or not data.startswith(CRLF, stop):
                raise DecodeError("message of a server does not end where it says")
            reply = words[3] if count == 5 else b""
            header = data[start:body] if head_size else b""
            frames.append((words[2], words[1], reply, header, data[body:stop]))
            at = stop + 2
        return frames

    def _keep(self, part: bytes, missing: int) -> None:
        self._parts.append(part)
        self._missing = missing


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a server says of itself (NATS client protocol, INFO)."""

    server: str = ""
    max_payload_bytes: int = 1024 * 1024
    nonce: str = ""
    has_headers: bool = False
    offers_tls: bool = False
    needs_tls: bool = False
    wants_certificate: bool = False
    is_lame_duck: bool = False
    peers: tuple[str, ...] = ()  # `host:port` of the servers of its cluster that take clients


def read_info(text: bytes) -> ServerInfo:
    """Return what an INFO line says; what it does not say has its default.

    Raises:
        DecodeError: it is no JSON object, or a field has another type than the protocol's.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter from brackets without end
        raise DecodeError(f"INFO of a server is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise DecodeError(f"INFO of a server is no JSON object: {text[:100]!r}")

    peers = said.get("connect_urls") or []
    if not isinstance(peers, list) or not all(isinstance(peer, str) for peer in peers):
        raise DecodeError("INFO of a server: connect_urls is no list of addresses")
    return ServerInfo(
        server=_field(said, "server_name", ""),
        max_payload_bytes=_field(said, "max_payload", 1024 * 1024),
        nonce=_field(said, "nonce", ""),
        has_headers=_field(said, "headers", False),
        offers_tls=_field(said, "tls_available", False) or _field(said, "tls_required", False),
        needs_tls=_field(said, "tls_required", False),
        wants_certificate=_field(said, "tls_verify", False),
        is_lame_duck=_field(said, "ldm", False),
        peers=tuple(peers),
    )


def connect_line(fields: Mapping[str, object]) -> bytes:
    """Return CONNECT with who this client is and what it can do."""
    return b"CONNECT " + json.dumps(dict(fields), sort_keys=True).encode() + CRLF


def subscribe_line(subject: str, queue: str, sid: bytes) -> bytes:
    """Return SUB; a server takes it before everything that is sent after it."""
    middle = f"{subject} {queue} " if queue else f"{subject} "
    return b"SUB " + middle.encode() + sid + CRLF


def unsubscribe_line(sid: bytes) -> bytes:
    """Return UNSUB."""
    return b"UNSUB " + sid + CRLF


def publication_head(
    subject: str, reply_to: str, body_bytes: int, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return what goes before the body of a message; the body and CRLF follow it."""
    address = f"{subject} {reply_to}" if reply_to else subject
    if not headers:
        return f"PUB {address} {body_bytes}\r\n".encode()
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    block = f"NATS/1.0\r\n{lines}\r\n".encode()
    size = len(block)
    return f"HPUB {address} {size} {size + body_bytes}\r\n".encode() + block


def read_headers(block: bytes) -> dict[str, str]:
    """Return the headers of a message (NATS ADR-4), the last one of each name.

    A status of the server is told as `Status` and `Description`. Names that are no tokens are
    left out; bytes that are no UTF-8 become U+FFFD.
    """
    if block == _NO_RESPONDERS:
        return {"Status": "503"}
    first, _, rest = block.partition(CRLF)
    headers: dict[str, str] = {}
    for line in rest.split(CRLF):
        name, colon, value = line.partition(b":")
        name = name.strip()
        if colon and name.isascii() and len(name.split()) == 1:
            headers[name.decode("ascii")] = value.strip().decode("utf-8", "replace")
    status = first.removeprefix(_VERSION).split(None, 1)
    if status and status[0].isdigit():
        headers["Status"] = status[0].decode("ascii")
        if len(status) > 1:
            headers["Description"] = status[1].strip().decode("utf-8", "replace")
    return headers


def _line(line: bytes) -> Line:
    verb, _, text = line.partition(b" ")
    if verb not in _VERBS:
        raise DecodeError(f"no line of a NATS server: {line[:100]!r}")
    return Line(verb, text.strip())


def _field(said: Mapping[str, object], name: str, default: T) -> T:
    value = said.get(name, default)
    if type(value) is not type(default):
        wanted = type(default).__name__
        raise DecodeError(f"INFO of a server: {name} is {value!r:.50}, needs {wanted}")
    return value


def _size(word: bytes) -> int:
    """Return a length.

    Raises:
        DecodeError: it is none, or more than a message may have.
    """
    try:
        size = int(word)
    except ValueError:
        size = -1
    if 0 <= size <= MESSAGE_BYTES_MAX:
        return size
    raise DecodeError(f"length of a server's message is {word[:20]!r}")
