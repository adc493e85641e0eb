"""The few things that guests' sockets need of the machine's: made, bound, named, accepted."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import weakref
from dataclasses import dataclass

from lattice.model.network import Address

try:
    import resource

    OPEN_FILES_MAX = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
except ImportError:  # Windows
    OPEN_FILES_MAX = 512

_ACCEPT_TRIES = 8
"""Connections that may have gone before they were accepted, in one call."""

SOCKETS_OF_PROCESS_MAX = 4096 if OPEN_FILES_MAX < 0 else min(4096, OPEN_FILES_MAX // 2)
"""Sockets of the machine that all guests of a process have at a time: half of its open files."""

DATAGRAM_BYTES = 65536
"""Bytes that a datagram has room for: more than any has."""


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where a socket is, or is connected to."""

    address: Address
    port: int
    scope: int = 0  # of IPv6: the number of an interface


_open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
"""The sockets of all guests of this process, and some that were closed."""


def new_socket(version: int, *, is_udp: bool = False) -> socket.socket:
    """Return a socket for TCP or UDP over one version of IP; it never waits.

    Raises:
        OSError: the guests of this process have too many already, and the like.
    """
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    _require_room()
    made = socket.socket(family, socket.SOCK_DGRAM if is_udp else socket.SOCK_STREAM)
    _open.add(made)
    made.setblocking(False)
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def bind(target: socket.socket, wanted: SocketAddress) -> None:
    """Bind a socket; an address whose last connections are still fading away may be used again."""
    if target.type == socket.SOCK_STREAM:
        target.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    target.bind(_text_of(wanted))


def connect(target: socket.socket, wanted: SocketAddress) -> bool:
    """Begin to connect; return whether that is done already.

    Raises:
        OSError: it failed at once.
    """
    try:
        target.connect(_text_of(wanted))
    except (BlockingIOError, InterruptedError):
        return False
    return True


def accept(listening: socket.socket) -> tuple[socket.socket, SocketAddress] | None:
    """Return a connection that waits, and its peer; None when none does.

    Raises:
        OSError: the process can have no more open files, and the like.
    """
    _require_room()
    for _ in range(_ACCEPT_TRIES):
        with contextlib.suppress(ConnectionError):  # it has gone already: the next one
            try:
                taken, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return None
            _open.add(taken)
            taken.setblocking(False)
            return taken, _address_of(peer)
    return None


def send_to(target: socket.socket, data: bytes, peer: SocketAddress) -> bool:
    """Send a datagram; False when the system takes none now.

    Raises:
        OSError: it cannot be sent.
    """
    try:
        target.sendto(data, _text_of(peer))
    except (BlockingIOError, InterruptedError):
        return False
    return True


def receive_from(target: socket.socket) -> tuple[bytes, SocketAddress] | None:
    """Return a datagram and who sent it, None when none is there.

    Raises:
        OSError: an earlier one did not arrive, and the like.
    """
    try:
        data, sender = target.recvfrom(DATAGRAM_BYTES)
    except (BlockingIOError, InterruptedError):
        return None
    return data, _address_of(sender)


def local_of(target: socket.socket) -> SocketAddress:
    """Return a socket's own address."""
    return _address_of(target.getsockname())


def _require_room() -> None:
    """Return if guests may have one more socket; the host itself needs open files, too."""
    if len(_open) >= SOCKETS_OF_PROCESS_MAX:
        for each in tuple(_open):
            if each.fileno() < 0:
                _open.discard(each)
    if len(_open) >= SOCKETS_OF_PROCESS_MAX:
        raise OSError(errno.EMFILE, "the guests of this host have too many sockets")


def _text_of(wanted: SocketAddress) -> tuple[str, int] | tuple[str, int, int, int]:
    if wanted.address.version == 4:
        return str(wanted.address), wanted.port
    return str(wanted.address), wanted.port, 0, wanted.scope


def _address_of(found: tuple[str, int] | tuple[str, int, int, int]) -> SocketAddress:
    address = ipaddress.ip_address(found[0].partition("%")[0])
    return SocketAddress(address, found[1], found[3] if len(found) == 4 else 0)
