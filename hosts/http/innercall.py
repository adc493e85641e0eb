"""A request of one guest that another guest of the lattice answers: both ends of it.

`InnerCall` is what the asking guest's side reads, `InnerExchange` what the answering side writes; a
bounded queue lies between them. Nothing here knows where the answer is made.
"""

from __future__ import annotations

import math
from collections import deque

import anyio

from hosts.engine.bodyqueue import append
from hosts.engine.webvalues import Answer, Body, EgressError, OutgoingHead
from hosts.http.answers import has_no_body
from hosts.http.base import Headers, HttpError, RequestHead
from hosts.http.outgoing import BODY_METHODS, FORBIDDEN_HEADERS
from lattice.errors import InvalidError

WAITING_BYTES = 256 * 1024
"""Bytes of an answer between the two sides; who writes more waits until some are read."""

KEPT_BYTES_MAX = 64 * 1024
"""Bytes of a request that are kept after they were read, in case it has to go another way; the bus
waits for as many before it finds out that nobody is there."""


class InnerCall:
    """One request under way; see `hosts.engine.fetches.OutletCall`."""

    def __init__(self, head: OutgoingHead) -> None:
        self.scope = anyio.CancelScope()
        self.answer: Answer | None = None
        self.failure: EgressError | None = None
        self.is_ended = False
        self._head = head
        self._parts: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._trailers: Headers = ()
        self._changed = anyio.Event()
        self._head_by_s = math.inf  # when the head of the answer has to be here
        self._first_byte: anyio.CancelScope | None = None  # of who waits for it

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will come."""
        return self.is_ended or self.failure is not None

    @property
    def trailers(self) -> Headers:
        """Return the trailers of the answer; they are complete once `read` returned `b""`."""
        return self._trailers

    async def answered(self) -> Answer:
        """Return the head of the answer.

        Raises:
            EgressError: there will be none.
        """
        if self._first_byte is None:
            with anyio.CancelScope(deadline=self._head_by_s) as self._first_byte:
                await self._decided()
            if self._first_byte.cancelled_caught:
                self._time_out(self._head.timeouts.first_byte_s)
        else:
            await self._decided()
        if self.answer is None:
            raise self.failure or EgressError("internal-error", "no answer and no failure")
        return self.answer

    async def read(self, limit_bytes: int) -> bytes:
        """Return the next 1 to `limit_bytes` bytes of the body, `b""` at its end.

        Raises:
            EgressError: the body broke off, or nothing came for too long.
        """
        await self.answered()
        wait_s = self._head.timeouts.between_bytes_s
        with anyio.move_on_after(wait_s) as waiting:
            while not self._parts and not self.is_over:
                await self._change()
        if waiting.cancelled_caught:
            self._time_out(wait_s)
        if not self._parts:
            if self.failure is not None:
                raise self.failure
            return b""
        first = self._parts.popleft()
        if len(first) > limit_bytes:
            self._parts.appendleft(first[limit_bytes:])
            first = first[:limit_bytes]
        self._waiting_bytes -= len(first)
        self._changed.set()
        return bytes(first)

    def cancel(self) -> None:
        """Give the request up. Idempotent."""
        self.fail(EgressError("connection-terminated", "the request was given up"))

    # --- what the answering side uses ----------------------------------------------------------

    def start_waiting(self) -> None:
        """Count the time until the head of the answer from now on."""
        self._head_by_s = anyio.current_time() + self._head.timeouts.first_byte_s
        if self._first_byte is not None:
            self._first_byte.deadline = self._head_by_s

    def take_head(self, status: int, headers: Headers) -> None:
        """Take the head of the answer, without what belongs to a connection."""
        kept = tuple(each for each in headers if each[0].lower() not in FORBIDDEN_HEADERS)
        self.answer = Answer(status=status, headers=kept)
        self._changed.set()

    def take(self, data: bytes) -> None:
        """Take bytes of the body."""
        if data:
            append(self._parts, data)
            self._waiting_bytes += len(data)
            self._changed.set()

    async def room(self) -> None:
        """Return when more bytes are welcome."""
        while self._waiting_bytes >= WAITING_BYTES and not self.is_over:
            await self._change()

    def end(self, trailers: Headers) -> None:
        """Take the end of the answer."""
        self._trailers = trailers
        self.is_ended = True
        self._changed.set()

    def fail(self, error: EgressError) -> None:
        """End with an error, and what answers with it; without effect behind the end."""
        if not self.is_over:
            self.failure = error
            self._changed.set()
            self.scope.cancel()

    async def _decided(self) -> None:
        while self.answer is None and self.failure is None:
            await self._change()

    def _time_out(self, wait_s: float) -> None:
        self.fail(EgressError("connection-read-timeout", f"nothing came for {wait_s:g} s"))

    async def _change(self) -> None:
        if self._changed.is_set():
            self._changed = anyio.Event()
        await self._changed.wait()


class InnerExchange:
    """Implements `hosts.http.base.Exchange` for who answers."""

    def __init__(
        self, call: InnerCall, head: OutgoingHead, body: Body, *, peer: str, traceparent: str
    ) -> None:
        self.head = RequestHead(
            head.method,
            head.scheme,
            head.authority,
            head.target,
            _fields(head, body, traceparent),
            peer,
        )
        self._source = body
        self._kept: bytearray | None = bytearray()  # what was read, while that is little
        self._is_read = False  # to its end
        self._call = call
        self._whole = memoryview(body) if isinstance(body, bytes) else None
        if self._whole is not None:
            call.start_waiting()
        self._length = _declared(head.headers)
        self._read_bytes = 0

    @property
    def body(self) -> bytes | None:
        """See `Exchange.body`."""
        return bytes(self._whole) if self._whole is not None else None

    @property
    def trailers(self) -> Headers:
        """See `Exchange.trailers`."""
        return () if isinstance(self._source, bytes) else self._source.trailers

    def again(self) -> Body | None:
        """Return the whole body for somebody else, None when it is not at hand any more."""
        if isinstance(self._source, bytes) or not self._read_bytes:
            return self._source
        if self._is_read and self._kept is not None and not self.trailers:
            return bytes(self._kept)
        return None

    async def read(self, limit_bytes: int) -> bytes:
        """See `Exchange.read`."""
        if self._whole is not None:
            part = bytes(self._whole[:limit_bytes])
            self._whole = self._whole[limit_bytes:]
            return part
        assert not isinstance(self._source, bytes), "what is not whole is a source"
        part = await self._source.read(limit_bytes)
        self._read_bytes += len(part)
        self._keep(part)
        if self._length is not None and (
            self._read_bytes > self._length or (not part and self._read_bytes < self._length)
        ):
            text = f"body of {self._read_bytes} bytes, content-length said {self._length}"
            self._call.fail(EgressError("HTTP-request-body-size", text, self._read_bytes))
            raise HttpError(text)
        if not part:
            self._is_read = True
            self._call.start_waiting()
        return part

    def _keep(self, part: bytes) -> None:
        if self._kept is not None:
            self._kept += part
            if len(self._kept) > KEPT_BYTES_MAX:
                self._kept = None

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """See `Exchange.answer`."""
        self._begin(status, headers)
        self._call.take(b"" if self._has_no_body(status) else body)
        self._call.end(())

    async def begin(self, status: int, headers: Headers) -> None:
        """See `Exchange.begin`."""
        self._begin(status, headers)

    async def write(self, data: bytes) -> None:
        """See `Exchange.write`."""
        answer = self._call.answer
        if answer is None or self._call.is_ended:
            raise InvalidError("this answer has not begun, or is finished", part="answer")
        if self._call.failure is not None:
            raise HttpError(str(self._call.failure))
        if not self._has_no_body(answer.status):
            self._call.take(data)
            await self._call.room()

    async def finish(self, trailers: Headers = ()) -> None:
        """See `Exchange.finish`."""
        if self._call.answer is None or self._call.is_ended:
            raise InvalidError("this answer has not begun, or is finished", part="answer")
        self._call.end(trailers)

    async def inform(self, status: int, headers: Headers) -> None:
        """Drop an informational answer: guests are not told of any."""

    async def closed(self) -> None:
        """Wait: a guest that gives the request up ends the task that answers it."""
        await anyio.sleep_forever()

    def _begin(self, status: int, headers: Headers) -> None:
        if self._call.answer is not None:
            raise InvalidError("the request is answered already", part="answer")
        self._call.take_head(status, headers)

    def _has_no_body(self, status: int) -> bool:
        return self.head.method == "HEAD" or has_no_body(status)


def _fields(head: OutgoingHead, body: Body, traceparent: str) -> Headers:
    """Return the headers as a server would receive them."""
    names = {name.lower() for name, _ in head.headers}
    fields = [(b"host", head.authority.encode()), *head.headers]
    if (
        isinstance(body, bytes)
        and b"content-length" not in names
        and (body or head.method in BODY_METHODS)
    ):
        fields.append((b"content-length", b"%d" % len(body)))
    if traceparent and b"traceparent" not in names:
        fields.append((b"traceparent", traceparent.encode("latin-1")))
    return [(name.lower(), value) for name, value in fields]


def _declared(headers: Headers) -> int | None:
    found = next((value for name, value in headers if name.lower() == b"content-length"), b"")
    return int(found) if found.isdigit() else None
