"""One request and its answer, as a handler of this server sees them (see `hosts.http.base`).

It decides how the answer is framed and refuses what would break the framing. It sends through its
connection and knows no sockets.
"""

from __future__ import annotations

from typing import Final, Protocol

from hosts.http import answers
from hosts.http.base import Headers, HttpError, RequestHead
from hosts.http.body import NO_BODY, NoBody, RequestBody, Source
from hosts.http.head import Head
from hosts.http.limits import Limits
from lattice.errors import InvalidError

JOINED_BYTES_MAX: Final = 32 * 1024
"""Up to here head and body of an answer are copied into one write; beyond, a second write is
cheaper than the copy."""

YIELD_BYTES: Final = 1024 * 1024
"""What one answer writes before the others on the loop have a turn, however fast its client is."""


class Line(Source, Protocol):
    """The connection, as an exchange sees it."""

    @property
    def is_gone(self) -> bool:
        """Tell whether nothing more can be sent."""
        ...

    @property
    def is_last(self) -> bool:
        """Tell whether the connection closes after this exchange, whatever the client wants."""
        ...

    def send(self, data: bytes) -> None:
        """Send bytes; what the system does not take is buffered."""
        ...

    async def room(self) -> None:
        """Return when the buffer is short enough for more.

        Raises:
            HttpError: the client went away.
        """
        ...

    async def turn(self) -> None:
        """Let the others on the loop have a turn."""
        ...

    async def departure(self) -> None:
        """Return when the client went away."""
        ...

    def date_line(self) -> bytes:
        """Return the `date` field of now."""
        ...


class ServerExchange:
    """Implements `Exchange`; besides, it tells the server how far the answer is."""

    __slots__ = (
        "_is_chunked", "_is_hidden", "_is_old", "_left", "_line", "_unyielded_bytes",
        "head", "incoming", "is_begun", "is_finished", "is_kept", "sent_bytes", "status",
    )  # fmt: skip

    def __init__(self, line: Line, head: Head, limits: Limits) -> None:
        self._line = line
        self.head: RequestHead = head.request
        self.incoming: RequestBody | NoBody = (
            NO_BODY if head.length == 0 else RequestBody(line, head, limits)
        )
        self._is_old = head.is_old
        self._is_hidden = head.request.method == "HEAD"  # the body is not sent
        self._is_chunked = False
        self._left: int | None = None  # bytes of the body that content-length still asks for
        self._unyielded_bytes = 0
        self.is_kept = head.is_kept
        self.is_begun = False
        self.is_finished = False
        self.status = 0
        self.sent_bytes = 0  # of bodies

    @property
    def body(self) -> bytes | None:
        """See `Exchange.body`."""
        return self.incoming.whole()

    @property
    def trailers(self) -> Headers:
        """See `Exchange.trailers`."""
        return self.incoming.trailers

    async def read(self, limit_bytes: int) -> bytes:
        """See `Exchange.read`."""
        return await self.incoming.read(max(limit_bytes, 1))

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """See `Exchange.answer`.

        Raises:
            InvalidError: the answer has begun already, or its head is none.
        """
        fields = self._beginning(status, headers)
        size = len(body)
        length = fields.length
        if answers.has_no_body(status):
            body = b""
            length = length if status == 304 else None
        elif length is None or (self._is_hidden and not size):
            length = size if length is None else length
        elif length != size:
            raise InvalidError(
                f"content-length of an answer: found {length}, its body has {size}", part="answer"
            )
        if self._is_hidden:
            body = b""
        head = self._head(
            status, fields, b"" if length is None else b"content-length: %d\r\n" % length
        )
        if len(body) <= JOINED_BYTES_MAX:
            self._line.send(head + body)
        else:
            self._line.send(head)
            self._line.send(body)
        self.sent_bytes = len(body)
        self.is_finished = True

    async def begin(self, status: int, headers: Headers) -> None:
        """See `Exchange.begin`."""
        fields = self._beginning(status, headers)
        if self._line.is_gone:
            raise HttpError("the client went away before the answer")
        framing = b"" if fields.length is None else b"content-length: %d\r\n" % fields.length
        if answers.has_no_body(status):
            self._is_hidden = True
            framing = framing if status == 304 else b""
        elif self._is_hidden:
            pass
        elif fields.length is not None:
            self._left = fields.length
        elif self._is_old:
            self.is_kept = False  # the end of the connection is the end of the body
        else:
            self._is_chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        self._line.send(self._head(status, fields, framing))

    async def write(self, data: bytes) -> None:
        """See `Exchange.write`.

        Raises:
            InvalidError: the answer has not begun, or is finished.
        """
        self._demand_open()
        if self._line.is_gone:
            raise HttpError("the client went away before the end of the answer")
        size = len(data)
        if self._is_hidden or not size:
            return
        if self._left is not None:
            if size > self._left:
                raise HttpError(f"content-length leaves {self._left} bytes, {size} were written")
            self._left -= size
        self._line.send(answers.chunk(data) if self._is_chunked else data)
        self.sent_bytes += size
        self._unyielded_bytes += size
        await self._line.room()
        if self._unyielded_bytes >= YIELD_BYTES:
            self._unyielded_bytes = 0
            await self._line.turn()

    async def finish(self, trailers: Headers = ()) -> None:
        """See `Exchange.finish`.

        Raises:
            HttpError: less was written than `content-length` said.
            InvalidError: the answer has not begun, is finished, or a trailer cannot be sent.
        """
        self._demand_open()
        if self._left:
            raise HttpError(f"the answer ends {self._left} bytes before its content-length")
        if self._is_chunked:
            self._line.send(answers.last_chunk(trailers))
        self.is_finished = True

    async def inform(self, status: int, headers: Headers) -> None:
        """See `Exchange.inform`; HTTP/1.0 clients know no such answers and get none.

        Raises:
            InvalidError: the final answer has begun, or the head is none.
        """
        if self.is_begun or not 100 <= status < 200 or status == 101:
            raise InvalidError(f"status {status} cannot inform a client now", part="answer")
        lines = answers.checked(headers).lines
        if not self._is_old:
            self._line.send(answers.status_line(status) + lines + b"\r\n")
            await self._line.room()

    async def closed(self) -> None:
        """See `Exchange.closed`."""
        await self._line.departure()

    def _beginning(self, status: int, headers: Headers) -> answers.Fields:
        if self.is_begun:
            raise InvalidError("the request is answered already", part="answer")
        if not 200 <= status <= 999:
            raise InvalidError(
                f"status of an answer: found {status}, must be 200 to 999", part="answer"
            )
        return answers.checked(headers)

    def _head(self, status: int, fields: answers.Fields, framing: bytes) -> bytes:
        """Return the head of the answer and note that it has begun."""
        self.is_begun = True
        self.status = status
        line = self._line
        incoming = self.incoming
        if fields.is_closing or line.is_last or incoming.is_awaited or incoming.refusal:
            self.is_kept = False
        if not self.is_kept:
            framing += b"connection: close\r\n"
        elif self._is_old:
            framing += b"connection: keep-alive\r\n"
        date = b"" if fields.has_date else line.date_line()
        return b"%b%b%b%b\r\n" % (answers.status_line(status), date, fields.lines, framing)

    def _demand_open(self) -> None:
        if not self.is_begun or self.is_finished:
            raise InvalidError("this answer has not begun, or is finished", part="answer")
