"""One client's connection as a stream: what came lies in a buffer, what is sent waits for room.

Time-outs are deadlines that the server looks at now and then (`check`), because a timer for each
request would cost more than the request. Nothing here knows requests.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import cast

from hosts.http.base import HttpError
from hosts.http.head import RefusalError
from hosts.http.limits import Limits
from lattice.clock import Clock

HELD_BYTES_MAX = 16 * 1024
"""Bytes that are kept until others are sent too: what is larger pays for its own system call."""

log = logging.getLogger(__name__)


class ClientStream(asyncio.Protocol):
    """A connection; one task reads at a time and one writes."""

    def __init__(self, limits: Limits, clock: Clock, *, scheme: str) -> None:
        self.buffer = bytearray()
        self._limits = limits
        self._now_s = clock.monotonic_s
        self._scheme = scheme
        self._peer = ""
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._arrival: asyncio.Future[bool] | None = None  # False: too late
        self._room: asyncio.Future[bool] | None = None
        self._left: asyncio.Future[bool] | None = None
        self._read_deadline_s = math.inf
        self._write_deadline_s = math.inf
        self._waited_s = 0.0  # for the body at hand
        self._arrived_bytes = 0  # in that time
        self._is_paused = False
        self._is_full = False
        self._has_ended = False  # the client sends nothing more
        self._is_holding = False  # what is sent is kept until `flush`
        self._held = b""
        self.is_gone = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the client."""
        self._transport = cast("asyncio.Transport", transport)
        size = self._limits.write_buffer_bytes
        self._transport.set_write_buffer_limits(high=size, low=size // 4)
        name = transport.get_extra_info("peername")
        self._peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name or "")

    def data_received(self, data: bytes) -> None:
        """Keep what arrived, and wake who waits for it."""
        self._keep(data)
        arrival = self._arrival
        if arrival is not None and not arrival.done():
            arrival.set_result(True)

    def _keep(self, data: bytes) -> None:
        """Keep what arrived, and stop reading when that is enough."""
        self.buffer += data
        self._arrived_bytes += len(data)
        if len(self.buffer) >= self._limits.read_buffer_bytes and not self._is_paused:
            self._is_paused = True
            self._open_transport.pause_reading()

    def eof_received(self) -> bool:
        """Keep a plain connection open: the client may still wait for its answer.

        It mostly does not, so a handler that waits is told that the client left, unless more
        requests lie here: who sent those knows that answers come one after the other.
        """
        self._has_ended = True
        self._wake(is_in_time=True)
        if not self.buffer:
            self._depart()
        return self._scheme == "http"

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everybody who waits for this client."""
        del exc  # a reset, or None after our own close: the same to whoever waits
        self.is_gone = self._has_ended = True
        self._wake(is_in_time=True)
        self.resume_writing()
        self._depart()

    def pause_writing(self) -> None:
        """Have writers wait."""
        self._is_full = True
        self._write_deadline_s = self._now_s() + self._limits.write_timeout_s

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._is_full = False
        self._write_deadline_s = math.inf
        if self._room is not None and not self._room.done():
            self._room.set_result(True)

    # What the server calls.

    def check(self, now_s: float) -> None:
        """Act on deadlines that have passed."""
        if now_s >= self._write_deadline_s:
            log.info("%s takes no more of its answer and is left", self._peer)
            self._open_transport.abort()
        elif now_s >= self._read_deadline_s:
            self._wake(is_in_time=False)

    # What exchanges call.

    def send(self, data: bytes) -> None:
        """See `Line.send`."""
        if self._is_holding and len(self._held) + len(data) <= HELD_BYTES_MAX:
            self._held += data
            return
        if self._held:
            self.flush()
        if self._transport is not None and not self.is_gone:
            self._transport.write(data)

    def flush(self) -> None:
        """See `hosts.http.outbox.Sender.flush`."""
        held, self._held = self._held, b""
        if held and self._transport is not None and not self.is_gone:
            self._transport.write(held)

    async def room(self) -> None:
        """See `Line.room`."""
        while self._is_full and not self.is_gone:
            self._room = self._loop.create_future()
            try:
                await self._room
            finally:
                self._room = None
        if self.is_gone or self._open_transport.is_closing():
            raise HttpError("the client went away before the end of the answer")

    async def turn(self) -> None:
        """See `Line.turn`."""
        await asyncio.sleep(0)

    async def departure(self) -> None:
        """See `Line.departure`."""
        if self.is_gone or (self._has_ended and not self.buffer):
            return
        if self._left is None:
            self._left = self._loop.create_future()
        # Several may wait, and one that is cancelled must not cancel the others' future.
        await asyncio.shield(self._left)

    def was_taken(self) -> None:
        """See `Source.was_taken`."""
        if self._is_paused and len(self.buffer) < self._limits.read_buffer_bytes // 2:
            self._resume()

    async def more(self, *, is_body: bool) -> None:
        """See `Source.more`."""
        if self._has_ended:
            raise HttpError("the client went away before the end of its request")
        limits = self._limits
        began_s = self._now_s()
        self._arrived_bytes = 0 if not self._waited_s else self._arrived_bytes
        is_in_time = await self._arrives(began_s + limits.body_timeout_s)
        if is_body:
            self._waited_s += self._now_s() - began_s
            is_in_time = is_in_time and (
                self._waited_s < limits.body_rate_grace_s
                or self._arrived_bytes >= self._waited_s * limits.body_rate_bytes_s
            )
        if not is_in_time:
            raise RefusalError(408, "the body came too slowly")

    # Waiting.

    async def _arrives(self, deadline_s: float) -> bool:
        """Return True when bytes or the end arrived, False when the deadline passed first."""
        if self._is_paused:
            self._resume()
        arrival: asyncio.Future[bool] = self._loop.create_future()
        self._arrival = arrival
        self._read_deadline_s = deadline_s
        try:
            return await arrival
        finally:
            if self._arrival is arrival:  # else a request that was begun meanwhile waits for more
                self._arrival = None
                self._read_deadline_s = math.inf

    def _wake(self, *, is_in_time: bool) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(is_in_time)

    def _depart(self) -> None:
        if self._left is not None and not self._left.done():
            self._left.set_result(True)

    def _resume(self) -> None:
        if self._is_paused and not self.is_gone:
            self._is_paused = False
            self._open_transport.resume_reading()

    @property
    def _open_transport(self) -> asyncio.Transport:
        """Return the transport, which has all that was sent so far."""
        assert self._transport is not None, "a connection is used after it was made"
        if self._held:
            self.flush()
        return self._transport
