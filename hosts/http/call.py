"""One request of a guest on a connection: sends it, and hands out the response as it is read.

Both directions go on at once: a response may be read while the request still streams. It neither
connects nor checks grants.
"""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import Callable

import anyio
import h11

from hosts.engine.webvalues import Answer, Body, BodySource, EgressError, OutgoingHead
from hosts.http.base import IDEMPOTENT, Headers, HttpError
from hosts.http.connections import Connection, Event
from hosts.http.destination import Origin
from hosts.http.outgoing import FORBIDDEN_HEADERS, EgressLimits
from hosts.http.wire import failure_of

PART_BYTES = 64 * 1024
"""Bytes of a streamed request that are asked for at once."""


class OutgoingCall:
    """A request under way, and its response. Used by one task."""

    def __init__(
        self, head: OutgoingHead, body: Body, origin: Origin, limits: EgressLimits
    ) -> None:
        self.head = head
        self.origin = origin
        self.scope = anyio.CancelScope()
        self._body = body
        self._limits = limits
        self._connection: Connection | None = None
        self._keep: Callable[[Connection], None] = lambda _: None
        self._answer: Answer | None = None
        self._failure: EgressError | None = None
        self._has_answer = anyio.Event()
        self._is_over = anyio.Event()
        self._head_scope = anyio.CancelScope()
        self._is_ended = False  # the response was received to its end
        self._rest: deque[bytes] = deque()  # received, and not read yet
        self._at = 0  # what of the first of them was read
        self._is_begun = False  # some of the body was read
        self._received_bytes = 0
        self._trailers: Headers = ()

    # --- what the asker uses -----------------------------------------------------------------

    async def answered(self) -> Answer:
        """Return the head of the response; informational ones are passed over.

        Raises:
            EgressError: there will be none.
        """
        await self._has_answer.wait()
        if self._answer is None:
            raise self._failure or EgressError("internal-error", "no answer and no failure")
        return self._answer

    @property
    def body(self) -> bytes | None:
        """Return the whole body when all of it is here and none was read, else None."""
        return b"".join(self._rest) if self._is_ended and not self._is_begun else None

    async def read(self, limit_bytes: int) -> bytes:
        """Return the next 1 to `limit_bytes` bytes of the body, `b""` at its end.

        Raises:
            EgressError: the body broke off, is too long, or nothing came for too long.
        """
        if self._answer is None:
            await self.answered()
        while not self._rest:
            if self._is_ended:
                return b""
            if self._failure is not None:
                raise self._failure
            assert self._connection is not None, "what was answered has a connection"
            try:
                self._take(await self._connection.event(self.head.timeouts.between_bytes_s))
            except EgressError as error:
                self.fail(error)
            except OSError as error:
                self.fail(self._broken_off(error))
        self._is_begun = True
        first, at = self._rest[0], self._at
        self._at = at + limit_bytes
        if self._at >= len(first):
            self._rest.popleft()
            self._at = 0
        return first[at : at + limit_bytes]

    @property
    def trailers(self) -> Headers:
        """Return the trailers of the response; they are complete once `read` returned `b""`."""
        return self._trailers

    def cancel(self) -> None:
        """Give the request up: its connection is closed, unless all is over. Idempotent."""
        self.fail(EgressError("connection-terminated", f"request to {self.origin} was given up"))
        self.scope.cancel()

    # --- what the sender uses ----------------------------------------------------------------

    @property
    def is_repeatable(self) -> bool:
        """Tell whether sending the request twice does no more than sending it once."""
        return isinstance(self._body, bytes) and self.head.method in IDEMPOTENT

    @property
    def length(self) -> int | None:
        """Return the bytes of the request's body, None when they are not known yet."""
        return len(self._body) if isinstance(self._body, bytes) else None

    @property
    def is_over(self) -> bool:
        """Tell whether the request needs nothing of the host any more."""
        return self._is_over.is_set()

    def fail(self, error: EgressError) -> None:
        """End with an error; without effect when the response is complete or failed already."""
        if not self._is_ended and self._failure is None:
            self._failure = error
            if self._connection is not None:
                self._connection.wire.abort()
        self._has_answer.set()
        self._is_over.set()

    async def carry(
        self,
        connection: Connection,
        request: h11.Request,
        keep: Callable[[Connection], None],
    ) -> bool:
        """Send the request and return when all is over, or False when nobody was there.

        Nobody was there: a kept connection turned out to be closed, and the request may be sent
        again on another one. The response is received by who calls `read`, meanwhile. `keep` is
        called as soon as the connection is fit for another request; otherwise it is closed.
        """
        self._connection = connection
        self._keep = keep
        self._head_scope = anyio.CancelScope()
        try:
            if isinstance(self._body, bytes) and len(self._body) <= PART_BYTES:
                await self._send_whole(connection, request, self._body)
                return await self._receive(connection)
            async with anyio.create_task_group() as group:
                source = _Slices(self._body) if isinstance(self._body, bytes) else self._body
                group.start_soon(self._stream, connection, request, source)
                is_there = await self._receive(connection)
                group.cancel_scope.cancel()
            return is_there
        finally:
            if self._connection is not None:
                self._connection.wire.abort()
                self._connection = None

    # --- sending -----------------------------------------------------------------------------

    async def _send_whole(self, connection: Connection, request: h11.Request, body: bytes) -> None:
        parts = (h11.Data(data=body),) if body else ()
        try:
            await self._send(connection, request, *parts, h11.EndOfMessage())
        except EgressError as error:
            self.fail(error)
        except OSError:
            pass  # what the server said before it closed decides
        self._start_waiting()

    async def _stream(
        self, connection: Connection, request: h11.Request, source: BodySource
    ) -> None:
        """Send the request as its body comes; runs beside the reading of the response."""
        sent = 0
        try:
            await self._send(connection, request)
            while part := await source.read(PART_BYTES):
                sent += len(part)
                _require_size(sent, self._limits.request_bytes, self.origin)
                await self._send(connection, h11.Data(data=part))
            await self._send(connection, _end(request, source.trailers))
        except EgressError as error:
            self.fail(error)
        except HttpError as error:
            self.fail(EgressError("HTTP-protocol-error", f"the request broke off: {error}"))
        except OSError:
            pass  # what the server said before it closed decides
        self._start_waiting()

    async def _send(
        self, connection: Connection, *parts: h11.Request | h11.Data | h11.EndOfMessage
    ) -> None:
        connection.write(*parts)
        if not connection.wire.is_full:
            return
        wait_s = self.head.timeouts.between_bytes_s
        with anyio.move_on_after(wait_s) as waiting:
            await connection.wire.drain()
        if waiting.cancelled_caught:
            raise EgressError(
                "connection-write-timeout", f"{self.origin} took nothing for {wait_s:g} s"
            )

    def _start_waiting(self) -> None:
        """Count the time until the head of the response from now on."""
        self._head_scope.deadline = anyio.current_time() + self.head.timeouts.first_byte_s

    # --- receiving ---------------------------------------------------------------------------

    async def _receive(self, connection: Connection) -> bool:
        """Return when the response was received, False when the connection was dead before."""
        if not await self._receive_head(connection):
            return False
        if not self._is_over.is_set():
            await self._is_over.wait()
        return True

    async def _receive_head(self, connection: Connection) -> bool:
        """Receive the head, and what came with it; False when the connection was dead before."""
        if self._is_over.is_set():
            return True
        try:
            with self._head_scope:
                self._take(await connection.event(math.inf))
                while not self._is_ended and (event := connection.event_at_hand()) is not None:
                    self._take(event)
        except (EgressError, OSError) as error:
            if connection.has_served and connection.is_untouched and self.is_repeatable:
                return False
            known = error if isinstance(error, EgressError) else self._broken_off(error)
            if connection.is_untouched and known.code == "HTTP-response-incomplete":
                known = EgressError("connection-terminated", known.message)
            self.fail(known)
            return True
        if self._head_scope.cancelled_caught:
            wait_s = self.head.timeouts.first_byte_s
            self.fail(
                EgressError(
                    "connection-read-timeout", f"{self.origin} did not answer for {wait_s:g} s"
                )
            )
        return True

    def _take(self, event: Event) -> None:
        """Note a part of the response."""
        match event:
            case h11.Response():
                # What belongs to the connection means nothing to who does not have it.
                headers = tuple(each for each in event.headers if each[0] not in FORBIDDEN_HEADERS)
                self._answer = Answer(status=event.status_code, headers=headers)
                self._has_answer.set()
            case h11.Data():
                self._received_bytes += len(event.data)
                if self._received_bytes > self._limits.response_bytes:
                    raise EgressError(
                        "HTTP-response-body-size",
                        f"body of the response of {self.origin}: more than "
                        f"{self._limits.response_bytes} bytes",
                        self._received_bytes,
                    )
                self._rest.append(bytes(event.data))
            case h11.EndOfMessage():
                self._trailers = tuple(event.headers)
                self._is_ended = True
                if self._connection is not None and self._connection.is_reusable:
                    self._keep(self._connection)
                    self._connection = None
                self._is_over.set()

    def _broken_off(self, error: OSError) -> EgressError:
        if isinstance(error, ssl.SSLError):  # who asks for a certificate tells after the handshake
            return failure_of(error, str(self.origin))
        return EgressError("connection-terminated", f"{self.origin} broke off: {error}")


class _Slices:
    """A body that is all there, too long to be handed to the system in one go."""

    trailers: Headers = ()

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    async def read(self, limit_bytes: int) -> bytes:
        """Return the next bytes."""
        part = self._body[self._at : self._at + limit_bytes]
        self._at += len(part)
        return part


def _require_size(sent: int, limit_bytes: int, origin: Origin) -> None:
    if sent > limit_bytes:
        raise EgressError(
            "HTTP-request-body-size",
            f"body of a request to {origin}: more than {limit_bytes} bytes",
            sent,
        )


def _end(request: h11.Request, trailers: Headers) -> h11.EndOfMessage:
    """Return the end of a request, with its trailers when it is chunked."""
    is_chunked = any(name == b"transfer-encoding" for name, _ in request.headers)
    return h11.EndOfMessage(headers=list(trailers) if is_chunked else [])
