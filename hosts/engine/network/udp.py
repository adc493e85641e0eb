"""A UDP socket of a guest: on the machine where a grant allows it, and inside its workload.

Who is sent to needs a grant to connect, and only such peers are heard; a grant to listen lets
everybody be heard. Addresses of a loopback are those of the workload unless a grant names them.
"""

from __future__ import annotations

import socket
from typing import Literal, TypeAlias

from hosts.engine.network.errors import Code, SocketError, code_of
from hosts.engine.network.grants import is_unicast
from hosts.engine.network.loopback import Mailbox
from hosts.engine.network.machine import (
    SocketAddress,
    bind,
    local_of,
    new_socket,
    receive_from,
    send_to,
)
from hosts.engine.network.options import Option, TcpOptions
from hosts.engine.network.pipes import Place
from hosts.engine.network.tcp import Surroundings

DATAGRAM_BYTES_MAX = 65507
"""Bytes of one datagram: what UDP over IPv4 can carry."""

SEND_MAX = 16
"""Datagrams that a stream offers to take at once."""

_UNWANTED_MAX = 64
"""Datagrams of peers that are not granted that are thrown away in one look at a socket."""

State: TypeAlias = Literal["unbound", "bind-started", "bound", "closed"]
Datagram: TypeAlias = tuple[bytes, SocketAddress]


class UdpSocket:
    """One socket, of one version of IP."""

    def __init__(self, version: int, around: Surroundings) -> None:
        self.version = version
        self._around = around
        self._state: State = "unbound"
        self._failure: Code | None = None  # of binding
        self._options = TcpOptions()
        self._mailbox: Mailbox | None = None  # inside the workload
        self._kernel: socket.socket | None = None  # on the machine
        self._is_open_to_all = False  # whoever sends to the machine's port is heard
        self._local: SocketAddress | None = None
        self._remote: SocketAddress | None = None
        self._ahead: Datagram | None = None  # received to see whether there is one
        self._is_full = False  # the system takes no more for the moment

    # --- binding -------------------------------------------------------------------------------

    def start_bind(self, wanted: SocketAddress) -> None:
        """Begin to take a local address."""
        if self._state == "bind-started":
            raise SocketError("concurrency-conflict")
        if self._state != "unbound":
            raise SocketError("invalid-state")
        self._require_address(wanted)
        access, address, port = self._around.access, wanted.address, wanted.port
        is_inside = address.is_unspecified or address.is_loopback
        granted = access.listening_address(address, port)
        if not is_inside:
            granted = access.require_listen(address, port)
        try:
            if granted is not None:
                self._kernel = new_socket(self.version, is_udp=True)
                bind(self._kernel, SocketAddress(granted, port, wanted.scope))
                port = local_of(self._kernel).port
                self._is_open_to_all = True
            if is_inside:
                waken = self._around.waken
                self._mailbox = self._around.loopback.open_mailbox(address, port, waken)
                port = self._mailbox.place.port
        except (SocketError, OSError) as error:
            self._drop_kernel()
            self._failure = error.code if isinstance(error, SocketError) else code_of(error)
        self._local = SocketAddress(address, port)
        self._state = "bind-started"

    def finish_bind(self) -> None:
        """End binding."""
        if self._state != "bind-started":
            raise SocketError("not-in-progress")
        failure, self._failure = self._failure, None
        self._state = "bound" if failure is None else "unbound"
        if failure is not None:
            raise SocketError(failure)

    def connect(self, remote: SocketAddress | None) -> None:
        """Talk to one peer from now on, and hear no other; None: to all that are granted."""
        self._require_bound()
        if remote is not None:
            self._require_peer(remote)
            if not self._is_inside(remote):
                self._around.access.require_connect(remote.address, remote.port)
        self._remote = remote

    # --- datagrams -----------------------------------------------------------------------------

    def receive(self) -> Datagram | None:
        """Return a datagram and who sent it, None when none is there."""
        self._require_bound()
        self._look()
        found, self._ahead = self._ahead, None
        return found

    def offered(self) -> int:
        """Return how many datagrams `send` takes now."""
        self._require_bound()
        return 0 if self._is_full else SEND_MAX

    def send(self, data: bytes, to: SocketAddress | None) -> bool:
        """Send a datagram; False when the system takes no more now, and nothing was sent.

        Raises:
            SocketError: `invalid-argument`: to nobody, or not to whom the socket talks to;
                `access-denied`: to somebody who is not granted; `datagram-too-large`.
        """
        self._require_bound()
        peer = to or self._remote
        if peer is None or (self._remote is not None and to not in (None, self._remote)):
            raise SocketError("invalid-argument")
        self._require_peer(peer)
        if len(data) > DATAGRAM_BYTES_MAX:
            raise SocketError("datagram-too-large")
        if self._is_inside(peer):
            self._post(data, peer)
            return True
        self._around.access.require_connect(peer.address, peer.port)
        kernel = self._kernel = self._kernel or new_socket(self.version, is_udp=True)
        self._options.apply(kernel)
        if not send_to(kernel, data, peer):
            self._is_full = True
            self._around.loop.add_writer(kernel, self._has_room)
        return not self._is_full

    # --- facts and options ---------------------------------------------------------------------

    @property
    def local(self) -> SocketAddress:
        """Return the socket's own address."""
        self._require_bound()
        assert self._local is not None, "a bound socket has an address"
        return self._local

    @property
    def remote(self) -> SocketAddress:
        """Return the only peer."""
        if self._remote is None:
            raise SocketError("invalid-state")
        return self._remote

    def option(self, option: Option) -> int:
        """Return an option."""
        return self._options.get(option)

    def set_option(self, option: Option, value: int) -> None:
        """Change an option."""
        self._options.set(option, value)
        if self._kernel is not None:
            self._options.apply(self._kernel)

    # --- being waited for ----------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Tell whether what was started can finish: always."""
        return True

    @property
    def is_readable(self) -> bool:
        """Tell whether `receive` has something, or fails."""
        try:
            self._look()
        except OSError:
            return True
        return self._ahead is not None

    @property
    def is_writable(self) -> bool:
        """Tell whether something is offered."""
        return not self._is_full

    def arm(self) -> None:
        """Have `waken` called when a datagram comes."""
        if self._kernel is not None:
            self._around.loop.add_reader(self._kernel, self._around.waken)

    def disarm(self) -> None:
        """Take back `arm`. Idempotent."""
        if self._kernel is not None:
            self._around.loop.remove_reader(self._kernel)

    def close(self) -> None:
        """Close all that belongs to the socket. Idempotent."""
        self._state = "closed"
        if self._mailbox is not None:
            self._around.loopback.close_mailbox(self._mailbox)
        self._drop_kernel()

    # --- helpers -------------------------------------------------------------------------------

    def _require_bound(self) -> None:
        if self._state != "bound":
            raise SocketError("invalid-state")

    def _require_address(self, wanted: SocketAddress) -> None:
        if wanted.address.version != self.version or not is_unicast(wanted.address):
            raise SocketError("invalid-argument")

    def _require_peer(self, peer: SocketAddress) -> None:
        self._require_address(peer)
        if peer.address.is_unspecified or peer.port == 0:
            raise SocketError("invalid-argument")

    def _is_inside(self, peer: SocketAddress) -> bool:
        is_of_machine = self._around.access.is_of_machine
        return peer.address.is_loopback and not is_of_machine(peer.address, peer.port)

    def _post(self, data: bytes, peer: SocketAddress) -> None:
        own = self._mailbox
        assert self._local is not None, "a bound socket has an address"
        # Who is bound to all addresses sends from the one that it sends to.
        address = peer.address if own is None or own.place.address.is_unspecified else None
        sender = Place(address or self._local.address, self._local.port)
        self._around.loopback.post(data, sender, peer.address, peer.port)

    def _look(self) -> None:
        """Take a datagram that waits, if there is none taken yet."""
        while self._ahead is None and self._mailbox is not None:
            found = self._mailbox.take()
            if found is None:
                break
            sender = SocketAddress(found[1].address, found[1].port)
            if self._remote in (None, sender):
                self._ahead = found[0], sender
        for _ in range(_UNWANTED_MAX):
            if self._ahead is not None or self._kernel is None:
                return
            heard = receive_from(self._kernel)
            if heard is None:
                return
            if self._is_heard(heard[1]):
                self._ahead = heard

    def _is_heard(self, sender: SocketAddress) -> bool:
        if self._remote is not None:
            return sender == self._remote
        is_known = self._around.access.may_connect(sender.address, sender.port)
        return self._is_open_to_all or is_known

    def _has_room(self) -> None:
        """Note that the system takes datagrams again; called by the loop."""
        self._is_full = False
        if self._kernel is not None:
            self._around.loop.remove_writer(self._kernel)
        self._around.waken()

    def _drop_kernel(self) -> None:
        if self._kernel is not None:
            if self._is_full and not self._around.loop.is_closed():
                self._around.loop.remove_writer(self._kernel)
            self._kernel.close()
        self._kernel = None
