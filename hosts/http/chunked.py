"""Takes a chunked body apart, strictly, as it arrives (RFC 9112, 7.1).

It holds no bytes: it takes them off the front of the connection's buffer when a handler reads, so
what nobody reads stays there and the client has to wait. Nothing here waits.
"""

from __future__ import annotations

import re

from hosts.http.head import RefusalError
from hosts.http.limits import Limits

SIZE_LINE_BYTES_MAX = 1024
"""The line before a chunk: a size of 16 digits, and extensions, which nobody uses."""

EXTENSION_BYTES_MAX = 16 * 1024
"""Extensions of all chunks of a body together: they cost work and say nothing."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t -~\x80-\xff]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_NEVER_TRAILING = frozenset(
    {
        b"content-length", b"transfer-encoding", b"host", b"trailer", b"connection", b"te",
        b"authorization", b"cookie", b"content-type", b"content-encoding", b"content-range",
        b"expect", b"upgrade", b"range", b"max-forwards", b"cache-control",
    }
)  # fmt: skip


class ChunkedBody:
    """One chunked body. `trailers` are complete once `is_complete`."""

    __slots__ = (
        "_extension_bytes", "_in_trailers", "_is_after_chunk", "_left", "_limits", "_size",
        "is_complete", "trailers",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = 0  # bytes of the chunk at hand
        self._is_after_chunk = False  # the line end of a chunk is due
        self._in_trailers = False
        self._size = 0
        self._extension_bytes = 0
        self.is_complete = False
        self.trailers: list[tuple[bytes, bytes]] = []

    def take(self, buffer: bytearray, limit_bytes: int) -> bytes | None:
        """Return the next 1 to `limit_bytes` bytes off the buffer's front, `b""` at the end.

        None means that the buffer has too little.

        Raises:
            RefusalError: what came is no chunked body, or beyond a limit.
        """
        while not self.is_complete:
            if self._left:
                return self._taken(buffer, limit_bytes) if buffer else None
            if self._is_after_chunk:
                if not b"\r\n".startswith(buffer[:2]):
                    raise RefusalError(400, "a chunk does not end where its size says")
                if len(buffer) < 2:
                    return None
                del buffer[:2]
                self._is_after_chunk = False
            step = self._take_trailers if self._in_trailers else self._take_size
            if not step(buffer):
                return None
        return b""

    def _taken(self, buffer: bytearray, limit_bytes: int) -> bytes:
        count = min(limit_bytes, self._left, len(buffer))
        data = bytes(buffer[:count])
        del buffer[:count]
        self._left -= count
        self._is_after_chunk = self._left == 0
        return data

    def _take_size(self, buffer: bytearray) -> bool:
        end = buffer.find(b"\n", 0, SIZE_LINE_BYTES_MAX)
        if end < 0:
            if len(buffer) >= SIZE_LINE_BYTES_MAX:
                raise RefusalError(400, "the size of a chunk does not end")
            return False
        line = _SIZE_LINE.fullmatch(buffer, 0, end - 1) if buffer[end - 1 : end] == b"\r" else None
        if line is None:
            raise RefusalError(400, "the size of a chunk is none")
        self._extension_bytes += len(line[2] or b"")
        self._left = int(line[1], 16)
        self._size += self._left
        del line  # a match holds on to the buffer, which could not shrink
        del buffer[: end + 1]
        if self._extension_bytes > EXTENSION_BYTES_MAX:
            raise RefusalError(400, "too many extensions of chunks")
        if self._size > self._limits.body_bytes_max:
            raise RefusalError(413, f"the body has more than {self._limits.body_bytes_max} bytes")
        self._in_trailers = self._left == 0
        return True

    def _take_trailers(self, buffer: bytearray) -> bool:
        if buffer[:2] == b"\r\n":
            del buffer[:2]
            self.is_complete = True
            return True
        end = buffer.find(b"\r\n\r\n", 0, self._limits.head_bytes_max)
        if end < 0:
            if len(buffer) >= self._limits.head_bytes_max:
                raise RefusalError(431, f"trailers beyond {self._limits.head_bytes_max} bytes")
            return False
        lines = bytes(buffer[:end]).split(b"\r\n")
        del buffer[: end + 4]
        if len(lines) > self._limits.headers_max:
            raise RefusalError(431, f"{len(lines)} trailers, {self._limits.headers_max} go")
        for line in lines:
            field = _FIELD.fullmatch(line)
            if field is None:
                raise RefusalError(400, "a trailer is malformed")
            name = field[1].lower()
            if name not in _NEVER_TRAILING:  # RFC 9110, 6.5.1: would be misread after the fact
                self.trailers.append((name, field[2].rstrip(b" \t")))
        self.is_complete = True
        return True
