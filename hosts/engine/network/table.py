"""The sockets and lookups of one instance: by number, bounded, waited for together, closed with it.

Nothing here waits but `wait`, during which the guest is suspended: sockets of the machine are
watched by the event loop, those inside the workload wake whoever is attached.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import anyio.lowlevel

from hosts.engine.exchanges import serving
from hosts.engine.fetches import Fetch
from hosts.engine.network.access import Access
from hosts.engine.network.errors import SocketError
from hosts.engine.network.lookup import Lookup
from hosts.engine.network.loopback import Loopback
from hosts.engine.network.machine import SocketAddress
from hosts.engine.network.options import Option
from hosts.engine.network.tcp import Surroundings, TcpSocket
from hosts.engine.network.tcpstream import Stream
from hosts.engine.network.udp import UdpSocket
from lattice.errors import GuestTrapError
from lattice.model.network import Address, Network

SOCKETS_MAX = 128
"""Sockets of one instance at a time: each may be an open file of the process, and its buffers take
up to 128 KiB here and what the system gives it."""

LOOKUPS_MAX = 16
"""Lookups of one instance at a time, closed ones whose resolver has not answered among them."""

SLEEP_S_MAX = 3600.0
"""Longest single wait; the adapter waits again until its instant has come."""

INTERESTS = 4
"""What of a socket somebody waits for: the number of kinds, of which each has its place below."""

STATE, READ, WRITE = range(3)

Shutdown: TypeAlias = Literal["receive", "send", "both"]


class Sockets:
    """What one guest has open on the network."""

    def __init__(
        self, network: Network, loopback: Loopback, log: Callable[[str, str], None]
    ) -> None:
        self._access = Access(network, log)
        self._loopback = loopback
        self._numbers = itertools.count(1)
        self._sockets: dict[int, TcpSocket | UdpSocket] = {}
        self._lookups: dict[int, Lookup] = {}
        self._exchanges: dict[int, Fetch] = {}  # requests of the guest over HTTP
        self._left: list[Lookup] = []  # closed by the guest while the resolver was asked
        self._leaving: list[Stream] = []  # closed by the guest, with bytes still to leave
        self._waiter: asyncio.Future[None] | None = None
        self._around: Surroundings | None = None

    # --- sockets -------------------------------------------------------------------------------

    def create(self, version: int, *, is_udp: bool = False) -> int:
        """Return the number of a new socket of an IP version.

        Raises:
            SocketError: `new-socket-limit`: the guest has `SOCKETS_MAX` already.
        """
        self._require_room()
        around = self._surroundings()
        return self._add(UdpSocket(version, around) if is_udp else TcpSocket(version, around))

    def any(self, number: int) -> TcpSocket | UdpSocket:
        """Return a socket.

        Raises:
            SocketError: `invalid-state`: none has this number.
        """
        found = self._sockets.get(number)
        if found is None:
            raise SocketError("invalid-state")
        return found

    def tcp(self, number: int) -> TcpSocket:
        """Return a socket for TCP; see `any`."""
        found = self.any(number)
        if not isinstance(found, TcpSocket):
            raise SocketError("invalid-state")
        return found

    def udp(self, number: int) -> UdpSocket:
        """Return a socket for UDP; see `any`."""
        found = self.any(number)
        if not isinstance(found, UdpSocket):
            raise SocketError("invalid-state")
        return found

    def accept(self, number: int) -> int:
        """Return the number of a socket for a connection that waited.

        Raises:
            SocketError: `would-block`: none waits; `new-socket-limit`: it waits on.
        """
        listener = self.tcp(number)
        self._require_room()
        return self._add(TcpSocket.of(listener.accept(), listener))

    def send(self, number: int, data: bytes) -> None:
        """Give a stream bytes.

        Raises:
            SocketError: the connection failed or was shut.
            GuestTrapError: they are more than the stream offered to take.
        """
        stream = self.tcp(number).stream
        offered = stream.offered()
        if len(data) > offered:
            raise GuestTrapError(
                f"a guest wrote {len(data)} bytes to a socket that offered to take {offered}"
            )
        stream.send(data)

    def shut(self, number: int, how: Shutdown) -> None:
        """End one direction of a connection, or both."""
        self.tcp(number).shut(receive=how != "send", send=how != "receive")

    def close(self, number: int) -> None:
        """Close a socket or a lookup; a number that is not open is ignored."""
        found = self._sockets.pop(number, None)
        if found is not None:
            leaving = found.close()
            if leaving is not None:
                self._leaving.append(leaving)
        lookup = self._lookups.pop(number, None)
        if lookup is not None:
            lookup.close()
            if lookup.is_asking:
                self._left.append(lookup)

    def close_all(self) -> None:
        """Close all, also what has bytes still to leave. Idempotent."""
        for number in (*self._sockets, *self._lookups):
            self.close(number)
        for stream in self._leaving:
            stream.close()
        self._leaving.clear()
        for number in tuple(self._exchanges):
            self.forget_exchange(number)

    # --- requests over HTTP --------------------------------------------------------------------

    def add_exchange(self, exchange: Fetch) -> int:
        """Return the number of a request that the guest makes; it is waited for like the others."""
        number = next(self._numbers)
        self._exchanges[number] = exchange
        return number

    def exchange(self, number: int) -> Fetch | None:
        """Return a request that the guest makes, None when none has this number."""
        return self._exchanges.get(number)

    def forget_exchange(self, number: int) -> None:
        """Give a request up; a number that is none is ignored."""
        exchange = self._exchanges.pop(number, None)
        if exchange is not None:
            exchange.close()

    # --- lookups -------------------------------------------------------------------------------

    def look_up(self, name: str) -> int:
        """Begin to look a name up; return the number of the lookup.

        Raises:
            SocketError: see `Lookup`; `new-socket-limit`: the guest has `LOOKUPS_MAX` already.
        """
        self._left = [each for each in self._left if each.is_asking]
        if len(self._lookups) + len(self._left) >= LOOKUPS_MAX:
            raise SocketError("new-socket-limit")
        lookup = Lookup(name, self._access, self._wake)
        number = next(self._numbers)
        self._lookups[number] = lookup
        return number

    def next_address(self, number: int) -> Address | None:
        """Return the next answer of a lookup, None when there is no more."""
        found = self._lookups.get(number)
        if found is None:
            raise SocketError("invalid-state")
        return found.next_address()

    # --- waiting -------------------------------------------------------------------------------

    def is_ready(self, interest: int) -> bool:
        """Tell whether what somebody waits for is there: the number of a socket or lookup, times
        `INTERESTS`, plus what of it. Number 0 is the request that the guest answers.

        What is not open any more is ready: trying tells why.
        """
        number, kind = divmod(interest, INTERESTS)
        if number == 0:
            served = serving.get()
            return served is None or served.is_ready(kind, self._wake)
        exchange = self._exchanges.get(number)
        if exchange is not None:
            return exchange.is_ready(kind, self._wake)
        lookup = self._lookups.get(number)
        if lookup is not None:
            return lookup.is_ready
        found = self._sockets.get(number)
        if found is None:
            return True
        if kind == STATE:
            return found.is_ready
        try:
            stream = found if isinstance(found, UdpSocket) else found.stream
        except SocketError:
            return True
        return stream.is_readable if kind == READ else stream.is_writable

    async def wait(self, interests: Sequence[int], until_ns: int) -> None:
        """Return when one of them is ready or the monotonic clock reaches an instant; or earlier.

        Cancelling leaves nothing behind.
        """
        interests = tuple(dict.fromkeys(interests))  # asking is a call of the system
        if any(map(self.is_ready, interests)):
            await anyio.lowlevel.checkpoint()  # who polls all the time lets others run, too
            return
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        left_s = min(max(0, until_ns - time.monotonic_ns()) / 1e9, SLEEP_S_MAX)
        timer = loop.call_later(left_s, self._wake)
        armed = self._arm(interests)
        try:
            await waiter
        finally:
            self._waiter = None
            timer.cancel()
            for each in armed:
                each.disarm()

    def _arm(self, interests: Sequence[int]) -> list[TcpSocket | UdpSocket | Stream]:
        armed: list[TcpSocket | UdpSocket | Stream] = []
        for interest in interests:
            number, kind = divmod(interest, INTERESTS)
            found = self._sockets.get(number)
            if found is None or kind == WRITE:
                continue  # a lookup wakes by itself, and so does what has bytes to leave
            is_itself = kind == STATE or isinstance(found, UdpSocket)
            armed.append(found if is_itself else self.tcp(number).stream)
            armed[-1].arm()
        return armed

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- helpers -------------------------------------------------------------------------------

    def address_of(self, number: int, *, is_remote: bool) -> SocketAddress:
        """Return the own address of a socket, or its peer's."""
        found = self.any(number)
        return found.remote if is_remote else found.local

    def option(self, number: int, option: Option) -> int:
        """Return an option of a socket."""
        return self.any(number).option(option)

    def _surroundings(self) -> Surroundings:
        if self._around is None:
            loop = asyncio.get_running_loop()
            self._around = Surroundings(self._access, self._loopback, self._wake, loop)
        return self._around

    def _require_room(self) -> None:
        self._leaving = [each for each in self._leaving if not each.is_writable]
        if len(self._sockets) + len(self._leaving) >= SOCKETS_MAX:
            raise SocketError("new-socket-limit")

    def _add(self, made: TcpSocket | UdpSocket) -> int:
        number = next(self._numbers)
        self._sockets[number] = made
        return number
