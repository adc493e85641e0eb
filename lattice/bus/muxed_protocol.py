"""One socket of a muxed connection: bytes in and out, one write for each turn of the loop.

It answers pings, notices a silent server, and holds publishers back while the server takes no
bytes. It decides nothing about subscriptions, requests or which server comes next.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from lattice.bus.link import PENDING_BYTES_MAX, PING_INTERVAL_S, PINGS_MAX, read_violation
from lattice.bus.muxed_session import MuxedSession
from lattice.bus.muxed_wire import CRLF, PING, PONG, Line, ServerInfo, read_info
from lattice.errors import DecodeError, UnavailableError

WRITE_BYTES = 64 * 1024
"""Bytes after which a turn of the loop writes before it ends: they would be copied once more."""

FIELDS_MAX = 1000
"""Characters of a server's error that are kept."""


class ServerRefusedError(Exception):
    """Why a server and this client do not come together, mostly in the server's own words."""


class Owner(Protocol):
    """Who is told what happens on a socket that has been taken into use, and what is refused."""

    def on_info(self, info: ServerInfo) -> None:
        """Learn what the server says of itself and its cluster."""
        ...

    def on_error(self, text: str) -> None:
        """Learn what the server complains of."""
        ...

    def on_lost(self, connection: MuxedProtocol) -> None:
        """Learn that the socket is gone."""
        ...


class MuxedProtocol(asyncio.Protocol):
    """See the module. `info` is the server's first word, which fails when it does not come.

    `is_full` while the server takes no bytes and `PENDING_BYTES_MAX` wait; `lost` is set when the
    socket is gone.
    """

    def __init__(self, session: MuxedSession, owner: Owner) -> None:
        self.is_full = False
        self.is_lost = False
        self.lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.info: asyncio.Future[ServerInfo] = self._loop.create_future()
        self._session = session
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._failure: Exception | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._is_scheduled = False
        self._has_room = asyncio.Event()
        self._is_in_use = False
        self._unanswered = 0  # keep-alive pings
        self._timer: asyncio.TimerHandle | None = None

    # --- out --------------------------------------------------------------------------------

    def write(self, line: bytes) -> None:
        """Send a line at the end of this turn of the loop, after what was written before."""
        self._out.append(line)
        self._out_bytes += len(line)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._write_out)

    def publish(self, head: bytes, body: bytes) -> None:
        """Send a message at the end of this turn of the loop; the body is not copied before."""
        self._out += (head, body, CRLF)
        self._out_bytes += len(head) + len(body)
        if self._out_bytes >= WRITE_BYTES:
            self._write_now()
        elif not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._write_out)

    def ping(self) -> asyncio.Future[None]:
        """Return what is done when the server has everything that was written before.

        It fails with `UnavailableError` when the connection is lost.
        """
        slot = self._loop.create_future()
        self._session.expect_pong(slot)
        self.write(PING)
        return slot

    async def room(self) -> None:
        """Return when the server takes bytes again, or the connection is lost."""
        while self.is_full and not self.is_lost:
            await self._has_room.wait()

    def _write_out(self) -> None:
        self._is_scheduled = False
        self._write_now()

    def _write_now(self) -> None:
        if self._out and self._transport is not None and not self.is_lost:
            self._transport.write(b"".join(self._out))
        self._out.clear()
        self._out_bytes = 0

    # --- in ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            for line in self._session.receive(data):
                self._take(line)
        except DecodeError as error:
            self.abort(error)

    def _take(self, line: Line) -> None:
        match line.verb:
            case b"PING":
                self.write(PONG)
            case b"PONG":
                self._unanswered = 0
                self._session.pong()
            case b"INFO":
                info = read_info(line.text)
                if not self.info.done():
                    self.info.set_result(info)
                if self._is_in_use:
                    self._owner.on_info(info)
            case b"-ERR":
                text = line.text.decode("utf-8", "replace").strip("'")[:FIELDS_MAX]
                if self._is_in_use or read_violation(text) is not None:
                    self._owner.on_error(text)
                else:
                    self.abort(ServerRefusedError(text))
            case _:
                pass  # +OK, which a server says to a client that is verbose

    # --- life -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.use_transport(transport)  # type: ignore[arg-type]  # uvloop's is no subclass

    def use_transport(self, transport: asyncio.Transport) -> None:
        """Write to `transport` from now on: the socket, or TLS above it."""
        transport.set_write_buffer_limits(high=PENDING_BYTES_MAX)
        self._transport = transport

    @property
    def is_made(self) -> bool:
        """Tell whether there ever was a socket."""
        return self._transport is not None

    @property
    def transport(self) -> asyncio.Transport:
        """Return what this writes to."""
        assert self._transport is not None, "connection_made comes first"
        return self._transport

    def take_into_use(self) -> None:
        """Begin to tell the owner, and to look whether the server still answers."""
        self._is_in_use = True
        self._timer = self._loop.call_later(PING_INTERVAL_S, self._keep_alive)

    def abort(self, error: Exception) -> None:
        """Break the connection off; what waits on it fails because of `error`."""
        self._failure = self._failure or error
        if self._transport is not None and not self.is_lost:
            self._transport.abort()

    async def close(self) -> None:
        """Close when everything has been written; return when the socket is gone."""
        self._write_now()
        if self._transport is not None and not self.is_lost:
            self._transport.close()
            await self.lost.wait()

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self.is_full = True
        self._has_room.clear()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self.is_full = False
        self._has_room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.is_lost = True
        self._failure = self._failure or exc
        if self._timer is not None:
            self._timer.cancel()
        self._has_room.set()
        self.lost.set()
        if not self.info.done():
            self.info.set_exception(self.failure())
            self.info.exception()
        if self._is_in_use:
            self._owner.on_lost(self)
        else:
            self._session.lose(UnavailableError("the connection to NATS was lost"))

    def failure(self) -> Exception:
        """Return why the connection ended."""
        return self._failure or ConnectionError("the server closed the connection")

    def _keep_alive(self) -> None:
        if self._unanswered >= PINGS_MAX:
            self.abort(TimeoutError("the server does not answer"))
            return
        self._unanswered += 1
        self._session.expect_pong(None)
        self.write(PING)
        self._timer = self._loop.call_later(PING_INTERVAL_S, self._keep_alive)
