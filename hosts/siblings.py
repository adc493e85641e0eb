"""Hands accepted connections from one worker of a machine to another, with what was read of them.

The system spreads new connections over all workers that listen on one port, so one may reach a
worker that has nothing to answer it with while its sibling has. The sibling then gets the
connection itself, through a Unix socket, and the client notices nothing. A connection is handed at
most once: if the sibling dies before it takes it, the system closes it, and the client sees that.
"""

from __future__ import annotations

import array
import errno
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import anyio

from lattice.errors import InvalidError, NoRouteError, OverloadedError

PREFIX_BYTES_MAX = 64 * 1024
"""Bytes that were read already and go along: the head of a request, which is smaller; what comes
after is better left in the connection."""

LAYOUT = b"\x01"
"""First byte of a message: a worker of another release may send something else."""

RUNTIME_VARIABLE = "XDG_RUNTIME_DIR"

_FULL = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS, errno.EMSGSIZE})
_GONE = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE})

log = logging.getLogger(__name__)


@contextmanager
def runtime_directory() -> Iterator[Path]:
    """Yield a new directory for sockets that only this user can enter; it goes with the context.

    It has a short path, because that of a socket has about a hundred characters at most.
    """
    base = os.environ.get(RUNTIME_VARIABLE) or None
    with tempfile.TemporaryDirectory(prefix="lattice-", dir=base) as path:
        yield Path(path)


def socket_path(directory: Path, worker: int) -> Path:
    """Return where a worker waits for connections that its siblings hand to it."""
    return directory / f"{worker}.sock"


@dataclass(frozen=True, slots=True)
class Handed:
    """A connection from a sibling: not blocking, and the receiver's to close."""

    connection: socket.socket
    prefix: bytes  # what the sibling had read of it


class Siblings:
    """One worker's end. While the context lasts, siblings can hand connections to it."""

    def __init__(self, directory: Path, own: int) -> None:
        self._directory = directory
        self._path = socket_path(directory, own)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Siblings:
        """Wait under the own path from now on; what a process that died left there goes.

        Raises:
            InvalidError: the path is too long, or nothing can be made there.
        """
        self._path.unlink(missing_ok=True)
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            waiting.setblocking(False)
            waiting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * PREFIX_BYTES_MAX)
            waiting.bind(str(self._path))
        except OSError as exc:
            waiting.close()
            raise InvalidError(f"no socket for siblings at {self._path}: {exc}") from None
        self._socket = waiting
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take no more; connections that wait here unseen are closed."""
        self._own.close()
        self._path.unlink(missing_ok=True)

    def hand(self, to: int, connection: socket.socket, prefix: bytes = b"") -> None:
        """Give a connection to a sibling, and close it here. Never waits.

        After an error the connection is the caller's as before.

        Raises:
            InvalidError: the prefix is longer than `PREFIX_BYTES_MAX`.
            NoRouteError: the sibling is not there now.
            OverloadedError: more connections wait for it than the system allows.
        """
        if len(prefix) > PREFIX_BYTES_MAX:
            raise InvalidError(
                f"{len(prefix)} bytes were read of a connection, at most {PREFIX_BYTES_MAX} go "
                "along when it is handed to a sibling"
            )
        rights = array.array("i", [connection.fileno()])
        message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        address = str(socket_path(self._directory, to))
        try:
            self._own.sendmsg([LAYOUT, prefix], message, 0, address)
        except OSError as exc:
            if exc.errno in _GONE:
                raise NoRouteError(f"worker {to} takes no connections: {exc.strerror}") from None
            if exc.errno in _FULL:
                raise OverloadedError(f"worker {to} is behind: {exc.strerror}") from None
            raise
        connection.close()

    async def received(self) -> AsyncIterator[Handed]:
        """Yield the connections that siblings hand over, as they come, until cancelled."""
        while True:
            await anyio.wait_readable(self._own)
            try:
                handed = self._take()
            except BlockingIOError:
                continue
            if handed is not None:
                yield handed

    def _take(self) -> Handed | None:
        """Return the next connection, or None for a message that is none."""
        size = len(LAYOUT) + PREFIX_BYTES_MAX
        room = socket.CMSG_SPACE(array.array("i", [0]).itemsize)
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        body, control, found_flags, _ = self._own.recvmsg(size, room, flags)
        descriptors = array.array("i")
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                whole = len(data) - len(data) % descriptors.itemsize
                descriptors.frombytes(data[:whole])
        is_cut = found_flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        if len(descriptors) != 1 or is_cut or body[:1] != LAYOUT:
            log.warning("a message that hands over no connection is ignored")
            for descriptor in descriptors:
                os.close(descriptor)
            return None
        connection = socket.socket(fileno=descriptors[0])
        connection.setblocking(False)
        return Handed(connection, body[len(LAYOUT) :])

    @property
    def _own(self) -> socket.socket:
        assert self._socket is not None, "siblings are reached within the context"
        return self._socket
