"""What hostile guests try with sockets: to hold memory and threads, and to block the loop."""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from hosts.engine.base import World
from hosts.engine.guestsystem import SystemWorld
from hosts.engine.network import lookup, loopback
from hosts.engine.network.access import NAMES_MAX, Access
from hosts.engine.network.errors import SocketError
from hosts.engine.network.functions import SOCKET_FUNCTIONS
from hosts.engine.network.loopback import Loopback
from hosts.engine.network.machine import SocketAddress
from hosts.engine.network.pipes import PIPE_BYTES_MAX, Pipe
from hosts.engine.network.table import INTERESTS, LOOKUPS_MAX, READ, Sockets
from lattice.errors import GuestTrapError
from lattice.model.network import NOTHING, Address, Network, parse_endpoint, parse_pattern

FOR_EVER = 2**64 - 1
HERE = ipaddress.ip_address("127.0.0.1")


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    names = Network(lookup=(parse_pattern("*"),))
    made = Sockets(names, Loopback(), lambda _level, _line: None)
    yield made
    made.close_all()


def code(function: Callable[..., object], *args: object) -> str:
    with pytest.raises(SocketError) as caught:
        function(*args)
    return caught.value.code


def listener(sockets: Sockets, port: int) -> int:
    number = sockets.create(4)
    socket_ = sockets.tcp(number)
    socket_.start_bind(SocketAddress(HERE, port))
    socket_.finish_bind()
    socket_.start_listen()
    socket_.finish_listen()
    return number


async def test_connections_that_nobody_accepts_are_bounded_over_all_listeners(
    sockets: Sockets,
) -> None:
    for port in (1000, 1001, 1002):
        listener(sockets, port)
    for held in range(loopback.WAITING_MAX):
        number = sockets.create(4)
        sockets.tcp(number).start_connect(SocketAddress(HERE, 1000 + held // 100))
        sockets.tcp(number).finish_connect()
        sockets.send(number, b"kept")
        sockets.close(number)
    number = sockets.create(4)
    sockets.tcp(number).start_connect(SocketAddress(HERE, 1002))
    assert code(sockets.tcp(number).finish_connect) == "connection-refused"


def test_pipe_holds_little_more_than_its_bytes_however_they_were_written() -> None:
    pipe = Pipe()
    before = sys.getallocatedblocks()
    for at in range(PIPE_BYTES_MAX // 2):
        pipe.put(at.to_bytes(2, "big"))
    assert sys.getallocatedblocks() - before < 1000
    read = b"".join(iter(lambda: pipe.take(1000), b""))
    assert read == b"".join(at.to_bytes(2, "big") for at in range(PIPE_BYTES_MAX // 2))


def test_names_of_one_address_are_bounded() -> None:
    access = Access(Network(connect=(parse_endpoint("*.a.org:443"),)), lambda _level, _line: None)
    address: Address = ipaddress.ip_address("8.8.8.8")
    for number in range(10 * NAMES_MAX):
        access.found(f"n{number}.a.org", [address])
    assert len(access.names_of(address)) == NAMES_MAX
    assert access.may_connect(address, 443)


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a resolver that says nothing until the test is over."""
    over = threading.Event()

    def wait(*_args: object, **_named: object) -> list[object]:
        over.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "nothing")

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    before = set(threading.enumerate())
    yield
    over.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)


@pytest.mark.usefixtures("silence")
async def test_closing_lookups_does_not_let_one_guest_take_all_threads(sockets: Sockets) -> None:
    for number in range(LOOKUPS_MAX):
        sockets.close(sockets.look_up(f"n{number}.org"))
    assert code(sockets.look_up, "one-more.org") == "new-socket-limit"


async def test_lookup_without_a_thread_fails_and_keeps_no_place(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    for _ in range(2 * lookup.LOOKUPS_MAX):
        assert code(sockets.look_up, "a.org") == "temporary-resolver-failure"
    assert lookup._places.acquire(blocking=False)
    lookup._places.release()


async def test_name_longer_than_any_is_refused_before_it_is_read(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "normal_name", lambda _name: pytest.fail("it was read"))
    assert code(sockets.look_up, "é." * 200_000) == "invalid-argument"


async def test_an_interest_named_many_times_is_looked_at_once(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    number = listener(sockets, 1000)
    is_ready = Sockets.is_ready

    def note(self: Sockets, interest: int) -> bool:
        asked.append(interest)
        return is_ready(self, interest)

    monkeypatch.setattr(Sockets, "is_ready", note)
    await sockets.wait([number * INTERESTS] * 100_000, 0)
    assert asked == [number * INTERESTS]
    await sockets.wait([number * INTERESTS + READ] * 100_000, FOR_EVER)
    assert len(asked) == 2


async def test_address_that_is_none_ends_the_guest() -> None:
    class System:
        sockets = Sockets(NOTHING, Loopback(), lambda _level, _line: None)

    world = SystemWorld(system=System())  # type: ignore[arg-type]  # all that is asked for
    assert isinstance(world, World)
    number = System.sockets.create(4)
    for address in ((0, 1 << 32, 80, 0), (1, 0, 80, 0)):
        with pytest.raises(GuestTrapError):
            SOCKET_FUNCTIONS["start-connect"](world, [number, address])
    System.sockets.close_all()


async def test_socket_whose_binding_failed_may_still_connect() -> None:
    granted = Network(connect=(parse_endpoint("127.0.0.1:9"),))
    sockets = Sockets(granted, Loopback(), lambda _level, _line: None)
    listener(sockets, 1000)
    tcp = sockets.tcp(sockets.create(4))
    tcp.start_bind(SocketAddress(HERE, 1000))
    assert code(tcp.finish_bind) == "address-in-use"
    tcp.start_connect(SocketAddress(HERE, 9))  # its port was not chosen after all
    sockets.close_all()
