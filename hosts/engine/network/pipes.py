"""Connections in memory: two pipes, one for each direction, and a stream at each end.

A stream is used like one of the machine (`tcpstream`). Nothing waits here: a pipe
calls `wake_reader` and `wake_writer` when there may be something to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from hosts.engine.network.errors import SocketError
from lattice.model.network import Address

PIPE_BYTES_MAX = 64 * 1024
"""Bytes that were written and not yet read, in one direction: more waits at the writer."""

Waken: TypeAlias = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Place:
    """An address and a port of a loopback; belongs to one socket where it was bound."""

    address: Address
    port: int


def _nobody() -> None:
    """Nobody is to be woken."""


class Pipe:
    """Bytes on their way from a writer to a reader."""

    def __init__(self) -> None:
        self.wake_reader: Waken = _nobody
        self.wake_writer: Waken = _nobody
        self.is_ended = False  # the writer sends no more
        self.is_reset = False  # the writer left without reading what was sent to it
        self.is_abandoned = False  # the reader left
        self.is_discarding = False  # the reader wants no more, but has not left
        self._held = bytearray()  # in one piece: many small ones would take far more memory

    @property
    def size(self) -> int:
        """Return how many bytes were written and not yet read."""
        return len(self._held)

    @property
    def room(self) -> int:
        """Return how many bytes `put` takes."""
        return PIPE_BYTES_MAX - self.size

    def put(self, data: bytes) -> None:
        """Append bytes, for which there is room."""
        if data and not self.is_discarding and not self.is_abandoned:
            self._held += data
            self.wake_reader()

    def take(self, length: int) -> bytes:
        """Return at most `length` bytes, at least one if there is one and any are wanted."""
        if not self._held or length <= 0:
            return b""
        taken = bytes(self._held[:length])
        del self._held[:length]
        self.wake_writer()
        return taken

    def end(self) -> None:
        """Note that the writer sends no more."""
        self.is_ended = True
        self.wake_reader()

    def reset(self) -> None:
        """Note that the writer left without reading; what it sent is lost."""
        self.is_reset = True
        self._clear()
        self.wake_reader()

    def discard(self) -> None:
        """Note that the reader wants no more: what comes is taken and forgotten."""
        self.is_discarding = True
        self._clear()
        self.wake_writer()

    def abandon(self) -> None:
        """Note that the reader left."""
        self.is_abandoned = True
        self._clear()
        self.wake_writer()

    def _clear(self) -> None:
        self._held = bytearray()


class LoopbackStream:
    """One end of a connection in memory; see `hosts.engine.network.tcpstream.Stream`."""

    def __init__(self, local: Place, remote: Place, incoming: Pipe, outgoing: Pipe) -> None:
        self.local = local
        self.remote = remote
        self._incoming = incoming
        self._outgoing = outgoing
        self._is_closed = False
        self._is_refused = False  # bytes were sent to a peer that had left

    def attach(self, waken: Waken) -> None:
        """Have `waken` called whenever there may be something to do."""
        self._incoming.wake_reader = self._outgoing.wake_writer = waken

    def receive(self, length: int) -> bytes | None:
        """Return what is there, b"" when nothing is yet, None at the end.

        Raises:
            SocketError: `connection-reset`: the peer left without reading what was sent to it.
        """
        pipe = self._incoming
        data = pipe.take(length)
        if data:
            return data
        if pipe.is_reset and not pipe.is_ended and not pipe.is_discarding:
            pipe.is_ended = True  # told once
            raise SocketError("connection-reset")
        return None if pipe.is_ended or pipe.is_discarding else b""

    def offered(self) -> int:
        """Return how many bytes `send` takes now, 0 for none yet.

        As with TCP, a peer that read everything and left is noticed by what is sent after that,
        which is lost: what was sent before has arrived, and asking again does not make it fail.

        Raises:
            SocketError: `invalid-state`: this end sends no more; `connection-reset`: nobody reads.
        """
        if self._outgoing.is_ended:
            raise SocketError("invalid-state")
        if self._is_refused or (self._outgoing.is_abandoned and self._incoming.is_reset):
            raise SocketError("connection-reset")
        return self._outgoing.room

    def send(self, data: bytes) -> None:
        """Take bytes, no more than `offered` says."""
        assert len(data) <= self.offered(), "no more than was offered"
        self._is_refused = bool(data) and self._outgoing.is_abandoned
        self._outgoing.put(data)

    @property
    def is_readable(self) -> bool:
        """Tell whether `receive` has an answer."""
        pipe = self._incoming
        return pipe.size > 0 or pipe.is_ended or pipe.is_reset or pipe.is_discarding

    @property
    def is_writable(self) -> bool:
        """Tell whether `offered` is more than 0, or fails."""
        pipe = self._outgoing
        return pipe.room > 0 or pipe.is_ended or pipe.is_abandoned

    def arm(self) -> None:
        """Do nothing: a pipe wakes whoever is attached anyway."""

    def disarm(self) -> None:
        """Do nothing."""

    def shut(self, *, receive: bool, send: bool) -> None:
        """End one direction or both; what was sent still arrives."""
        if receive:
            self._incoming.discard()
        if send:
            self._outgoing.end()

    def close(self) -> bool:
        """Leave the connection; what was sent still arrives. Idempotent. True: nothing is left."""
        if not self._is_closed:
            self._is_closed = True
            self.attach(_nobody)
            if self._incoming.size:
                self._outgoing.reset()
            else:
                self._outgoing.end()
            self._incoming.abandon()
        return True


def connection(here: Place, there: Place) -> tuple[LoopbackStream, LoopbackStream]:
    """Return the two ends of a new connection."""
    going, coming = Pipe(), Pipe()
    return LoopbackStream(here, there, coming, going), LoopbackStream(there, here, going, coming)
