"""TCP connections of one instance with the machine: as granted, and through the peer's faults."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct

import anyio
import pytest

from hosts.engine.network import tcp
from hosts.engine.network.table import READ, STATE, WRITE
from hosts.engine.network.tcpstream import SEND_BYTES_MAX
from lattice.errors import GuestTrapError
from tests.unit.engine.socket_peers import (
    HERE,
    New,
    Serve,
    address,
    code,
    connect,
    echo,
    granted,
    lines,
    listen,
    new,
    receive,
    send,
    serve,
    silent,
    wait,
)

__all__ = ["lines", "new", "serve"]  # fixtures


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
