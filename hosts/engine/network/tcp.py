"""A TCP socket of a guest: of the machine where a grant allows it, else inside its workload.

Addresses of a loopback are those of the workload (`loopback`), unless a grant names
them; a listener on all addresses is there too, and on the machine only where that is granted. What
is allowed in which state is decided in `hosts.engine.network.tcpstate`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from hosts.engine.network.access import Access
from hosts.engine.network.errors import Code, SocketError, code_of
from hosts.engine.network.grants import is_unicast
from hosts.engine.network.loopback import BACKLOG_MAX, Loopback, LoopbackListener
from hosts.engine.network.machine import SocketAddress, accept, bind, connect, local_of, new_socket
from hosts.engine.network.options import Option, TcpOptions
from hosts.engine.network.pipes import Place
from hosts.engine.network.tcpstate import (
    Operation,
    State,
    finished,
    require,
    require_started,
    started,
)
from hosts.engine.network.tcpstream import KernelStream, Stream
from lattice.model.network import Address

CONNECT_S_MAX = 60.0
"""Time after which connecting has failed: systems try for minutes, and guests seldom know that."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sockets of one instance share."""

    access: Access
    loopback: Loopback
    waken: Callable[[], None]  # called when a socket may have become ready
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True)
class Accepted:
    """A connection that a listener took."""

    stream: Stream
    local: SocketAddress
    remote: SocketAddress
    kernel: socket.socket | None


class TcpSocket:
    """One socket, of one version of IP."""

    def __init__(self, version: int, around: Surroundings) -> None:
        self.version = version
        self._around = around
        self._state: State = "unbound"
        self._options = TcpOptions()
        self._place: Place | None = None  # inside the workload
        self._is_port_chosen = False
        self._kernel: socket.socket | None = None  # on the machine; a stream has it as well
        self._listener: LoopbackListener | None = None
        self._taken: Accepted | None = None  # accepted to see whether there is one
        self._stream: Stream | None = None
        self._local: SocketAddress | None = None
        self._remote: SocketAddress | None = None
        self._failure: Code | None = None  # of what has been started
        self._timer: asyncio.TimerHandle | None = None  # runs while the system connects

    @classmethod
    def of(cls, accepted: Accepted, listener: TcpSocket) -> TcpSocket:
        """Return the socket of a connection that `listener` took."""
        made = cls(listener.version, listener._around)
        made._options = listener._options.copy()
        made._kernel = accepted.kernel
        made._connected(accepted.stream, accepted.local, accepted.remote)
        return made

    # --- binding and listening -----------------------------------------------------------------

    def start_bind(self, wanted: SocketAddress) -> None:
        """Begin to take a local address."""
        self._require_address(wanted)
        state = started(self._state, "bind")
        access, address, port = self._around.access, wanted.address, wanted.port
        is_inside = address.is_unspecified or address.is_loopback
        granted = access.listening_address(address, port)
        if not is_inside:
            granted = access.require_listen(address, port)
        try:
            if granted is not None:
                port = self._bind_kernel(granted, wanted)
            if is_inside:
                self._place = self._around.loopback.bind(address, port)
        except (SocketError, OSError) as error:
            self._drop_kernel()
            self._fail(error)
        self._is_port_chosen = wanted.port != 0 and self._failure is None
        self._local = SocketAddress(address, self._place.port if self._place else port)
        self._state = state

    def finish_bind(self) -> None:
        """End binding."""
        require_started(self._state, "bind")
        self._finish("bind")

    def start_listen(self) -> None:
        """Begin to take connections."""
        self._state = started(self._state, "listen")
        backlog = min(self._options.get("listen-backlog-size"), BACKLOG_MAX)
        try:
            if self._kernel is not None:
                self._options.apply(self._kernel)
                self._kernel.listen(backlog)
        except OSError as error:
            self._fail(error)
        place = self._place
        if place is not None:
            around = self._around
            self._listener = around.loopback.listen(place, backlog, around.waken)
            if self._kernel is None and place.address.is_unspecified:
                around.access.note_listening(place.address, place.port)

    def finish_listen(self) -> None:
        """End the beginning of listening."""
        require_started(self._state, "listen")
        self._finish("listen")

    def accept(self) -> Accepted:
        """Return a connection that waited.

        Raises:
            SocketError: `would-block`: none waits; `invalid-state`: the socket does not listen.
        """
        require(self._state, "listening")
        if not self._has_taken():
            raise SocketError("would-block")
        taken, self._taken = self._taken, None
        assert taken is not None, "it has been taken"
        return taken

    # --- connecting ----------------------------------------------------------------------------

    def start_connect(self, wanted: SocketAddress) -> None:
        """Begin to connect.

        Raises:
            SocketError: `access-denied`: it is not granted; `invalid-argument`, `invalid-state`.
        """
        self._require_address(wanted)
        address, port = wanted.address, wanted.port
        if address.is_unspecified or port == 0:
            raise SocketError("invalid-argument")
        state = started(self._state, "connect")
        around = self._around
        if address.is_loopback and not around.access.is_of_machine(address, port):
            self._drop_kernel()
            try:
                stream = around.loopback.connect(address, port, self._place)
                self._stream = stream
                self._local = SocketAddress(stream.local.address, stream.local.port)
            except SocketError as error:
                self._fail(error)
        else:
            around.access.require_connect(address, port)
            if self._kernel is None and self._is_port_chosen:
                raise SocketError("address-not-bindable")  # the port is one inside the workload
            self._connect_kernel(wanted)
        self._remote = wanted
        self._state = state

    def finish_connect(self) -> None:
        """End connecting: the socket has a stream from now on."""
        require_started(self._state, "connect")
        if self._timer is not None:
            raise SocketError("would-block")
        self._finish("connect")
        stream = self._stream
        if stream is None:
            assert self._kernel is not None, "it was connected"
            self._local = local_of(self._kernel)
            stream = KernelStream(self._kernel)
        assert self._local is not None, "a connected socket has both addresses"
        assert self._remote is not None, "a connected socket has both addresses"
        self._connected(stream, self._local, self._remote)

    # --- what a connected socket has -----------------------------------------------------------

    @property
    def stream(self) -> Stream:
        """Return the connection.

        Raises:
            SocketError: `invalid-state`: there is none.
        """
        if self._state != "connected" or self._stream is None:
            raise SocketError("invalid-state")
        return self._stream

    def shut(self, *, receive: bool, send: bool) -> None:
        """End one direction or both."""
        self.stream.shut(receive=receive, send=send)

    # --- facts and options ---------------------------------------------------------------------

    @property
    def local(self) -> SocketAddress:
        """Return the socket's own address.

        Raises:
            SocketError: `invalid-state`: it has none yet.
        """
        require(self._state, "bound", "listen-started", "listening", "connected")
        assert self._local is not None, "a bound socket has an address"
        return self._local

    @property
    def remote(self) -> SocketAddress:
        """Return the peer's address.

        Raises:
            SocketError: `invalid-state`: it has no peer.
        """
        require(self._state, "connected")
        assert self._remote is not None, "a connected socket has a peer"
        return self._remote

    @property
    def is_listening(self) -> bool:
        """Tell whether connections can be accepted."""
        return self._state == "listening"

    def option(self, option: Option) -> int:
        """Return an option."""
        return self._options.get(option)

    def set_option(self, option: Option, value: int) -> None:
        """Change an option."""
        if option == "listen-backlog-size" and self._state in ("connect-started", "connected"):
            raise SocketError("invalid-state")
        self._options.set(option, value)
        if self._kernel is not None and self._kernel.fileno() >= 0:
            self._options.apply(self._kernel)

    # --- being waited for ----------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Tell whether what was started can finish, or a connection can be accepted."""
        if self._state != "listening":
            return self._timer is None
        try:
            return self._has_taken()
        except OSError:  # accepting tells it
            return True

    def arm(self) -> None:
        """Have `waken` called when a connection waits."""
        if self._state == "listening" and self._kernel is not None:
            self._around.loop.add_reader(self._kernel, self._around.waken)

    def disarm(self) -> None:
        """Take back `arm`. Idempotent."""
        if self._state == "listening" and self._kernel is not None:
            self._around.loop.remove_reader(self._kernel)

    def close(self) -> Stream | None:
        """Close all that belongs to the socket; return a stream that has bytes still to leave."""
        self._state = "closed"
        self._stop_timer()
        if self._place is not None:
            self._around.loopback.release(self._place)
        if self._taken is not None:
            self._taken.stream.close()
        stream, self._stream = self._stream, None
        if stream is None:
            self._drop_kernel()
            return None
        return None if stream.close() else stream

    # --- helpers -------------------------------------------------------------------------------

    def _require_address(self, wanted: SocketAddress) -> None:
        if wanted.address.version != self.version or not is_unicast(wanted.address):
            raise SocketError("invalid-argument")

    def _fail(self, error: SocketError | OSError) -> None:
        self._failure = error.code if isinstance(error, SocketError) else code_of(error)

    def _finish(self, operation: Operation) -> None:
        failure, self._failure = self._failure, None
        self._state = finished(operation, is_done=failure is None)
        if failure is not None:
            if self._state == "closed":
                self._drop_kernel()
            raise SocketError(failure)

    def _connected(self, stream: Stream, local: SocketAddress, remote: SocketAddress) -> None:
        self._stream, self._local, self._remote = stream, local, remote
        self._state = "connected"
        stream.attach(self._around.waken)

    def _bind_kernel(self, granted: Address, wanted: SocketAddress) -> int:
        self._kernel = new_socket(self.version)
        bind(self._kernel, SocketAddress(granted, wanted.port, wanted.scope))
        return local_of(self._kernel).port

    def _connect_kernel(self, wanted: SocketAddress) -> None:
        try:
            kernel = self._kernel = self._kernel or new_socket(self.version)
            self._options.apply(kernel)
            if connect(kernel, wanted):
                return
        except OSError as error:
            self._fail(error)
            return
        loop = self._around.loop
        self._timer = loop.call_later(CONNECT_S_MAX, self._connect_ended, "timeout")
        loop.add_writer(kernel, self._connect_ended, None)

    def _connect_ended(self, failure: Code | None) -> None:
        """Note how connecting ended; called by the loop."""
        kernel = self._kernel
        assert kernel is not None, "it was connecting"
        number = kernel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._failure = failure or (code_of(OSError(number, "")) if number else None)
        self._stop_timer()
        self._around.waken()

    def _stop_timer(self) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        if self._kernel is not None and not self._around.loop.is_closed():
            self._around.loop.remove_writer(self._kernel)

    def _drop_kernel(self) -> None:
        if self._kernel is not None:
            self._kernel.close()
        self._kernel = None

    def _has_taken(self) -> bool:
        """Take a connection that waits, if there is none taken yet; tell whether there is one."""
        listener = self._listener
        if self._taken is None and listener is not None and listener.waiting:
            stream = listener.waiting.popleft()
            local = SocketAddress(stream.local.address, stream.local.port)
            remote = SocketAddress(stream.remote.address, stream.remote.port)
            self._taken = Accepted(stream, local, remote, None)
        if self._taken is None and self._kernel is not None:
            found = accept(self._kernel)
            if found is not None:
                kernel, remote = found
                self._options.apply(kernel)
                self._taken = Accepted(KernelStream(kernel), local_of(kernel), remote, kernel)
        return self._taken is not None
