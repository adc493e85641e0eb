"""An exchange whose client is on another host: what a replica answers a forwarded request through.

It makes a reply of a short answer, and frames of everything else. It runs nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, replace

import anyio

from hosts.http.base import Headers, HttpError, RequestHead
from hosts.http.lane import Lane, LostError
from lattice.bus.base import Bus
from lattice.errors import InternalError, InvalidError, LatticeError
from lattice.wire.codec import encode
from lattice.wire.http import HttpReply, HttpRequest, fields, flat
from lattice.wire.messages import Leg

WHOLE_BYTES_MAX = 512 * 1024
"""Bytes of an answer that fit into the reply: with the head, well below the limit of a message. Who
asks and has many answers to come gives less credit, and then this is less, too."""

_HEAD = "HEAD"


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where the reply to one request goes, and in whose name."""

    bus: Bus
    subject: str
    host: str
    generation: int

    async def send(self, reply: HttpReply) -> None:
        """Send a reply before the handler has returned.

        Raises:
            HttpError: the bus cannot be reached.
        """
        try:
            await self.bus.publish(self.subject, encode(reply))
        except LatticeError as error:
            raise HttpError(f"the reply could not be sent: {error}") from error


class RemoteExchange:
    """Implements `hosts.http.base.Exchange` over one request from the bus.

    `end` and `fail` give what is left to say to who asked, once the handler has returned.
    """

    def __init__(self, request: HttpRequest, lane: Lane, reply_to: ReplyTo) -> None:
        self.head = RequestHead(
            request.method,
            request.scheme,
            request.authority,
            request.target,
            [(name.lower(), value) for name, value in fields(request.headers)],
            request.peer,
        )
        self.body = request.body
        self.trailers: Headers = fields(request.trailers)
        self.legs: list[Leg] = []
        """Calls made on the way, for the reply."""
        self._lane = lane
        self._reply_to = reply_to
        self._can_stream = bool(request.lane)
        self._whole_bytes_max = (
            min(WHOLE_BYTES_MAX, request.window) if request.lane else WHOLE_BYTES_MAX
        )
        self._unread = memoryview(request.body or b"")
        self._is_read = request.body is not None  # nothing more comes
        self.is_replied = False
        """Whether who asked was told where frames go; otherwise a reply is to come."""
        self._reply: HttpReply | None = None  # a whole answer
        self._held: bytearray | None = None  # an answer that cannot be streamed, so far
        self._has_begun = False
        self._is_finished = False

    # --- the request ---------------------------------------------------------------------------

    async def read(self, limit_bytes: int) -> bytes:
        """See `Exchange.read`."""
        if not self._unread and not self._is_read:
            try:
                await self._open()
                frame = await self._lane.receive()
            except LostError as lost:
                raise HttpError(str(lost)) from lost
            if frame.kind == "data":
                self._unread = memoryview(frame.data)
            else:
                self._is_read = True
                self.trailers = fields(frame.headers)
        part = bytes(self._unread[:limit_bytes])
        self._unread = self._unread[limit_bytes:]
        return part

    # --- the answer ----------------------------------------------------------------------------

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """See `Exchange.answer`. What is long is sent when the handler has returned."""
        self._start()
        self._is_finished = True
        if self.head.method == _HEAD and body:
            if not any(name.lower() == b"content-length" for name, _ in headers):
                headers = (*headers, (b"content-length", b"%d" % len(body)))
            body = b""
        self._reply = self._said(status, headers, body)

    async def begin(self, status: int, headers: Headers) -> None:
        """See `Exchange.begin`."""
        self._start()
        if not self._can_stream:
            self._reply = self._said(status, headers)
            self._held = bytearray()
        elif self.is_replied:
            await self._send(self._lane.send("head", status=status, headers=headers))
        else:
            await self._open(status, headers)

    async def write(self, data: bytes) -> None:
        """See `Exchange.write`."""
        self._require_open()
        if self.head.method == _HEAD or not data:
            return
        if self._held is None:
            await self._send(self._lane.send_data(data))
            return
        self._held += data
        if len(self._held) > WHOLE_BYTES_MAX:
            raise InvalidError(
                f"answer is longer than {WHOLE_BYTES_MAX} bytes, and the request names no lane "
                "for what does not fit into a reply"
            )

    async def finish(self, trailers: Headers = ()) -> None:
        """See `Exchange.finish`."""
        self._require_open()
        self._is_finished = True
        if self._held is None:
            await self._send(self._lane.send("end", headers=trailers, legs=self.legs))
        else:
            assert self._reply is not None, "what is held has a head"
            self._reply = replace(self._reply, body=bytes(self._held), trailers=flat(trailers))

    async def inform(self, status: int, headers: Headers) -> None:
        """See `Exchange.inform`; who cannot be told is not."""
        if self._has_begun:
            raise InvalidError(f"status {status} cannot inform a client now", part="answer")
        if self._can_stream:
            await self._open()
            await self._send(self._lane.send("inform", status=status, headers=headers))

    async def closed(self) -> None:
        """Wait: whoever leaves there ends the task that answers here."""
        await anyio.sleep_forever()

    # --- what is left to say -------------------------------------------------------------------

    async def end(self) -> bytes | None:
        """Return the reply when the handler has returned, None when all was said before.

        Raises:
            InternalError: it gave no answer, or half of one.
        """
        if not self._is_finished:
            raise InternalError("the handler returned before its answer was finished")
        reply = self._reply
        if reply is None:
            return None
        body = reply.body or b""
        if not self.is_replied and len(body) <= self._whole_bytes_max:
            return encode(reply)
        if not self._can_stream:
            raise InvalidError(f"answer of {len(body)} bytes does not fit, and there is no lane")
        headers = fields(reply.headers)
        if self.is_replied:
            await self._send(self._lane.send("head", status=reply.status, headers=headers))
        else:
            await self._open(reply.status, headers)
        await self._send(self._lane.send_data(body))
        await self._send(self._lane.send("end", legs=self.legs))
        return None

    async def fail(self, error: LatticeError) -> bytes | None:
        """Return the reply that tells of an error, None when it was told in another way."""
        if not self.is_replied:
            return encode(replace(self._said(), err=error.to_wire()))
        await self._lane.give_up(error)
        return None

    def _start(self) -> None:
        if self._has_begun:
            raise InvalidError("the request is answered already", part="answer")
        self._has_begun = True

    def _require_open(self) -> None:
        if not self._has_begun or self._is_finished:
            raise InvalidError("this answer has not begun, or is finished", part="answer")

    async def _open(self, status: int = 0, headers: Headers = ()) -> None:
        """Tell who asked where frames go, once, with the head of the answer if it is known."""
        if self.is_replied:
            return
        self.is_replied = True
        await self._reply_to.send(
            replace(
                self._said(status, headers, None),
                lane=self._lane.address,
                window=self._lane.inflow.granted,
            )
        )

    def _said(self, status: int = 0, headers: Headers = (), body: bytes | None = b"") -> HttpReply:
        """Return a reply that says who ran the request; calls that it makes later join it."""
        return HttpReply(
            status=status,
            headers=flat(headers),
            body=body,
            host=self._reply_to.host,
            generation=self._reply_to.generation,
            legs=self.legs,
        )

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except LostError as lost:
            raise HttpError(str(lost)) from lost
