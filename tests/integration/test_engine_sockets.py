"""An unmodified guest in Python with the network that it is granted, and that of its workload."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from hosts.engine.base import Instance, World
from hosts.engine.network.loopback import Loopback
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import DeadlineExceededError
from lattice.model.network import Network, parse_endpoint, parse_listen
from tests.contract.engine.building import start
from tests.guests.interpreter import INTERPRETER, interpreter

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.timeout(300),  # the first run builds the guest and compiles it
]

DEADLINE_S = 60.0
HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("code")


@pytest.fixture
def engine(cache: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(cache)
    yield made
    made.close()


@pytest.fixture
def lines() -> list[str]:
    return []


Start = Callable[..., Awaitable[Instance]]


@pytest.fixture
async def python(engine: WasmtimeEngine, lines: list[str]) -> AsyncIterator[Start]:
    """Return what starts an interpreter with grants, on a loopback of its own or a given one."""
    started: list[Instance] = []

    async def new(*connect: str, listen: str = "", loopback: Loopback | None = None) -> Instance:
        network = Network(
            connect=tuple(map(parse_endpoint, connect)),
            listen=(parse_listen(listen),) if listen else (),
        )
        world = World(
            log=lambda _level, line: lines.append(line), network=network, loopback=loopback
        )
        instance = await start(engine, interpreter(), world=world)
        started.append(instance)
        return instance

    yield new
    for instance in started:
        instance.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Return the port of a server of the machine that answers each line in upper case."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HERE, 0, limit=1 << 25)
    yield int(server.sockets[0].getsockname()[1])
    server.close()


async def run(instance: Instance, source: str) -> str:
    """Return what the source binds to `result`; its traceback fails the test."""
    case, text = await instance.call(INTERPRETER, "run", [source], deadline_s=DEADLINE_S)
    assert case == "ok", text
    return str(text)


async def failure(instance: Instance, source: str) -> str:
    """Return the last line of the traceback."""
    case, text = await instance.call(INTERPRETER, "run", [source], deadline_s=DEADLINE_S)
    assert case == "err", text
    return str(text).strip().splitlines()[-1]


async def test_guest_talks_to_a_server_that_is_granted(python: Start, port: int) -> None:
    instance = await python(f"127.0.0.0/8:{port}")
    source = f"""
with socket.create_connection(('{HERE}', {port})) as connection:
    connection.sendall(b'hello\\n')
    result = connection.recv(100), connection.getpeername()
"""
    assert await run(instance, source) == str((b"HELLO\n", (HERE, port)))


async def test_large_transfers_are_whole(python: Start, port: int) -> None:
    instance = await python(f"127.0.0.0/8:{port}")
    source = f"""
data = bytes(range(11, 256)) * 20000 + b'\\n'
connection = socket.create_connection(('{HERE}', {port}))
connection.settimeout(30)
connection.sendall(data)
found = b''
while len(found) < len(data):
    found += connection.recv(1 << 20)
result = found == data.upper(), len(found)
connection.close()
"""
    assert await run(instance, source) == str((True, 245 * 20000 + 1))


async def test_guest_without_a_grant_is_told_and_the_log_says_what_grants_it(
    python: Start, lines: list[str]
) -> None:
    instance = await python()
    assert "PermissionError" in await failure(
        instance, "socket.create_connection(('10.1.1.1', 80))"
    )
    assert "PermissionError" in await failure(instance, "socket.getaddrinfo('example.com', 80)")
    assert 'connect: ["10.1.1.1:80"]' in lines[0]
    assert 'lookup: ["example.com"]' in lines[1]


async def test_loopback_of_the_machine_is_out_of_reach(python: Start, port: int) -> None:
    instance = await python()
    for host in (HERE, "localhost"):
        source = f"socket.create_connection(('{host}', {port}))"
        assert "ConnectionRefusedError" in await failure(instance, source)


_SERVER = """
server = socket.socket({family})
server.bind(('{host}', 8080))
server.listen()
sys.kept = server
"""

_ANSWER = """
server = sys.kept
connection, peer = server.accept()
question = connection.recv(100)
connection.sendall(question[::-1])
connection.close()
result = peer[0]
"""


@pytest.mark.parametrize(
    ("family", "host", "name"),
    [
        ("socket.AF_INET", "0.0.0.0", "localhost"),
        ("socket.AF_INET", HERE, HERE),
        ("socket.AF_INET6", "::1", "::1"),
        ("socket.AF_INET6", "::", "::1"),
    ],
)
async def test_instances_of_one_replica_share_a_loopback(
    python: Start, family: str, host: str, name: str
) -> None:
    loopback = Loopback()
    server, client = await python(loopback=loopback), await python(loopback=loopback)
    stranger = await python(loopback=Loopback())
    await run(server, _SERVER.format(family=family, host=host))
    found: list[str] = []

    async def answer() -> None:
        found.append(await run(server, _ANSWER))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        source = f"""
connection = socket.create_connection(('{name}', 8080))
connection.sendall(b'abc')
result = connection.recv(100), connection.recv(100)
"""
        assert "ConnectionRefusedError" in await failure(stranger, source)
        assert await run(client, source) == str((b"cba", b""))
    assert found == ["::1" if "6" in family else HERE]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HERE, 8080)


async def test_granted_listener_is_open_on_the_machine(python: Start) -> None:
    with socket.socket() as unused:
        unused.bind((HERE, 0))
        port = unused.getsockname()[1]
    instance = await python(listen=f"{HERE}:{port}")
    await run(instance, _SERVER.format(family="", host="0.0.0.0").replace("8080", str(port)))
    reader, writer = await asyncio.open_connection(HERE, port)
    writer.write(b"abc")
    assert await run(instance, _ANSWER) == HERE
    assert await reader.read() == b"cba"
    writer.close()


async def test_many_sockets_and_timers_are_waited_for_at_once(python: Start) -> None:
    instance = await python()
    source = """
rest = asyncio.sleep

async def work():
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    port = server.sockets[0].getsockname()[1]
    async def ask(number):
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        writer.write(b'question %d\\n' % number)
        await rest(0.001 * (number % 3))
        answer = await reader.readline()
        writer.close()
        return answer
    return await asyncio.gather(*map(ask, range(20)))
result = asyncio.run(work()) == [b'QUESTION %d\\n' % number for number in range(20)]
"""
    assert await run(instance, source) == "True"


async def test_timeouts_of_the_guest_hold(python: Start) -> None:
    instance = await python()
    source = """
server = socket.socket()
server.bind(('127.0.0.1', 0))
server.listen()
server.settimeout(0.02)
began = time.monotonic()
try:
    server.accept()
except TimeoutError:
    result = time.monotonic() - began
"""
    assert 0.02 <= float(await run(instance, source)) < 5


async def test_options_can_be_set_and_read(python: Start) -> None:
    instance = await python()
    source = """
found = []
made = socket.socket()
for level, name, value in [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.SOL_SOCKET, socket.SO_RCVBUF, 8192),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 16384), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 7),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3), (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5),
    (socket.IPPROTO_IP, socket.IP_TTL, 9),
]:
    made.setsockopt(level, name, value)
    found.append(made.getsockopt(level, name))
result = found
"""
    assert await run(instance, source) == str([1, 8192, 16384, 7, 3, 5, 9])


async def test_half_close_and_reset_are_seen(python: Start) -> None:
    instance = await python()
    source = """
server = socket.socket()
server.bind(('127.0.0.1', 0))
server.listen()
near = socket.create_connection(server.getsockname())
far, _ = server.accept()
near.sendall(b'question')
near.shutdown(socket.SHUT_WR)
seen = [far.recv(100), far.recv(100)]
far.sendall(b'answer')
seen.append(near.recv(100))
far.close()
near = socket.create_connection(server.getsockname())
far, _ = server.accept()
near.sendall(b'never read')
far.close()
try:
    near.recv(100)
except OSError:  # its libc has one error for all that fails in a stream
    seen.append('reset')
result = seen
"""
    assert await run(instance, source) == str([b"question", b"", b"answer", "reset"])


async def test_too_many_sockets_are_refused(python: Start) -> None:
    instance = await python()
    source = """
kept = []
try:
    while True:
        kept.append(socket.socket())
except OSError as error:
    result = len(kept), type(error).__name__
"""
    assert await run(instance, source) == str((128, "OSError"))
    assert await run(instance, "result = socket.socket().fileno() > 0") == "True"


def sockets_open() -> int:
    return sum(
        os.readlink(entry.path).startswith("socket:")
        for entry in os.scandir("/proc/self/fd")
        if os.path.islink(entry.path)
    )


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open sockets are counted in /proc")
async def test_instance_that_is_cancelled_leaves_no_socket_open(python: Start) -> None:
    ended = anyio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass
        writer.close()
        ended.set()

    server = await asyncio.start_server(hold, HERE, 0)
    port = int(server.sockets[0].getsockname()[1])
    before, tasks = sockets_open(), asyncio.all_tasks()
    instance = await python(f"{HERE}:{port}", listen=f"{HERE}:*")
    source = f"""
listener = socket.socket()
listener.bind(('{HERE}', 0))
listener.listen()
connection = socket.create_connection(('{HERE}', {port}))
connection.recv(100)
"""
    with pytest.raises(DeadlineExceededError):
        await instance.call(INTERPRETER, "run", [source], deadline_s=0.5)
    assert instance.is_dead
    with anyio.fail_after(10):
        await ended.wait()
        while sockets_open() > before:
            await anyio.lowlevel.checkpoint()
    server.close()
    assert asyncio.all_tasks() <= tasks


async def test_datagrams_reach_the_workload_and_what_is_granted(python: Start) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as machine:
        machine.bind((HERE, 0))
        machine.setblocking(False)
        port = machine.getsockname()[1]
        instance = await python(f"{HERE}:{port}")
        source = f"""
one, other = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
one.bind(('127.0.0.1', 5353))
other.sendto(b'inside', ('127.0.0.1', 5353))
data, peer = one.recvfrom(100)
one.sendto(data[::-1], peer)
seen = [data, other.recvfrom(100)]
other.sendto(b'out', ('{HERE}', {port}))
sys.kept = other
result = seen
"""
        assert await run(instance, source) == str([b"inside", (b"edisni", (HERE, 5353))])
        data, peer = await asyncio.get_running_loop().sock_recvfrom(machine, 100)
        assert data == b"out"
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"from somebody else", peer)
        machine.sendto(b"back", peer)
        assert await run(instance, "result = sys.kept.recvfrom(100)") == str(
            (b"back", (HERE, port))
        )


async def test_datagrams_to_others_are_denied(python: Start, lines: list[str]) -> None:
    instance = await python()
    source = """
made = socket.socket(type=socket.SOCK_DGRAM)
made.settimeout(0.02)
made.sendto(b'lost', ('127.0.0.1', 9))
try:
    made.recvfrom(100)
except TimeoutError:
    made.sendto(b'out', ('10.1.1.1', 53))
"""
    assert "PermissionError" in await failure(instance, source)
    assert 'connect: ["10.1.1.1:53"]' in lines[0]
