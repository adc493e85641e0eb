"""What the workers of one machine share: a name, a directory, processors, memory, one TCP port.

Who starts workers divides and reserves; nothing here starts or listens.
"""

from __future__ import annotations

import errno
import fcntl
import resource
import socket
from pathlib import Path

from lattice.errors import ConflictError, InvalidError
from lattice.model.host import Capacity

DESCRIPTOR = 16_384
"""Where sockets that listen lie: above the connections of a server. The system has 8 bytes for each
descriptor below."""

BACKLOG = 1024
"""Connections that the system keeps for a server while its event loop is busy."""


def worker_name(name: str, number: int) -> str:
    """Return the name of a worker, for people."""
    return f"{name}-{number}"


def worker_directory(directory: Path, number: int) -> Path:
    """Return where a worker keeps its key and its files."""
    return directory / f"worker-{number}"


def shares(total: Capacity, count: int) -> tuple[Capacity, ...]:
    """Return what each of `count` workers may promise to replicas, together exactly the total.

    What does not divide goes to the first ones.

    Raises:
        InvalidError: there are more workers than thousandths of a core, or bytes.
    """
    if min(total.cpu_milli, total.memory_bytes) < count:
        raise InvalidError(
            f"{total.cpu_milli / 1000:g} cores and {total.memory_bytes} bytes cannot be divided "
            f"between {count} workers"
        )
    return tuple(
        Capacity(
            cpu_milli=_share(total.cpu_milli, count, number),
            memory_bytes=_share(total.memory_bytes, count, number),
            slots=total.slots,
        )
        for number in range(count)
    )


def _share(total: int, count: int, number: int) -> int:
    return total // count + (number < total % count)


class PortReservation:
    """A TCP port that the processes of this user, and nobody else, can listen on.

    It is bound and never listens, so no connection comes here. Whoever listens on it asks for it by
    `address` with `listening_socket`; the system then spreads connections over all who do. Port 0
    becomes a free one, the same for all. The reservation lasts until `close`: a worker that starts
    again finds its port, however many others look for a free one.
    """

    def __init__(self, host: str, port: int) -> None:
        """Reserve the port.

        Raises:
            ConflictError: somebody who does not share it has it.
            InvalidError: the host is no address of this machine, or the port needs a privilege.
        """
        self._socket = _bound(host, port)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def close(self) -> None:
        """Give the port up. Doing so twice is no error."""
        self._socket.close()


def shared_socket(address: tuple[str, int]) -> socket.socket:
    """Return a socket of a reserved port that does not listen yet; others get its connections.

    Raises:
        ConflictError, InvalidError: as `PortReservation`.
    """
    return _highest(_bound(*address))


def listening_socket(address: tuple[str, int], *, backlog: int = BACKLOG) -> socket.socket:
    """Return a socket that listens on a reserved port; `Raises:` as `PortReservation`."""
    return listening_on(shared_socket(address), backlog=backlog)


def _highest(bound: socket.socket) -> socket.socket:
    """Return the same socket under a descriptor above those of its connections.

    When a process is killed, Linux closes what has the highest descriptor first. Were connections
    closed before, their clients could connect anew to the process that is just going.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTOR if limit == resource.RLIM_INFINITY else min(DESCRIPTOR, limit - 1)
    try:
        descriptor = fcntl.fcntl(bound, fcntl.F_DUPFD_CLOEXEC, wanted)
    except OSError:
        return bound  # it is taken; a client may have to connect twice
    bound.close()
    higher = socket.socket(fileno=descriptor)
    higher.setblocking(False)
    return higher


def listening_on(bound: socket.socket, *, backlog: int = BACKLOG) -> socket.socket:
    """Return the socket when it listens; it is closed when it cannot.

    Raises:
        ConflictError: somebody who listens took the port meanwhile.
    """
    host, port = bound.getsockname()[:2]
    try:
        bound.listen(backlog)
    except OSError as exc:
        bound.close()
        raise ConflictError(f"cannot listen on {host}:{port}: {exc.strerror}") from None
    bound.setblocking(False)
    return bound


def own_socket(host: str, port: int) -> socket.socket:
    """Return a socket that has a port alone and does not listen yet; port 0 becomes a free one.

    Raises:
        ConflictError: somebody has the port, be it a process of this user that shares it.
        InvalidError: the host is no address of this machine, or the port needs a privilege.
    """
    return _bound(host, port, is_shared=False)


def require_free(host: str, port: int) -> None:
    """Return when nobody listens on a port, not even a process of this user that shares it.

    Raises:
        ConflictError: somebody does.
        InvalidError: as `own_socket`.
    """
    listening_on(own_socket(host, port), backlog=1).close()


def _bound(host: str, port: int, *, is_shared: bool = True) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except (OSError, OverflowError) as exc:
        bound.close()
        raise _refusal(host, port, exc) from None
    return bound


def _refusal(host: str, port: int, error: OSError | OverflowError) -> ConflictError | InvalidError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return ConflictError(f"port {port} of {host} is taken by another program: choose another")
    reason = error.strerror if isinstance(error, OSError) else error
    return InvalidError(f"{host}:{port} cannot be used: {reason}")
