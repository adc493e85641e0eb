"""The network inside one replica: what its guests reach as 127.0.0.0/8 and ::1, in memory.

Nothing of it is a socket of the machine, and no other replica can see it. All its users run on one
event loop, so nothing here waits or locks: who is to be woken gives a function for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hosts.engine.network.errors import SocketError
from hosts.engine.network.pipes import LoopbackStream, Place, Waken, connection
from lattice.model.network import Address

BACKLOG_MAX = 128
"""Connections that wait to be accepted at one listener, whatever it asks for: one more is refused.
As many as one instance has sockets."""

WAITING_MAX = 256
"""Connections that wait to be accepted at all listeners of one replica. Whoever opened one may have
closed its end, so the bytes in it, 64 KiB at most, count nowhere else."""

MAILBOX_MAX = 64
"""Datagrams that wait to be received at one place; one more is lost."""

MAILBOX_BYTES_MAX = 256 * 1024
"""Bytes of datagrams that wait at one place, for the same end."""

PORTS_FIRST, PORTS_LAST = 49152, 65535
"""Ports that are given to whoever asks for any (RFC 6335)."""


@dataclass(slots=True)
class LoopbackListener:
    """A place where connections are taken."""

    place: Place
    backlog: int
    waken: Waken
    waiting: deque[LoopbackStream] = field(default_factory=deque[LoopbackStream])


@dataclass(slots=True)
class Mailbox:
    """A place where datagrams arrive."""

    place: Place
    waken: Waken
    waiting: deque[tuple[bytes, Place]] = field(default_factory=deque[tuple[bytes, Place]])
    size: int = 0  # bytes that wait

    def put(self, data: bytes, sender: Place) -> None:
        """Append a datagram; when too much waits already it is lost, as on any network."""
        if self.size + len(data) <= MAILBOX_BYTES_MAX and len(self.waiting) < MAILBOX_MAX:
            self.waiting.append((data, sender))
            self.size += len(data)
            self.waken()

    def take(self) -> tuple[bytes, Place] | None:
        """Return the first datagram and who sent it, None when there is none."""
        if not self.waiting:
            return None
        data, sender = self.waiting.popleft()
        self.size -= len(data)
        return data, sender


class Places:
    """Who has which address and port, for one protocol."""

    def __init__(self) -> None:
        self._taken: dict[tuple[int, int], dict[Address, Place]] = {}  # by IP version and port
        self._next_port = PORTS_FIRST

    @property
    def is_empty(self) -> bool:
        """Tell whether nobody has a place."""
        return not self._taken

    def bind(self, address: Address, port: int) -> Place:
        """Return a place that is the caller's until `release`; port 0 means any.

        Raises:
            SocketError: `address-in-use`: somebody has it, or no port is left.
        """
        if port == 0:
            for _ in range(PORTS_LAST - PORTS_FIRST + 1):
                port = self.any_port()
                if self._is_free(address, port):
                    break
        if not self._is_free(address, port):
            raise SocketError("address-in-use")
        place = Place(address, port)
        self._taken.setdefault((address.version, port), {})[address] = place
        return place

    def release(self, place: Place) -> bool:
        """Give a place back; False when it was given back already."""
        key = (place.address.version, place.port)
        places = self._taken.get(key, {})
        if places.get(place.address) is not place:
            return False
        del places[place.address]
        if not places:
            del self._taken[key]
        return True

    def find(self, address: Address, port: int) -> Place | None:
        """Return the place that stands for an address: its own, or one for all addresses."""
        for place in self._taken.get((address.version, port), {}).values():
            if place.address == address or place.address.is_unspecified:
                return place
        return None

    def any_port(self) -> int:
        """Return the next port for whoever asks for any; it may be taken."""
        port = self._next_port
        self._next_port = port + 1 if port < PORTS_LAST else PORTS_FIRST
        return port

    def _is_free(self, address: Address, port: int) -> bool:
        taken = self._taken.get((address.version, port), {})
        return not any(
            each == address or each.is_unspecified or address.is_unspecified for each in taken
        )


class Loopback:
    """The places of one replica, who listens there, and what arrives there."""

    def __init__(self) -> None:
        self._places = Places()
        self._listeners: dict[Place, LoopbackListener] = {}
        self._mail_places = Places()
        self._mailboxes: dict[Place, Mailbox] = {}

    @property
    def is_empty(self) -> bool:
        """Tell whether nobody has a place here."""
        return self._places.is_empty and self._mail_places.is_empty

    def bind(self, address: Address, port: int) -> Place:
        """Return a place for connections that is the caller's until `release`; port 0 means any.

        Raises:
            SocketError: `address-in-use`: somebody has it, or no port is left.
        """
        return self._places.bind(address, port)

    def release(self, place: Place) -> None:
        """Give a place back, and end what listens there. Idempotent."""
        if not self._places.release(place):
            return
        listener = self._listeners.pop(place, None)
        if listener is not None:
            for stream in listener.waiting:
                stream.close()

    def listen(self, place: Place, backlog: int, waken: Waken) -> LoopbackListener:
        """Take connections at a place from now on; `waken` is called for each."""
        listener = LoopbackListener(place, min(backlog, BACKLOG_MAX), waken)
        self._listeners[place] = listener
        return listener

    def connect(self, address: Address, port: int, local: Place | None) -> LoopbackStream:
        """Return the near end of a connection to whoever listens at an address.

        Raises:
            SocketError: `connection-refused`: nobody does, or too many wait already.
        """
        place = self._places.find(address, port)
        listener = None if place is None else self._listeners.get(place)
        if listener is None or len(listener.waiting) >= listener.backlog or self._is_full:
            raise SocketError("connection-refused")
        here = Place(address, local.port if local is not None else self._places.any_port())
        near, far = connection(here, Place(address, port))
        listener.waiting.append(far)
        listener.waken()
        return near

    @property
    def _is_full(self) -> bool:
        """Tell whether `WAITING_MAX` connections wait."""
        return sum(len(each.waiting) for each in self._listeners.values()) >= WAITING_MAX

    def open_mailbox(self, address: Address, port: int, waken: Waken) -> Mailbox:
        """Return a place for datagrams that is the caller's until `close_mailbox`.

        Raises:
            SocketError: `address-in-use`: somebody has it, or no port is left.
        """
        mailbox = Mailbox(self._mail_places.bind(address, port), waken)
        self._mailboxes[mailbox.place] = mailbox
        return mailbox

    def close_mailbox(self, mailbox: Mailbox) -> None:
        """Give a place for datagrams back. Idempotent."""
        if self._mail_places.release(mailbox.place):
            del self._mailboxes[mailbox.place]

    def post(self, data: bytes, sender: Place, address: Address, port: int) -> None:
        """Send a datagram to whoever has an address; it is lost when nobody does."""
        place = self._mail_places.find(address, port)
        if place is not None:
            self._mailboxes[place].put(data, sender)
