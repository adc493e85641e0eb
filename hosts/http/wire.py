"""One connection to a server as bytes: dialled to a given address, with or without TLS.

It knows nothing of HTTP and decides nothing: who may be dialled is decided before.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections import deque
from typing import cast

from hosts.engine.webvalues import EgressError
from hosts.http.alerts import alert_in
from lattice.model.network import Address

BUFFER_BYTES_MAX = 256 * 1024
"""Received bytes that wait for the reader; above, the sender is made to wait."""

SEND_BYTES_MAX = 256 * 1024
"""Bytes that wait to leave; above, `drain` waits."""


class Wire(asyncio.Protocol):
    """The two directions of a connection, each used by one task at a time."""

    def __init__(self) -> None:
        self._received: deque[bytes] = deque()
        self._received_bytes = 0
        self._failure: OSError | None = None
        self._is_over = False  # nothing more will be received
        self._is_closed = False
        self._is_tls = False
        self._is_held_up = False  # the reader is behind
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self.is_full = False
        """Whether more than enough waits to leave."""
        self._transport: asyncio.Transport | None = None
        self.is_idle = False
        """Whether nobody expects bytes: what comes then ends the connection."""

    @property
    def is_quiet(self) -> bool:
        """Tell whether the connection stands and nothing unasked for came."""
        return not (self._is_over or self._is_closed or self._received)

    def at_hand(self) -> bytes | None:
        """Return bytes that came already, None when there are none."""
        return self._next() if self._received else None

    async def receive(self) -> bytes:
        """Return the next bytes, `b""` when the peer has ended its side.

        Raises:
            OSError: the connection broke.
        """
        while not self._received:
            if self._is_over or self._is_closed:
                if self._failure is not None:
                    raise self._failure
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._next()

    def write(self, data: bytes) -> None:
        """Send; what does not leave at once is kept, so `drain` is to follow when `is_full`.

        Raises:
            OSError: the connection broke.
        """
        if self._is_closed or self._transport is None:
            raise self._failure or ConnectionResetError(errno.ECONNRESET, "the peer closed it")
        self._transport.write(data)

    async def drain(self) -> None:
        """Return when there is room for more.

        Raises:
            OSError: the connection broke.
        """
        while self.is_full and not self._is_closed:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        if self._is_closed:
            raise self._failure or ConnectionResetError(errno.ECONNRESET, "the peer closed it")

    def abort(self) -> None:
        """Close at once; what was not sent yet is lost. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> bytes:
        data = self._received.popleft()
        self._received_bytes -= len(data)
        if self._is_held_up and self._received_bytes <= BUFFER_BYTES_MAX:
            self._is_held_up = False
            if self._transport is not None and not self._is_closed:
                self._transport.resume_reading()
        return data

    # --- called by the loop ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        # Not checked: the transports of uvloop are no subclasses of it.
        self._transport = cast("asyncio.Transport", transport)
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=SEND_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        """Keep bytes for the reader."""
        if self.is_idle:
            self.abort()
            return
        self._received.append(data)
        self._received_bytes += len(data)
        if self._received_bytes > BUFFER_BYTES_MAX and self._transport is not None:
            self._is_held_up = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        """Note the end of what comes; what goes may go on, unless TLS forbids it."""
        self._is_over = True
        _wake(self._reader)
        return not (self.is_idle or self._is_tls)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that both directions are over."""
        self._is_closed = True
        if exc is not None:
            self._failure = exc if isinstance(exc, OSError) else ConnectionResetError(str(exc))
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        """Have `drain` wait."""
        self.is_full = True

    def resume_writing(self) -> None:
        """Have `drain` go on."""
        self.is_full = False
        _wake(self._writer)


async def dial(address: Address, port: int, tls: ssl.SSLContext | None, name: str) -> Wire:
    """Return a connection to an address; `name` is who the certificate must be for.

    Raises:
        EgressError: it was refused, nobody is there, or TLS failed.
    """
    loop = asyncio.get_running_loop()
    try:
        _, wire = await loop.create_connection(
            Wire, str(address), port, ssl=tls, server_hostname=name if tls is not None else None
        )
    except (OSError, ssl.SSLError) as error:
        raise failure_of(error, f"{name} at {address}, port {port}") from error
    return wire


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


def failure_of(error: OSError, whom: str) -> EgressError:
    """Return why a connection could not be made, or broke."""
    match error:
        case ssl.SSLCertVerificationError():
            return EgressError(
                "TLS-certificate-error", f"certificate of {whom}: {error.verify_message}"
            )
        case ssl.SSLError() if (alert := alert_in(error)) is not None:
            name, number = alert
            return EgressError(
                "TLS-alert-received", f"TLS with {whom}: alert {name}", number, text=name
            )
        case ssl.SSLError():
            return EgressError("TLS-protocol-error", f"TLS with {whom}: {error.reason}")
        case ConnectionRefusedError():
            return EgressError("connection-refused", f"connection refused by {whom}")
        case ConnectionError():
            return EgressError("connection-terminated", f"connection broken off by {whom}")
        case TimeoutError():
            return EgressError("connection-timeout", f"no connection to {whom}")
        case _:
            pass
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
        return EgressError("destination-IP-unroutable", f"no way to {whom}: {error.strerror}")
    return EgressError("destination-unavailable", f"no connection to {whom}: {error}")
