"""The sockets of one instance: connections of the machine and inside the workload, and faults."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.engine.network import lookup, machine, tcp, tcpstream
from hosts.engine.network.errors import SocketError
from hosts.engine.network.loopback import Loopback
from hosts.engine.network.machine import SocketAddress
from hosts.engine.network.options import Option
from hosts.engine.network.table import INTERESTS, READ, SOCKETS_MAX, STATE, WRITE, Sockets
from hosts.engine.network.tcpstream import SEND_BYTES_MAX
from lattice.errors import GuestTrapError
from lattice.model.network import NOTHING, Network, parse_endpoint, parse_listen, parse_pattern

FOR_EVER = 2**64 - 1
HERE = "127.0.0.1"


def address(host: str, port: int) -> SocketAddress:
    return SocketAddress(ipaddress.ip_address(host), port)


def granted(*connect: str, listen: str = "", lookup: str = "") -> Network:
    return Network(
        connect=tuple(map(parse_endpoint, connect)),
        listen=(parse_listen(listen),) if listen else (),
        lookup=(parse_pattern(lookup),) if lookup else (),
    )


def code(function: Callable[..., object], *args: object, **named: object) -> str:
    with pytest.raises(SocketError) as caught:
        function(*args, **named)
    return caught.value.code


@pytest.fixture
def lines() -> list[str]:
    return []


New = Callable[..., Sockets]


@pytest.fixture
async def new(lines: list[str]) -> AsyncIterator[New]:
    """Return what makes the sockets of an instance."""
    made: list[Sockets] = []

    def make(network: Network = NOTHING, loopback: Loopback | None = None) -> Sockets:
        made.append(
            Sockets(network, loopback or Loopback(), lambda _level, line: lines.append(line))
        )
        return made[-1]

    yield make
    for each in made:
        each.close_all()


Serve = Callable[..., Awaitable[int]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return what serves connections of the machine, and returns the port."""
    servers: list[asyncio.Server] = []

    async def start(handler: Handler) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await handler(reader, writer)
            writer.close()

        server = await asyncio.start_server(handle, HERE, 0)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()


async def wait(sockets: Sockets, number: int, kind: int) -> None:
    with anyio.fail_after(10):
        while not sockets.is_ready(number * INTERESTS + kind):
            await sockets.wait([number * INTERESTS + kind], FOR_EVER)


async def connect(sockets: Sockets, port: int, host: str = HERE) -> int:
    number = sockets.create(4)
    sockets.tcp(number).start_connect(address(host, port))
    await wait(sockets, number, STATE)
    sockets.tcp(number).finish_connect()
    return number


def listen(sockets: Sockets, host: str = HERE, port: int = 0, backlog: int = 0) -> tuple[int, int]:
    number = sockets.create(4)
    listener = sockets.tcp(number)
    if backlog:
        listener.set_option("listen-backlog-size", backlog)
    listener.start_bind(address(host, port))
    listener.finish_bind()
    listener.start_listen()
    listener.finish_listen()
    return number, listener.local.port


async def receive(sockets: Sockets, number: int, length: int) -> bytes:
    """Return exactly so many bytes."""
    data = b""
    while len(data) < length:
        await wait(sockets, number, READ)
        part = sockets.tcp(number).stream.receive(length - len(data))
        assert part is not None, f"the end after {len(data)} bytes"
        data += part
    return data


async def send(sockets: Sockets, number: int, data: bytes) -> None:
    while data:
        await wait(sockets, number, WRITE)
        part = data[: sockets.tcp(number).stream.offered()]
        sockets.send(number, part)
        data = data[len(part) :]


def sockets_open() -> int:
    return sum(
        os.readlink(entry.path).startswith("socket:")
        for entry in os.scandir("/proc/self/fd")
        if os.path.islink(entry.path)
    )


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="open sockets are counted in /proc"
)


# --- the machine -----------------------------------------------------------------------------


async def test_granted_connection_carries_bytes_both_ways(new: New, serve: Serve) -> None:
    port = await serve(echo)
    sockets = new(granted(f"127.0.0.0/8:{port}"))
    number = await connect(sockets, port)
    data = os.urandom(3_000_000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, sockets, number, data)
        # One waits at a time in an instance; here two do, so reading asks again and again.
        found = b""
        with anyio.fail_after(30):
            while len(found) < len(data):
                found += sockets.tcp(number).stream.receive(100_000) or b""
                await anyio.lowlevel.checkpoint()
    assert found == data
    found_address = sockets.tcp(number)
    assert found_address.remote == address(HERE, port)
    assert found_address.local.address == ipaddress.ip_address(HERE)


async def test_nothing_of_the_machine_is_reached_without_a_grant(
    new: New, serve: Serve, lines: list[str]
) -> None:
    port = await serve(echo)
    sockets = new(granted(f"127.0.0.1:{port + 1 if port < 65535 else 1}"))
    number = sockets.create(4)
    sockets.tcp(number).start_connect(address(HERE, port))
    assert code(sockets.tcp(number).finish_connect) == "connection-refused"
    number = sockets.create(4)
    assert code(sockets.tcp(number).start_connect, address("10.0.0.1", 80)) == "access-denied"
    assert code(sockets.tcp(number).start_connect, address("8.8.8.8", 53)) == "access-denied"
    assert lines == [
        (
            "denied: connecting to 10.0.0.1:80, which needs a grant within 10.0.0.0/8; "
            'the manifest line network: {connect: ["10.0.0.1:80"]} would allow it'
        ),
        (
            "denied: connecting to 8.8.8.8:53; the manifest line network: "
            '{connect: ["8.8.8.8:53"]} would allow it'
        ),
    ]


async def test_granted_listener_takes_connections_of_the_machine(new: New) -> None:
    sockets = new(granted(listen="127.0.0.1:*"))
    listener, port = listen(sockets, "0.0.0.0")
    reader, writer = await asyncio.open_connection(HERE, port)
    await wait(sockets, listener, STATE)
    number = sockets.accept(listener)
    writer.write(b"question")
    assert await receive(sockets, number, 8) == b"question"
    sockets.send(number, b"answer")
    sockets.close(number)
    assert await reader.read() == b"answer"
    writer.close()
    assert sockets.tcp(listener).local == address("0.0.0.0", port)
    # The same listener is there for the workload itself.
    inside = await connect(sockets, port)
    assert sockets.tcp(sockets.accept(listener)).remote == sockets.tcp(inside).local


async def test_listener_without_a_grant_is_not_on_the_machine(new: New, lines: list[str]) -> None:
    sockets = new()
    _, port = listen(sockets, "0.0.0.0")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HERE, port)
    assert "is open inside this workload only" in lines[0]
    number = sockets.create(4)
    assert code(sockets.tcp(number).start_bind, address("10.0.0.1", 80)) == "access-denied"
    assert 'listen: ["10.0.0.1:80"]' in lines[1]


async def test_nobody_there_is_a_refused_connection(new: New) -> None:
    with socket.socket() as unused:
        unused.bind((HERE, 0))
        port = unused.getsockname()[1]
        sockets = new(granted(f"{HERE}:{port}"))
        number = sockets.create(4)
        sockets.tcp(number).start_connect(address(HERE, port))
        await wait(sockets, number, STATE)
        assert code(sockets.tcp(number).finish_connect) == "connection-refused"
    # All that is left is to drop the socket.
    assert code(sockets.tcp(number).start_connect, address(HERE, port)) == "invalid-state"
    assert code(sockets.tcp(number).start_bind, address(HERE, 0)) == "invalid-state"


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Give the port of a listener that answers nobody, since its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HERE, 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_connecting_for_too_long_fails(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "CONNECT_S_MAX", 0.02)
    with silent() as port:
        sockets = new(granted(f"{HERE}:{port}"))
        number = sockets.create(4)
        sockets.tcp(number).start_connect(address(HERE, port))
        assert code(sockets.tcp(number).finish_connect) == "would-block"
        assert code(sockets.tcp(number).start_connect, address(HERE, port)) == (
            "concurrency-conflict"
        )
        await wait(sockets, number, STATE)
        assert code(sockets.tcp(number).finish_connect) == "timeout"


@needs_proc
async def test_guest_cancelled_while_it_connects_leaves_nothing_open(new: New) -> None:
    with silent() as port:
        before = sockets_open()
        sockets = new(granted(f"{HERE}:{port}"))
        number = sockets.create(4)
        sockets.tcp(number).start_connect(address(HERE, port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sockets.wait, [number * INTERESTS], FOR_EVER)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert sockets_open() == before + 1
        sockets.close_all()
        assert sockets_open() == before


async def test_reset_by_the_peer_is_told_once_and_then_the_stream_is_at_its_end(
    new: New, serve: Serve
) -> None:
    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    port = await serve(reset)
    sockets = new(granted(f"{HERE}:{port}"))
    number = await connect(sockets, port)
    await wait(sockets, number, READ)
    stream = sockets.tcp(number).stream
    assert code(stream.receive, 10) == "connection-reset"
    assert stream.receive(10) is None
    assert code(stream.offered) == "invalid-state"


async def test_half_closed_connection_still_answers(new: New, serve: Serve) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(len(await reader.read())).encode())

    port = await serve(answer)
    sockets = new(granted(f"{HERE}:{port}"))
    number = await connect(sockets, port)
    await send(sockets, number, bytes(300_000))
    sockets.shut(number, "send")
    assert code(sockets.send, number, b"more") == "invalid-state"
    assert await receive(sockets, number, 6) == b"300000"
    await wait(sockets, number, READ)
    assert sockets.tcp(number).stream.receive(1) is None


async def test_writing_is_held_back_by_a_peer_that_does_not_read(new: New, serve: Serve) -> None:
    go_on = anyio.Event()
    counted: list[int] = []

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        counted.append(len(await reader.read()))

    port = await serve(slow)
    sockets = new(granted(f"{HERE}:{port}"))
    number = await connect(sockets, port)
    sockets.tcp(number).set_option("send-buffer-size", 4096)
    stream, written = sockets.tcp(number).stream, 0
    while stream.offered():
        sockets.send(number, bytes(SEND_BYTES_MAX))
        written += SEND_BYTES_MAX
        assert written < 64 << 20, "it takes all for ever"
    with pytest.raises(GuestTrapError, match="offered to take 0"):
        sockets.send(number, b"x")
    go_on.set()
    await wait(sockets, number, WRITE)
    sockets.shut(number, "send")
    await wait(sockets, number, READ)
    assert stream.receive(1) is None
    assert counted == [written]


async def test_what_was_written_leaves_though_the_socket_is_closed(new: New, serve: Serve) -> None:
    go_on, counted = anyio.Event(), anyio.Event()
    found: list[int] = []

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        found.append(len(await reader.read()))
        counted.set()

    port = await serve(slow)
    sockets = new(granted(f"{HERE}:{port}"))
    number = await connect(sockets, port)
    written = 0
    while sockets.tcp(number).stream.offered():
        sockets.send(number, bytes(SEND_BYTES_MAX))
        written += SEND_BYTES_MAX
    sockets.close(number)
    go_on.set()
    with anyio.fail_after(10):
        await counted.wait()
    assert found == [written]


@needs_proc
async def test_all_is_closed_with_the_instance(
    new: New, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcpstream, "LINGER_S", 60.0)
    holding = anyio.Event()

    async def hold(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await holding.wait()

    port = await serve(hold)
    before = sockets_open()
    sockets = new(granted(f"{HERE}:{port}", listen="127.0.0.1:*"))
    full = await connect(sockets, port)
    while sockets.tcp(full).stream.offered():
        sockets.send(full, bytes(SEND_BYTES_MAX))
    sockets.close(full)  # it has bytes still to leave
    for _ in range(3):
        await connect(sockets, port)
    listener, own = listen(sockets)
    await connect(new(granted(f"{HERE}:{own}")), own)
    await wait(sockets, listener, STATE)  # it has taken the connection, which nobody accepts
    assert sockets_open() > before
    sockets.close_all()
    sockets.close_all()
    holding.set()
    with anyio.fail_after(10):
        while sockets_open() > before + 1:  # the other instance's end, until the fixture closes it
            await anyio.lowlevel.checkpoint()


async def test_sockets_of_one_instance_are_bounded(new: New) -> None:
    sockets = new()
    listener, port = listen(sockets)
    for _ in range(SOCKETS_MAX - 2):
        sockets.create(4)
    number = await connect(sockets, port)
    assert code(sockets.create, 4) == "new-socket-limit"
    assert code(sockets.accept, listener) == "new-socket-limit"
    sockets.close(number)
    assert sockets.create(6)


async def test_sockets_of_all_guests_leave_open_files_to_the_host(
    new: New, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = await serve(echo)
    one, other = (new(granted(f"{HERE}:{port}")) for _ in range(2))
    number = await connect(one, port)
    monkeypatch.setattr(machine, "SOCKETS_OF_PROCESS_MAX", 1)
    refused = other.create(4)
    other.tcp(refused).start_connect(address(HERE, port))
    assert code(other.tcp(refused).finish_connect) == "new-socket-limit"
    one.close(number)
    assert await connect(other, port)


async def test_ipv6_of_the_machine_is_reached_as_granted(new: New) -> None:
    try:
        server = await asyncio.start_server(
            lambda _reader, writer: writer.close(), "::1", 0, family=socket.AF_INET6
        )
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = server.sockets[0].getsockname()[1]
    sockets = new(granted(f"[::1]:{port}"))
    number = sockets.create(6)
    made = sockets.tcp(number)
    made.start_connect(address("::1", port))
    await wait(sockets, number, STATE)
    made.finish_connect()
    assert (made.remote, made.local.address) == (address("::1", port), made.remote.address)
    await wait(sockets, number, READ)
    assert made.stream.receive(1) is None
    server.close()


OPERATIONS: list[Callable[[Sockets, int, int], object]] = [
    lambda sockets, _number, _port: sockets.create(4),
    lambda sockets, number, port: sockets.tcp(number).start_bind(address(HERE, port)),
    lambda sockets, number, _port: sockets.tcp(number).finish_bind(),
    lambda sockets, number, port: sockets.tcp(number).start_connect(address(HERE, port)),
    lambda sockets, number, _port: sockets.tcp(number).finish_connect(),
    lambda sockets, number, _port: sockets.tcp(number).start_listen(),
    lambda sockets, number, _port: sockets.tcp(number).finish_listen(),
    lambda sockets, number, _port: sockets.accept(number),
    lambda sockets, number, _port: sockets.tcp(number).stream.receive(10),
    lambda sockets, number, _port: sockets.send(number, b"x"),
    lambda sockets, number, _port: sockets.shut(number, "send"),
    lambda sockets, number, _port: sockets.shut(number, "receive"),
    lambda sockets, number, _port: sockets.is_ready(number * INTERESTS + STATE),
    lambda sockets, number, _port: sockets.is_ready(number * INTERESTS + READ),
    lambda sockets, number, _port: sockets.is_ready(number * INTERESTS + WRITE),
    lambda sockets, number, _port: sockets.address_of(number, is_remote=True),
    lambda sockets, number, _port: sockets.close(number),
]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(1, 5), st.integers(1, 2)), max_size=60
    )
)
def test_whatever_a_guest_does_it_gets_an_answer_and_nothing_is_left(
    steps: list[tuple[Callable[[Sockets, int, int], object], int, int]],
) -> None:
    async def play() -> None:
        loopback = Loopback()
        sockets = Sockets(NOTHING, loopback, lambda _level, _line: None)
        for _ in range(3):
            sockets.create(4)
        for operation, number, port in steps:
            with contextlib.suppress(SocketError):
                operation(sockets, number, port)
        sockets.close_all()
        assert loopback.is_empty

    asyncio.run(play())


# --- inside the workload ---------------------------------------------------------------------


async def test_instances_of_one_replica_reach_each_other(new: New) -> None:
    loopback = Loopback()
    one, other = new(loopback=loopback), new(loopback=loopback)
    listener, port = listen(one)
    near = await connect(other, port)
    await wait(one, listener, STATE)
    far = one.accept(listener)
    data = os.urandom(500_000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, other, near, data)
        assert await receive(one, far, len(data)) == data
    assert one.tcp(far).remote == other.tcp(near).local
    one.close_all()
    await wait(other, near, READ)
    assert other.tcp(near).stream.receive(1) is None


async def test_replicas_do_not_reach_each_other(new: New) -> None:
    _, port = listen(new())
    sockets = new()
    number = sockets.create(4)
    sockets.tcp(number).start_connect(address(HERE, port))
    assert code(sockets.tcp(number).finish_connect) == "connection-refused"


async def test_accept_waits_for_a_connection_and_timers_count_too(new: New) -> None:
    sockets = new()
    listener, port = listen(sockets)
    assert code(sockets.accept, listener) == "would-block"
    with anyio.fail_after(10):
        await sockets.wait([listener * INTERESTS], 1)  # an instant long gone
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sockets.wait, [listener * INTERESTS], FOR_EVER)
            await anyio.wait_all_tasks_blocked()
            await connect(new(loopback=sockets._loopback), port)
    assert sockets.accept(listener)


async def test_ports_are_given_back_with_the_socket(new: New) -> None:
    sockets = new()
    listener, port = listen(sockets)
    number = sockets.create(4)
    sockets.tcp(number).start_bind(address("0.0.0.0", port))
    assert code(sockets.tcp(number).finish_bind) == "address-in-use"
    sockets.close(listener)
    sockets.tcp(number).start_bind(address("0.0.0.0", port))
    sockets.tcp(number).finish_bind()


async def test_states_are_those_of_the_interface(new: New) -> None:
    sockets = new()
    made = sockets.tcp(sockets.create(4))
    assert code(made.finish_bind) == "not-in-progress"
    assert code(made.start_listen) == "invalid-state"
    assert code(lambda: made.local) == "invalid-state"
    assert code(lambda: made.stream) == "invalid-state"
    assert code(made.shut, receive=True, send=True) == "invalid-state"
    for wrong in ("::1", "224.0.0.1"):
        assert code(made.start_bind, address(wrong, 0)) == "invalid-argument"
    for host, port in (("0.0.0.0", 80), (HERE, 0), ("::1", 80)):
        assert code(made.start_connect, address(host, port)) == "invalid-argument"
    made.start_bind(address(HERE, 0))
    assert code(made.start_listen) == "concurrency-conflict"
    made.finish_bind()
    assert code(made.start_bind, address(HERE, 0)) == "invalid-state"
    assert made.local.port > 0
    made.start_listen()
    assert not made.is_listening
    made.finish_listen()
    assert made.is_listening
    assert code(made.start_connect, address(HERE, 80)) == "invalid-state"
    assert code(lambda: made.remote) == "invalid-state"
    assert code(sockets.tcp, 99) == "invalid-state"
    sockets.close(99)


async def test_options_are_remembered_and_told_to_the_system(new: New, serve: Serve) -> None:
    port = await serve(echo)
    sockets = new(granted(f"{HERE}:{port}"))
    number = await connect(sockets, port)
    made = sockets.tcp(number)
    assert (made.option("hop-limit"), made.option("keep-alive-enabled")) == (64, 0)
    wanted: dict[Option, int] = {"hop-limit": 5, "keep-alive-enabled": 1, "keep-alive-count": 3}
    for option, value in wanted.items():
        made.set_option(option, value)
        assert made.option(option) == value
    made.set_option("receive-buffer-size", 1 << 40)
    assert made.option("receive-buffer-size") == 1 << 20
    assert code(made.set_option, "hop-limit", 0) == "invalid-argument"
    assert code(made.set_option, "listen-backlog-size", 1) == "invalid-state"
    kernel = made._kernel
    assert kernel is not None
    assert kernel.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 5
    assert kernel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


# --- names -----------------------------------------------------------------------------------

Answers = Callable[[dict[str, list[str] | int]], None]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Return what makes the system's resolver answer: addresses, or the number of a failure."""

    def set_answers(known: dict[str, list[str] | int]) -> None:
        def getaddrinfo(name: str, *_args: object, **_named: object) -> list[object]:
            found = known[name]
            if isinstance(found, int):
                raise socket.gaierror(found, "no answer")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return set_answers


async def resolve(sockets: Sockets, name: str) -> list[str]:
    number = sockets.look_up(name)
    await wait(sockets, number, STATE)
    found = []
    while (each := sockets.next_address(number)) is not None:
        found.append(str(each))
    sockets.close(number)
    return found


async def test_name_that_is_granted_may_be_connected_to_at_its_addresses(
    new: New, answers: Answers, lines: list[str]
) -> None:
    answers({"db.example.com": ["8.8.8.8", "8.8.8.8", "2600::1", "::ffff:8.8.4.4"]})
    sockets = new(granted("db.example.com:5432"))
    assert await resolve(sockets, "DB.example.com.") == ["8.8.8.8", "2600::1"]
    access = sockets._access
    access.require_connect(ipaddress.ip_address("8.8.8.8"), 5432)
    assert code(access.require_connect, ipaddress.ip_address("8.8.8.8"), 80) == "access-denied"
    assert 'connect: ["db.example.com:80"]' in lines[0]
    another = new(granted("db.example.com:5432"))._access
    assert code(another.require_connect, ipaddress.ip_address("8.8.8.8"), 5432) == "access-denied"


async def test_name_that_leads_into_a_private_network_is_denied(
    new: New, answers: Answers, lines: list[str]
) -> None:
    answers({"rebind.example.com": ["10.0.0.1", "8.8.8.8"], "inner.example.com": ["127.0.0.1"]})
    sockets = new(granted("*.example.com:80"))
    assert await resolve(sockets, "rebind.example.com") == ["8.8.8.8"]
    number = sockets.look_up("inner.example.com")
    await wait(sockets, number, STATE)
    assert code(sockets.next_address, number) == "access-denied"
    assert "rebind.example.com resolves to 10.0.0.1, which lies in 10.0.0.0/8" in lines[0]
    assert 'connect: ["127.0.0.1:PORT"]' in lines[1]
    allowed = new(granted("*.example.com:80", "10.0.0.0/8:80"))
    assert await resolve(allowed, "rebind.example.com") == ["10.0.0.1", "8.8.8.8"]


async def test_name_that_is_not_granted_is_not_looked_up(new: New, lines: list[str]) -> None:
    sockets = new(granted("a.example.com:80", lookup="c.example.com"))
    assert code(sockets.look_up, "b.example.com") == "access-denied"
    assert 'lookup: ["b.example.com"]' in lines[0]
    for wrong in ("", "a b", "127.1", "x" * 64):
        assert code(sockets.look_up, wrong) == "invalid-argument"


async def test_localhost_and_addresses_need_no_grant(new: New) -> None:
    sockets = new()
    assert await resolve(sockets, "localhost") == ["127.0.0.1", "::1"]
    assert await resolve(sockets, "a.localhost.") == ["127.0.0.1", "::1"]
    assert await resolve(sockets, "10.0.0.1") == ["10.0.0.1"]
    assert await resolve(sockets, "fd00::1") == ["fd00::1"]


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (socket.EAI_NONAME, "name-unresolvable"),
        (socket.EAI_AGAIN, "temporary-resolver-failure"),
        (socket.EAI_FAIL, "permanent-resolver-failure"),
    ],
)
async def test_failures_of_the_resolver_have_their_codes(
    new: New, answers: Answers, number: int, wanted: str
) -> None:
    answers({"a.org": number})
    sockets = new(granted("a.org:80"))
    looked_up = sockets.look_up("a.org")
    await wait(sockets, looked_up, STATE)
    assert code(sockets.next_address, looked_up) == wanted


async def test_resolver_that_does_not_answer_is_given_up(
    new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    go_on = threading.Event()

    def hang(*_args: object, **_named: object) -> list[object]:
        go_on.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(lookup, "LOOKUP_S_MAX", 0.02)
    sockets = new(granted("a.org:80"))
    number = sockets.look_up("a.org")
    assert code(sockets.next_address, number) == "would-block"
    await wait(sockets, number, STATE)
    assert code(sockets.next_address, number) == "temporary-resolver-failure"
    sockets.close(sockets.look_up("a.org"))
    go_on.set()
