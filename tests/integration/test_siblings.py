"""Connections that one worker hands to another, between real processes."""

from __future__ import annotations

import array
import gc
import os
import socket
import sys
from contextlib import aclosing, contextmanager

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from hosts.siblings import (
    LAYOUT,
    PREFIX_BYTES_MAX,
    Siblings,
    runtime_directory,
    socket_path,
)
from lattice.errors import InvalidError, NoRouteError, OverloadedError

SIBLING = """
import sys, anyio
from pathlib import Path
from hosts.siblings import Siblings

async def main():
    with Siblings(Path(sys.argv[1]), 1) as siblings:
        print("ready", flush=True)
        async for handed in siblings.received():
            handed.connection.setblocking(True)
            rest = handed.connection.recv(1000)
            handed.connection.sendall(b"got " + handed.prefix + rest)
            handed.connection.close()

anyio.run(main)
"""


@contextmanager
def connection():
    """Yield both ends of a TCP connection: the client's and the accepted one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    client.settimeout(10)
    try:
        yield client, accepted
    finally:
        client.close()
        accepted.close()


@pytest.fixture
def directory():
    with runtime_directory() as directory:
        yield directory
    assert not directory.exists()


def flood(siblings, clients):
    """Hand over connections without end; the other ends are put into `clients`."""
    while True:
        client, accepted = socket.socketpair()
        clients.append(client)
        with accepted:
            siblings.hand(1, accepted)


async def first(siblings):
    with anyio.fail_after(10):
        async with aclosing(siblings.received()) as received:
            return await anext(received)


async def test_another_process_answers_on_a_connection_that_it_was_handed(directory):
    words = [sys.executable, "-c", SIBLING, str(directory)]
    async with await anyio.open_process(words, stderr=None) as process:
        assert process.stdout is not None
        await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 100)
        with Siblings(directory, 0) as siblings:
            for number in range(3):
                with connection() as (client, accepted):
                    siblings.hand(1, accepted, b"GET /%d" % number)
                    assert accepted.fileno() < 0, "it is the sibling's now"
                    client.sendall(b" HTTP/1.1")
                    assert await anyio.to_thread.run_sync(client.recv, 1000) == (
                        b"got GET /%d HTTP/1.1" % number
                    )
        process.kill()


@pytest.mark.parametrize("size", [0, 1, PREFIX_BYTES_MAX])
async def test_the_bytes_read_so_far_come_along(directory, size):
    prefix = os.urandom(size)
    with (
        Siblings(directory, 0) as one,
        Siblings(directory, 1) as other,
        connection() as (client, accepted),
    ):
        one.hand(1, accepted, prefix)
        handed = await first(other)
        assert handed.prefix == prefix
        handed.connection.send(b"hello")
        assert client.recv(100) == b"hello"
        handed.connection.close()


def test_too_many_bytes_are_refused_and_the_connection_stays(directory):
    with Siblings(directory, 0) as one, connection() as (client, accepted):
        with pytest.raises(InvalidError, match=f"at most {PREFIX_BYTES_MAX}"):
            one.hand(1, accepted, bytes(PREFIX_BYTES_MAX + 1))
        accepted.send(b"still here")
        assert client.recv(100) == b"still here"


def test_a_sibling_that_is_not_there_leaves_the_connection_here(directory):
    with Siblings(directory, 0) as one, connection() as (client, accepted):
        with pytest.raises(NoRouteError, match="worker 1 takes no connections"):
            one.hand(1, accepted)
        died = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        died.bind(str(socket_path(directory, 1)))
        died.close()  # without removing its name, as a process that was killed
        with pytest.raises(NoRouteError):
            one.hand(1, accepted)
        accepted.send(b"still here")
        assert client.recv(100) == b"still here"


def test_a_worker_that_starts_again_takes_the_place_of_the_one_that_died(directory):
    died = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    died.bind(str(socket_path(directory, 0)))
    died.close()
    with Siblings(directory, 0):
        pass
    assert not socket_path(directory, 0).exists()


def test_a_sibling_that_is_behind_refuses_and_what_waits_is_closed_with_it(directory):
    with Siblings(directory, 0) as one:
        waiting = []
        with (
            Siblings(directory, 1),
            pytest.raises(OverloadedError, match="worker 1 is behind"),
        ):
            flood(one, waiting)
        for client in waiting:
            client.settimeout(10)
            assert client.recv(1) == b""
            client.close()


async def test_what_is_no_handing_over_is_ignored_and_leaks_nothing(directory):
    with Siblings(directory, 1) as siblings, connection() as (_, accepted):
        stranger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = str(socket_path(directory, 1))
        stranger.sendto(b"garbage", address)
        two = array.array("i", [accepted.fileno(), accepted.fileno()])
        one = array.array("i", [accepted.fileno()])
        for body, rights in (
            (LAYOUT, two),
            (b"\xff", one),
            (LAYOUT + bytes(PREFIX_BYTES_MAX + 1), one),
        ):
            stranger.sendmsg([body], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], 0, address)
        with Siblings(directory, 0) as sender:
            before = len(os.listdir("/proc/self/fd"))
            sender.hand(1, accepted, b"good")
            handed = await first(siblings)
        assert handed.prefix == b"good"
        handed.connection.close()
        stranger.close()
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before


def test_the_directory_of_the_sockets_is_private(directory):
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_path_that_is_too_long_for_a_socket_is_invalid(tmp_path):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with pytest.raises(InvalidError, match="no socket for siblings"):
        Siblings(deep, 0).__enter__()
