"""Datagrams of a guest: on the machine as granted, and inside its workload."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import pytest

from hosts.engine.network.errors import SocketError
from hosts.engine.network.loopback import MAILBOX_BYTES_MAX, MAILBOX_MAX, Loopback
from hosts.engine.network.machine import SocketAddress
from hosts.engine.network.table import INTERESTS, READ, WRITE, Sockets
from hosts.engine.network.udp import DATAGRAM_BYTES_MAX, SEND_MAX, UdpSocket
from lattice.model.network import NOTHING, Network, parse_endpoint, parse_listen

HERE = "127.0.0.1"
FOR_EVER = 2**64 - 1


def address(host: str, port: int) -> SocketAddress:
    return SocketAddress(ipaddress.ip_address(host), port)


def granted(*connect: str, listen: str = "") -> Network:
    return Network(
        connect=tuple(map(parse_endpoint, connect)),
        listen=(parse_listen(listen),) if listen else (),
    )


def code(function: Callable[..., object], *args: object) -> str:
    with pytest.raises(SocketError) as caught:
        function(*args)
    return caught.value.code


New = Callable[..., Sockets]


@pytest.fixture
async def new() -> AsyncIterator[New]:
    made: list[Sockets] = []

    def make(network: Network = NOTHING, loopback: Loopback | None = None) -> Sockets:
        made.append(Sockets(network, loopback or Loopback(), lambda _level, _line: None))
        return made[-1]

    yield make
    for each in made:
        each.close_all()


@pytest.fixture
def machine() -> Iterator[socket.socket]:
    """Return a socket of the machine that a guest may or may not reach."""
    with socket.socket(type=socket.SOCK_DGRAM) as made:
        made.bind((HERE, 0))
        made.settimeout(10)
        yield made


def bound(sockets: Sockets, host: str = HERE, port: int = 0) -> tuple[int, UdpSocket]:
    number = sockets.create(4, is_udp=True)
    made = sockets.udp(number)
    made.start_bind(address(host, port))
    made.finish_bind()
    made.connect(None)
    return number, made


async def received(sockets: Sockets, number: int) -> tuple[bytes, SocketAddress]:
    with anyio.fail_after(10):
        while not sockets.is_ready(number * INTERESTS + READ):
            await sockets.wait([number * INTERESTS + READ], FOR_EVER)
    found = sockets.udp(number).receive()
    assert found is not None, "it was ready"
    return found


async def test_instances_of_one_replica_send_to_each_other(new: New) -> None:
    loopback = Loopback()
    one, other = new(loopback=loopback), new(loopback=loopback)
    number, here = bound(one, "0.0.0.0")
    _, there = bound(other)
    assert there.send(b"a", address(HERE, here.local.port))
    assert await received(one, number) == (b"a", there.local)
    assert here.receive() is None


async def test_granted_peers_are_reached_and_others_are_not_heard(
    new: New, machine: socket.socket
) -> None:
    host, port = machine.getsockname()
    sockets = new(granted(f"{host}:{port}"))
    number, made = bound(sockets, "0.0.0.0")
    assert made.send(b"out", address(host, port))
    data, peer = machine.recvfrom(100)
    assert data == b"out"
    with socket.socket(type=socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"who", peer)
    machine.sendto(b"back", peer)
    assert await received(sockets, number) == (b"back", address(host, port))
    assert code(made.send, b"x", address("10.0.0.1", 53)) == "access-denied"
    assert code(made.connect, address("10.0.0.1", 53)) == "access-denied"


async def test_granted_place_to_listen_hears_everybody(new: New, machine: socket.socket) -> None:
    sockets = new(granted(listen=f"{HERE}:*"))
    number, made = bound(sockets, "0.0.0.0")
    machine.sendto(b"in", (HERE, made.local.port))
    assert await received(sockets, number) == (b"in", address(*machine.getsockname()))


async def test_only_the_associated_peer_is_heard(new: New) -> None:
    sockets = new()
    number, made = bound(sockets)
    _, friend = bound(sockets)
    _, stranger = bound(sockets)
    made.connect(friend.local)
    stranger.send(b"no", made.local)
    friend.send(b"yes", made.local)
    assert await received(sockets, number) == (b"yes", friend.local)
    assert made.send(b"answer", None)
    assert code(made.send, b"x", stranger.local) == "invalid-argument"
    assert made.remote == friend.local


async def test_what_waits_is_bounded_and_more_is_lost(new: New) -> None:
    sockets = new()
    _, made = bound(sockets)
    _, sender = bound(sockets)
    for data, most in ((b"x", MAILBOX_MAX), (bytes(60_000), MAILBOX_BYTES_MAX // 60_000)):
        for _ in range(2 * MAILBOX_MAX):
            assert sender.send(data, made.local)
        found = 0
        while made.receive() is not None:
            found += 1
        assert found == most


async def test_states_and_arguments_are_those_of_the_interface(new: New) -> None:
    sockets = new()
    number = sockets.create(4, is_udp=True)
    made = sockets.udp(number)
    assert code(made.finish_bind) == "not-in-progress"
    for function in (made.receive, made.offered, lambda: made.local, lambda: made.remote):
        assert code(function) == "invalid-state"
    assert code(made.connect, None) == "invalid-state"
    assert code(made.start_bind, address("::1", 0)) == "invalid-argument"
    made.start_bind(address(HERE, 0))
    assert code(made.start_bind, address(HERE, 0)) == "concurrency-conflict"
    made.finish_bind()
    assert code(made.start_bind, address(HERE, 0)) == "invalid-state"
    for host, port in (("0.0.0.0", 1), (HERE, 0), ("::1", 1), ("224.0.0.1", 1)):
        assert code(made.send, b"", address(host, port)) == "invalid-argument"
    assert code(made.send, b"", None) == "invalid-argument"
    too_large = bytes(DATAGRAM_BYTES_MAX + 1)
    assert code(made.send, too_large, address(HERE, 1)) == "datagram-too-large"
    assert made.offered() == SEND_MAX
    assert sockets.is_ready(number * INTERESTS + WRITE)
    taken = sockets.udp(sockets.create(4, is_udp=True))
    taken.start_bind(made.local)
    assert code(taken.finish_bind) == "address-in-use"
    assert code(sockets.tcp, number) == "invalid-state"
    assert code(sockets.udp, sockets.create(4)) == "invalid-state"


async def test_connections_and_datagrams_have_ports_of_their_own(new: New) -> None:
    sockets = new()
    _, made = bound(sockets)
    stream = sockets.tcp(sockets.create(4))
    stream.start_bind(made.local)
    stream.finish_bind()


async def test_all_is_given_back_with_the_instance(new: New, machine: socket.socket) -> None:
    loopback = Loopback()
    sockets = new(granted(f"{HERE}:*", listen=f"{HERE}:*"), loopback)
    _, made = bound(sockets, "0.0.0.0")
    assert made.send(b"out", address(*machine.getsockname()))
    port = made.local.port
    sockets.close_all()
    assert loopback.is_empty
    with socket.socket(type=socket.SOCK_DGRAM) as again:
        again.bind((HERE, port))
