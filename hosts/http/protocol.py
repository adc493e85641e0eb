"""One HTTP/1.1 connection: takes requests off the wire one by one and has them answered in order.

The next request is looked at when the answer to the one before is done, so a client that sends
many at once waits in its own buffer.
"""

from __future__ import annotations

import asyncio
import logging

import anyio

from hosts.http import answers, failures
from hosts.http.accesslog import note, tracing
from hosts.http.base import HttpError
from hosts.http.exchange import ServerExchange
from hosts.http.head import (
    BLANK_LINE,
    Head,
    KeptHead,
    RefusalError,
    has_bare_feed,
    may_open,
    read_head,
)
from hosts.http.limits import RETRY_AFTER_S
from hosts.http.service import Service
from hosts.http.stream import ClientStream
from lattice.bus.eager import Eager, Rest
from lattice.errors import InternalError, first_cause

KEPT_HEAD_BYTES_MAX = 1024
"""A head up to here is kept until the next one: most clients of a kept connection send the same
bytes again, which then need not be read again."""

PIPELINED_IN_A_TURN = 16
"""Requests that lay in the buffer already and are answered before the others on the loop have a
turn: a client may send two thousand in one packet's time, and a handler may never wait."""

_CANCELLED = InternalError("the handler was cancelled")

log = logging.getLogger(__name__)


class Connection(ClientStream):
    """A client's connection; `run` answers its requests until it closes."""

    def __init__(self, service: Service, *, scheme: str) -> None:
        super().__init__(service.limits, service.clock, scheme=scheme)
        self._service = service
        self._scope = anyio.CancelScope()
        self._scanned = 0  # bytes of the buffer in which no head ends
        self._kept_head: KeptHead | None = None
        self._exchange: ServerExchange | None = None
        self._eager: Eager | None = None
        self._awaits_head = False  # the task waits for the next request
        self._begun: Rest[bool] | bool = False  # what is left of a request that was begun for it
        self._excess = 0  # connections over the cap when this one came
        self._is_refused = False  # the client may send what nobody reads

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to answer."""
        super().connection_made(transport)
        self._service.connections.add(self)
        self._excess = len(self._service.connections) - self._limits.connections_max
        self._service.start(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the others of this server."""
        super().connection_lost(exc)
        self._service.connections.discard(self)
        if not self._service.connections and self._service.on_empty is not None:
            self._service.on_empty()

    def data_received(self, data: bytes) -> None:
        """Begin to answer a request that is here, and keep all else for whoever waits."""
        eager = self._eager
        if eager is None or not self._awaits_head or not eager.can_begin():
            super().data_received(data)
            return
        kept = self._kept_head
        head = kept.again(data) if kept is not None and not self.buffer else None
        if head is None:
            self._keep(data)
            try:
                head = self._cut_head()
            except RefusalError:
                head = None  # the task finds the same
        if head is not None:
            # What the request itself may wait for takes the place of what the task waits for.
            arrival, self._arrival = self._arrival, None
            self._is_holding = True
            self._begun = eager.begin(self._serve(head))
            self._is_holding = False
            if self._held:
                self._service.outbox.put(self)
            if self._begun is False and not self.buffer and not self._service.is_draining:
                # All is done: the task waits on, for the next request.
                self._arrival = arrival
                self._read_deadline_s = self._now_s() + self._limits.idle_timeout_s
                return
            if arrival is not None and not arrival.done():
                arrival.set_result(True)
        else:
            self._wake(is_in_time=True)
        self._awaits_head = False

    # What the server calls.

    async def run(self) -> None:
        """Answer requests until the connection closes. Never raises on a client's account."""
        with self._scope:
            try:
                if self._excess > self._limits.connections_max:
                    self._open_transport.abort()  # telling so many costs too much
                elif self._excess > 0:
                    self._refuse(503, "too many connections")
                    await self._linger()
                else:
                    self._eager = Eager()
                    await self._converse()
            except Exception:
                log.exception("the connection of %s failed", self._peer)
                self._open_transport.abort()
            finally:
                if self._scope.cancel_called:
                    self._open_transport.abort()
                else:
                    self._open_transport.close()

    def drain(self) -> None:
        """Close at once when no request is at work or on its way, else after its answer."""
        self._wake(is_in_time=True)  # who waits for a request looks whether it still should

    def abort(self) -> None:
        """Close now, and cancel the handler."""
        self._scope.cancel()
        self._open_transport.abort()

    # What exchanges call.

    @property
    def is_last(self) -> bool:
        """See `Line.is_last`."""
        return self._service.is_draining

    def date_line(self) -> bytes:
        """See `Line.date_line`."""
        return self._service.date.at(self._service.clock.wall_s())

    def invite(self) -> None:
        """See `Source.invite`."""
        if self._exchange is not None and not self._exchange.is_begun:
            self.send(answers.CONTINUE)

    # Requests, one after the other.

    async def _converse(self) -> None:
        in_turn = 0
        try:
            while True:
                head = self._cut_head() if self.buffer else None
                in_turn += 1
                if head is None:
                    in_turn = 0
                    head = await self._next_head()
                    if self._begun is not False:
                        begun, self._begun = self._begun, False
                        if begun is True or await begun:
                            break
                        continue
                elif in_turn >= PIPELINED_IN_A_TURN:
                    in_turn = 0
                    await self.turn()
                if head is None:
                    return
                if await self._serve(head):
                    break
        except RefusalError as refusal:
            self._refuse(refusal.status, refusal.reason)
        except HttpError:
            return  # the client left
        await self._linger()

    async def _next_head(self) -> Head | None:
        """Return the next request when it has arrived.

        None when it has been begun already, or the client is done.
        """
        limits = self._limits
        deadline_s = self._now_s() + limits.idle_timeout_s
        has_begun = False
        while True:
            if self.buffer and not has_begun:
                has_begun = True
                deadline_s = self._now_s() + limits.head_timeout_s
            if self._has_ended:
                if self.buffer and not self.is_gone:
                    raise RefusalError(400, "the request ends within its head")
                return None
            if self._service.is_draining and not self.buffer:
                return None
            self._awaits_head = True
            try:
                is_in_time = await self._arrives(deadline_s)
            except asyncio.CancelledError:
                if isinstance(self._begun, Rest):
                    await self._begun.cancelled()
                raise
            finally:
                self._awaits_head = False
            if self._begun is not False:
                return None
            if not is_in_time:
                if self.buffer:
                    raise RefusalError(408, "the head came too slowly")
                return None
            head = self._cut_head()
            if head is not None:
                return head

    def _cut_head(self) -> Head | None:
        """Return the head at the front of the buffer, without it, None when it has not ended."""
        buffer = self.buffer
        if self._scanned < 2:
            while buffer.startswith(b"\r\n"):  # RFC 9112, 2.2: left over by old clients
                del buffer[:2]
                self._scanned = 0
            if buffer and not may_open(buffer) and buffer != b"\r":
                raise RefusalError(400, "this is no HTTP request")
        limits = self._limits
        end = buffer.find(BLANK_LINE, max(self._scanned - 3, 0), limits.head_bytes_max)
        if end < 0:
            if len(buffer) >= limits.head_bytes_max:
                status = 431 if b"\r\n" in buffer else 414
                raise RefusalError(status, f"the head has more than {limits.head_bytes_max} bytes")
            if has_bare_feed(buffer, self._scanned):
                raise RefusalError(400, "a line ends without a carriage return")
            self._scanned = len(buffer)
            return None
        raw = bytes(buffer) if len(buffer) == end + 4 else bytes(buffer[: end + 4])
        kept = self._kept_head
        head = kept.again(raw) if kept is not None else None
        if head is None:
            head = read_head(raw, limits, scheme=self._scheme, peer=self._peer)
            is_short = len(raw) <= KEPT_HEAD_BYTES_MAX
            self._kept_head = KeptHead(raw, head, limits) if is_short else None
        del buffer[: end + 4]  # not before: one that is refused is found again
        self._scanned = 0
        return head

    async def _serve(self, head: Head) -> bool:
        """Have one request answered, and tell whether the connection is over."""
        service = self._service
        limits = self._limits
        exchange = self._exchange = ServerExchange(self, head, limits)
        self._waited_s = 0.0
        began_s = self._now_s()
        service.in_flight += 1
        failure: BaseException | None = _CANCELLED
        try:
            if service.in_flight > limits.in_flight_max:
                exchange.answer(503, *failures.plain(503, retry_after_s=RETRY_AFTER_S))
            elif service.is_traced:
                with tracing(exchange):
                    await service.handler(exchange)
            else:
                await service.handler(exchange)
            failure = None
        except Exception as exc:
            failure = first_cause(exc)
            if failures.is_unforeseen(failure):
                log.exception("the handler of %s %s failed", head.request.method, head.request.path)
        finally:
            service.in_flight -= 1
            self._exchange = None
            if not exchange.is_finished:
                failure = self._conclude(exchange, failure)
            note(exchange, self._now_s() - began_s, failure, service.on_served)
        if self._is_full or self.is_gone:
            await self.room()
        body = exchange.incoming
        if exchange.is_kept and (body.is_complete or await body.discard(limits.discard_bytes_max)):
            return False
        self._is_refused = not body.is_complete
        return True

    def _conclude(self, exchange: ServerExchange, failure: BaseException | None) -> BaseException:
        """Give the answer that a handler did not, or break off one that it did not finish.

        When the body was none, that is the reason, whatever the handler made of it. Returns what
        went wrong, for the log.
        """
        done = "finished its" if exchange.is_begun else "gave an"
        error = failure or InternalError(f"the handler never {done} answer")
        refusal = exchange.incoming.refusal
        if exchange.is_begun:
            exchange.is_kept = False
            self._open_transport.abort()
        elif refusal is not None:
            exchange.answer(refusal.status, *failures.plain(refusal.status, refusal.reason))
        elif isinstance(failure, HttpError):
            exchange.is_kept = False  # the client left; it may still hear why
            exchange.answer(400, *failures.plain(400, str(failure)))
        else:
            exchange.answer(*failures.answer_to(error, is_dev=self._service.is_dev))
        return error

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what is no request, or one that is not taken; the connection closes after it."""
        self._is_refused = True
        retry_after_s = RETRY_AFTER_S if status == 503 else None
        headers, body = failures.plain(status, reason, retry_after_s=retry_after_s)
        lines = answers.checked(headers).lines
        self.send(
            b"%b%b%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (answers.status_line(status), self.date_line(), lines, len(body), body)
        )
        log.info("%s was refused: %d %s", self._peer, status, reason)

    async def _linger(self) -> None:
        """Let the client take the last answer before the connection closes.

        Bytes that arrive after a close, or lie unread, make the system send a reset, which can
        destroy what the client has not read yet (RFC 9112, 9.6).
        """
        transport = self._open_transport
        deadline_s = self._now_s() + self._limits.linger_s
        if self.is_gone or transport.is_closing():
            return
        if transport.can_write_eof():
            try:
                transport.write_eof()
            except OSError:
                return  # the client left, and the loop does not know yet
        elif not self._is_refused:
            return  # TLS says that it ends only when it closes, and the client waits for that
        while not self._has_ended:
            self.buffer.clear()
            self._resume()
            if not await self._arrives(deadline_s):
                return
