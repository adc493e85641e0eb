"""A TCP connection of the machine, as a guest uses it: nothing waits, and little is held.

What was received and not yet read, and what was written and has not left, is bounded here and by
the system's own buffers: that is the back-pressure in both directions. The event loop is asked
about a socket only while somebody waits for it, and while written bytes wait to leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from hosts.engine.network.errors import Code, SocketError, code_of

RECEIVE_BYTES_MAX = 64 * 1024
"""Bytes read ahead of a guest that asks whether there are any: one reading of the system."""

SEND_BYTES_MAX = 64 * 1024
"""Bytes that a stream takes at once, and holds until the system takes them."""

LINGER_S = 5.0
"""Time that written bytes have to leave after the guest has closed the socket."""


class Stream(Protocol):
    """A connection: of the machine, or in memory (`hosts.engine.network.pipes`)."""

    def attach(self, waken: Callable[[], None]) -> None:
        """Have `waken` called whenever there may be something to do."""
        ...

    def receive(self, length: int) -> bytes | None:
        """Return what is there, b"" when nothing is yet, None at the end.

        Raises:
            SocketError: the connection failed; told once, after that it is at its end.
        """
        ...

    def offered(self) -> int:
        """Return how many bytes `send` takes now, 0 for none yet.

        Raises:
            SocketError: `invalid-state`: no more can be sent; another: the connection failed.
        """
        ...

    def send(self, data: bytes) -> None:
        """Take bytes, no more than `offered` says."""
        ...

    @property
    def is_readable(self) -> bool:
        """Tell whether `receive` has an answer."""
        ...

    @property
    def is_writable(self) -> bool:
        """Tell whether `offered` is more than 0, or fails."""
        ...

    def arm(self) -> None:
        """Call `waken` when something can be received."""
        ...

    def disarm(self) -> None:
        """Take back `arm`. Idempotent."""
        ...

    def shut(self, *, receive: bool, send: bool) -> None:
        """End one direction or both; what was sent still arrives."""
        ...

    def close(self) -> bool:
        """Close; False when bytes are still to leave. A second time it closes in any case."""
        ...


class KernelStream:
    """A connected socket of the machine; see `Stream`."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._waken: Callable[[], None] = lambda: None
        self._ahead = b""  # received; from `_at` on not yet read
        self._at = 0
        self._unsent = b""
        self._failure: Code | None = None
        self._is_failure_told = False
        self._is_ended = False  # the peer sends no more
        self._is_receive_shut = self._is_send_shut = False
        self._is_armed = self._is_pushing = False  # whether the loop watches the socket
        self._linger: asyncio.TimerHandle | None = None

    def attach(self, waken: Callable[[], None]) -> None:
        """Have `waken` called whenever there may be something to do."""
        self._waken = waken

    # --- receiving ---------------------------------------------------------------------------

    def receive(self, length: int) -> bytes | None:
        """Return what is there; see `Stream.receive`."""
        if length <= 0 or not self.is_readable:
            return b""
        if self._is_receive_shut:
            return None
        data = self._ahead[self._at : self._at + length]
        if data:
            self._at += len(data)
            return data
        if self._failure is not None and not self._is_failure_told:
            self._is_failure_told = True
            raise SocketError(self._failure)
        return None

    @property
    def is_readable(self) -> bool:
        """Tell whether `receive` has an answer; reads ahead to know."""
        is_known = self._at < len(self._ahead) or self._is_ended or self._is_receive_shut
        # What came before a failure is still to be read.
        return is_known or self._read_ahead() or self._failure is not None

    def arm(self) -> None:
        """Call `waken` when something can be received."""
        if not self._is_armed and self._socket.fileno() >= 0:
            self._is_armed = True
            self._loop.add_reader(self._socket, self._waken)

    def disarm(self) -> None:
        """Take back `arm`. Idempotent."""
        if self._is_armed:
            self._is_armed = False
            if not self._loop.is_closed():
                self._loop.remove_reader(self._socket)

    def _read_ahead(self) -> bool:
        """Read what the system has; tell whether there is something to say."""
        try:
            self._ahead, self._at = self._socket.recv(RECEIVE_BYTES_MAX), 0
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._failure = self._failure or code_of(error)
            self._is_ended = True
        else:
            self._is_ended = not self._ahead
        return True

    # --- sending -----------------------------------------------------------------------------

    def offered(self) -> int:
        """Return how many bytes `send` takes now; see `Stream.offered`."""
        if self._is_send_shut:
            raise SocketError("invalid-state")
        if self._failure is not None:
            code: Code = "invalid-state" if self._is_failure_told else self._failure
            self._is_failure_told = True
            raise SocketError(code)
        return 0 if self._unsent else SEND_BYTES_MAX

    def send(self, data: bytes) -> None:
        """Take bytes; what the system does not take at once leaves when it does."""
        assert len(data) <= self.offered(), "no more than was offered"
        self._unsent = data
        self._push()
        if self._unsent:
            self._is_pushing = True
            self._loop.add_writer(self._socket, self._push_on)

    @property
    def is_writable(self) -> bool:
        """Tell whether `offered` is more than 0, or fails."""
        return not self._unsent or self._is_send_shut or self._failure is not None

    def _push(self) -> None:
        """Give the system what it takes."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._failure, self._unsent = code_of(error), b""

    def _push_on(self) -> None:
        """Go on sending, called by the loop when the system takes bytes again."""
        self._push()
        if self._unsent:
            return
        self._stop_pushing()
        if self._linger is not None:
            self._release()
        elif self._is_send_shut:
            self._shut_down(socket.SHUT_WR)
        self._waken()

    # --- ending ------------------------------------------------------------------------------

    def shut(self, *, receive: bool, send: bool) -> None:
        """End one direction or both; what was sent still arrives."""
        if receive:
            self._is_receive_shut = True
            self._ahead, self._at = b"", 0
            self._shut_down(socket.SHUT_RD)
        if send and not self._is_send_shut:
            self._is_send_shut = True
            if not self._unsent:
                self._shut_down(socket.SHUT_WR)

    def close(self) -> bool:
        """Close; False when bytes are still to leave, for at most `LINGER_S`."""
        if self._socket.fileno() < 0:
            return True
        if self._unsent and self._linger is None and not self._loop.is_closed():
            self.disarm()
            self._linger = self._loop.call_later(LINGER_S, self._give_up)
            return False
        self._release()
        return True

    def _give_up(self) -> None:
        self._release()
        self._waken()

    def _release(self) -> None:
        """Close the socket. Idempotent."""
        if self._linger is not None:
            self._linger.cancel()
        if self._socket.fileno() >= 0:
            self.disarm()
            self._stop_pushing()
            self._unsent = b""
            self._socket.close()

    def _stop_pushing(self) -> None:
        if self._is_pushing:
            self._is_pushing = False
            if not self._loop.is_closed():
                self._loop.remove_writer(self._socket)

    def _shut_down(self, how: int) -> None:
        with contextlib.suppress(OSError):  # the peer has gone; reading and writing tell so
            self._socket.shutdown(how)
