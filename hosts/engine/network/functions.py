"""The functions through which the WASI adapter uses sockets: all answer at once, none waits.

`hosts/adapters/wasi/wit/host.wit` says what each does. What fails becomes the `err` of its result.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from hosts.engine.base import World
from hosts.engine.guestsystem import SystemWorld, bytes_of
from hosts.engine.hostfn import OwnFunction
from hosts.engine.network.errors import SocketError, code_of
from hosts.engine.network.machine import SocketAddress
from hosts.engine.network.table import Sockets
from lattice.errors import GuestTrapError
from lattice.model.network import Address

SOCKETS = "lattice:wasi-host/sockets@0.1.0"

PlainAddress: TypeAlias = tuple[int, int, int, int]
"""Bits of the address above the lowest 64, those 64, port, scope."""

_LOW_BITS = 64


def _receive(sockets: Sockets, number: int, length: int) -> str | None:
    data = sockets.tcp(number).stream.receive(length)
    return None if data is None else data.decode("latin-1")


def _bind(sockets: Sockets, number: int, address: PlainAddress) -> None:
    sockets.any(number).start_bind(_address(sockets, number, address))


def _connect(sockets: Sockets, number: int, address: PlainAddress) -> None:
    sockets.tcp(number).start_connect(_address(sockets, number, address))


def _associate(sockets: Sockets, number: int, remote: PlainAddress | None) -> None:
    peer = None if remote is None else _address(sockets, number, remote)
    sockets.udp(number).connect(peer)


def _receive_datagram(sockets: Sockets, number: int) -> tuple[str, PlainAddress] | None:
    found = sockets.udp(number).receive()
    return None if found is None else (found[0].decode("latin-1"), _plain(found[1]))


def _send_datagram(sockets: Sockets, number: int, frame: str, to: PlainAddress | None) -> bool:
    peer = None if to is None else _address(sockets, number, to)
    return sockets.udp(number).send(bytes_of(frame), peer)


def _address(sockets: Sockets, number: int, plain: PlainAddress) -> SocketAddress:
    high, low, port, scope = plain
    whole = high << _LOW_BITS | low
    if sockets.any(number).version == 6:
        return SocketAddress(ipaddress.IPv6Address(whole), port, scope)
    try:
        return SocketAddress(ipaddress.IPv4Address(whole), port)
    except ipaddress.AddressValueError:
        raise GuestTrapError("a guest gave an address of IPv4 that has more than 32 bits") from None


def _plain(found: SocketAddress) -> PlainAddress:
    return *_halves(found.address), found.port, found.scope


def _halves(address: Address) -> tuple[int, int]:
    high, low = divmod(int(address), 1 << _LOW_BITS)
    return high, low


def _next_address(sockets: Sockets, number: int) -> tuple[int, int, bool] | None:
    found = sockets.next_address(number)
    return None if found is None else (*_halves(found), found.version == 6)


_RESULTS: Mapping[str, Callable[..., Any]] = {
    "create": lambda sockets, is_ipv6, is_udp: sockets.create(6 if is_ipv6 else 4, is_udp=is_udp),
    "start-bind": _bind,
    "finish-bind": lambda sockets, number: sockets.any(number).finish_bind(),
    "start-connect": _connect,
    "finish-connect": lambda sockets, number: sockets.tcp(number).finish_connect(),
    "start-listen": lambda sockets, number: sockets.tcp(number).start_listen(),
    "finish-listen": lambda sockets, number: sockets.tcp(number).finish_listen(),
    "accept": Sockets.accept,
    "address-of": lambda sockets, number, is_remote: _plain(
        sockets.address_of(number, is_remote=is_remote)
    ),
    "get-option": Sockets.option,
    "set-option": lambda sockets, number, option, value: sockets.any(number).set_option(
        option, value
    ),
    "shutdown": Sockets.shut,
    "receive": _receive,
    "offered": lambda sockets, number: sockets.tcp(number).stream.offered(),
    "send": lambda sockets, number, frame: sockets.send(number, bytes_of(frame)),
    "associate": _associate,
    "receive-datagram": _receive_datagram,
    "offered-datagrams": lambda sockets, number: sockets.udp(number).offered(),
    "send-datagram": _send_datagram,
    "look-up": Sockets.look_up,
    "next-address": _next_address,
}
"""Those whose result is `ok` or an error code."""


def _answering(function: Callable[..., Any]) -> OwnFunction:
    def answer(world: World, args: Sequence[Any]) -> list[Any]:
        try:
            return ["ok", function(_sockets(world), *args)]
        except SocketError as error:
            return ["err", error.code]
        except OSError as error:
            return ["err", code_of(error)]

    return answer


def _sockets(world: World) -> Sockets:
    assert isinstance(world, SystemWorld), "an instance with the adapter has its system"
    return world.system.sockets


SOCKET_FUNCTIONS: Mapping[str, OwnFunction] = {
    **{name: _answering(function) for name, function in _RESULTS.items()},
    "is-listening": lambda world, args: _sockets(world).tcp(args[0]).is_listening,
    "is-ready": lambda world, args: _sockets(world).is_ready(args[0]),
    "close": lambda world, args: _sockets(world).close(args[0]),
}
"""What the engine itself answers of `SOCKETS`."""
