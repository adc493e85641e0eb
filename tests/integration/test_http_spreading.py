"""Workers that hand connections to each other, in one process on two servers."""

from __future__ import annotations

import socket
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.streams.tls import TLSStream

from hosts.http.base import Exchange
from hosts.http.certificates import LocalCertificate
from hosts.http.server import HttpServer
from hosts.http.spreading import Spreader
from hosts.siblings import Siblings
from tests.integration.http_serving import GET, anyio_backend, until_seen

__all__ = ["anyio_backend"]


@asynccontextmanager
async def worker(directory: Path, number: int, listening, *, workers: int = 2, certificate=None):
    """Run a worker that answers with its number; it yields when it accepts."""

    async def answer(exchange: Exchange) -> None:
        exchange.answer(200, (), b"%d\n" % number)

    server = HttpServer(answer)
    adopt = partial(server.adopt, certificate=certificate)
    async with anyio.create_task_group() as group:
        await group.start(partial(server.serve, [], certificate=certificate))
        spreader = Spreader(Siblings(directory, number), adopt, own=number, workers=workers)
        group.start_soon(spreader.run, listening)
        while not (directory / f"{number}.sock").exists():
            await anyio.lowlevel.checkpoint()
        yield server
        group.cancel_scope.cancel()


def listening_socket() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0))
    made.setblocking(False)
    return made


async def asked(stream) -> str:
    await stream.send(GET)
    answer = await until_seen(stream, b"\r\n\r\n")
    return answer.decode().splitlines()[-1] or (await stream.receive()).decode().strip()


async def test_connections_go_round_and_stay_where_they_went(tmp_path: Path):
    shared, other = listening_socket(), listening_socket()
    port = shared.getsockname()[1]
    async with worker(tmp_path, 0, shared), worker(tmp_path, 1, other), AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
            for _ in range(10)
        ]
        first = [await asked(stream) for stream in streams]
        assert sorted(first) == ["0"] * 5 + ["1"] * 5
        assert [await asked(stream) for stream in streams] == first


async def test_a_sibling_that_is_away_is_passed_over(tmp_path: Path):
    shared = listening_socket()
    port = shared.getsockname()[1]
    async with worker(tmp_path, 0, shared, workers=3) as server:
        for _ in range(4):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                assert await asked(stream) == "0"
        await server.drain(1.0)


@pytest.mark.parametrize("name", ["localhost", "a.localhost"])
async def test_encrypted_connections_go_round_before_their_handshake(tmp_path: Path, name):
    certificate = LocalCertificate(tmp_path / "certificates")
    context = ssl.create_default_context(cafile=certificate.authority)
    shared, other = listening_socket(), listening_socket()
    port = shared.getsockname()[1]
    seen = set()
    async with (
        worker(tmp_path, 0, shared, certificate=certificate),
        worker(tmp_path, 1, other, certificate=certificate),
    ):
        silent = await anyio.connect_tcp("127.0.0.1", port)  # says nothing, and holds nobody up
        for _ in range(3):
            plain = await anyio.connect_tcp("127.0.0.1", port)
            async with await TLSStream.wrap(
                plain, hostname=name, ssl_context=context, standard_compatible=False
            ) as stream:
                seen.add(await asked(stream))
        await silent.aclose()
    assert seen == {"0", "1"}
