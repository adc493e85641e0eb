"""Connections to servers that speak HTTP/1.1: h11 on a wire, and those that are kept for later.

A connection carries one request at a time. It is kept when both sides said all that they had to
say, and only for requests to the same origin whose grants allow the address it leads to.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import anyio
import h11

from hosts.engine.errorcodes import Code
from hosts.engine.webvalues import EgressError
from hosts.http.destination import Origin
from hosts.http.outgoing import HEADERS_BYTES_MAX, HEADERS_MAX
from hosts.http.wire import Wire
from lattice.model.network import Address

Event = h11.Response | h11.Data | h11.EndOfMessage

INFORMATIONAL_MAX = 32
"""Informational responses (1xx) before the final one; who sends more never ends."""


class Connection:
    """One connection to an origin, at an address that was checked."""

    def __init__(self, wire: Wire, origin: Origin, address: Address) -> None:
        self.origin = origin
        self.address = address
        self.has_served = False  # a response has come over it already
        self.kept_at = 0.0  # by the loop's clock
        self.wire = wire
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADERS_BYTES_MAX)
        self._informational = 0
        self._is_untouched = True
        self._is_cut = False  # the peer has ended its side

    @property
    def is_reusable(self) -> bool:
        """Tell whether another request may follow."""
        is_done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        return is_done and self.wire.is_quiet and self._http.trailing_data == (b"", False)

    @property
    def is_untouched(self) -> bool:
        """Tell whether nothing at all came back for the request that is under way."""
        return self._is_untouched

    def renew(self) -> None:
        """Be ready for the next request."""
        self._http.start_next_cycle()
        self._informational = 0
        self._is_untouched = True

    def write(self, *parts: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        """Send parts of a request in one go; the wire tells when there is room for more.

        Raises:
            EgressError: they are none that HTTP allows, or not as long as announced.
            OSError: the connection broke.
        """
        try:
            data = b"".join([self._http.send(part) or b"" for part in parts])
        except h11.LocalProtocolError as error:
            is_length = "Content-Length" in str(error)
            code: Code = "HTTP-request-body-size" if is_length else "HTTP-protocol-error"
            raise EgressError(code, f"the request is none: {error}") from None
        if data:
            self.wire.write(data)

    def event_at_hand(self) -> Event | None:
        """Return the next part of the response, None when more bytes are needed.

        Raises:
            EgressError: what the server sent is no response.
        """
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise self._broken_rules(error) from None
            if isinstance(event, h11.InformationalResponse):
                self._informational += 1
                if self._informational > INFORMATIONAL_MAX:
                    raise EgressError(
                        "HTTP-protocol-error",
                        f"{self.origin} sent more than {INFORMATIONAL_MAX} informational responses",
                    )
                continue
            if isinstance(event, Event):
                self._require_size(event)
                return event
            if event is h11.NEED_DATA:
                return None
            raise EgressError("HTTP-response-incomplete", f"{self.origin} ended the connection")

    async def event(self, wait_s: float = math.inf) -> Event:
        """Return the next part of the response; wait at most `wait_s` for each piece of it.

        Raises:
            EgressError: what came is no response, or nothing came for too long.
            OSError: the connection broke.
        """
        while (event := self.event_at_hand()) is None:
            data = self.wire.at_hand()
            if data is None:
                data = await self._receive(wait_s)
            self._is_untouched = self._is_untouched and not data
            self._is_cut = not data
            self._http.receive_data(data)
        return event

    async def _receive(self, wait_s: float) -> bytes:
        if wait_s == math.inf:
            return await self.wire.receive()
        with anyio.move_on_after(wait_s):
            return await self.wire.receive()
        raise EgressError("connection-read-timeout", f"{self.origin} sent nothing for {wait_s:g} s")

    def _require_size(self, event: Event) -> None:
        """Hold the head and the trailers to their limit, also when they came in one go."""
        if isinstance(event, h11.Data):
            return
        size = sum(len(name) + len(value) for name, value in event.headers)
        count = len(event.headers)
        if size > HEADERS_BYTES_MAX or count > HEADERS_MAX:
            is_head = isinstance(event, h11.Response)
            raise EgressError(
                "HTTP-response-header-section-size"
                if is_head
                else "HTTP-response-trailer-section-size",
                f"{self.origin} sent {count} headers of {size} bytes, at most {HEADERS_MAX} of "
                f"{HEADERS_BYTES_MAX}",
                size,
            )

    def _broken_rules(self, error: h11.RemoteProtocolError) -> EgressError:
        text = f"{self.origin}: {error}"
        if error.error_status_hint == 431:
            return EgressError("HTTP-response-header-section-size", text, HEADERS_BYTES_MAX)
        if error.error_status_hint == 501:
            return EgressError("HTTP-response-transfer-coding", text)
        if self._is_cut:
            return EgressError("HTTP-response-incomplete", text)
        return EgressError("HTTP-protocol-error", text)


class Kept:
    """Connections of one workload that wait for another request."""

    def __init__(self, *, connections_max: int, idle_s: float) -> None:
        self._connections_max = connections_max
        self._idle_s = idle_s
        self._idle: list[Connection] = []  # the one kept last is at the end
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._idle)

    def take(
        self, origin: Origin, may_use: Callable[[Address], bool], fresh_s: float = math.inf
    ) -> Connection | None:
        """Return a connection that was kept for at most `fresh_s`, None when there is none."""
        now = asyncio.get_running_loop().time()
        for each in reversed(self._idle):
            is_fit = each.wire.is_quiet and now - each.kept_at <= fresh_s
            if is_fit and each.origin == origin and may_use(each.address):
                self._idle.remove(each)
                each.wire.is_idle = False
                each.renew()
                return each
        return None

    def keep(self, connection: Connection) -> None:
        """Keep a connection for later, or close it when it is not fit for that."""
        if not connection.is_reusable or self._connections_max == 0:
            connection.wire.abort()
            return
        connection.has_served = True
        connection.wire.is_idle = True
        connection.kept_at = asyncio.get_running_loop().time()
        self._idle.append(connection)
        if len(self._idle) > self._connections_max:
            self._idle.pop(0).wire.abort()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._expire)

    def close(self) -> None:
        """Close all. Idempotent."""
        self._drop(lambda _: True)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        """Close what was kept for too long; called by the loop."""
        self._timer = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_s
        self._drop(lambda each: each.kept_at <= oldest or not each.wire.is_quiet)
        if self._idle:
            self._timer = loop.call_at(self._idle[0].kept_at + self._idle_s, self._expire)

    def _drop(self, is_unfit: Callable[[Connection], bool]) -> None:
        for each in [each for each in self._idle if is_unfit(each)]:
            self._idle.remove(each)
            each.wire.abort()
