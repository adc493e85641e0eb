"""Each contract test runs over memory and over a real server, on a fresh lattice of its own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lattice.bus.base import Bus, Connection, Log, Objects, Store
from lattice.bus.jetstream import StoreLimits, ensure_stores, open_connection
from lattice.bus.memory import memory_connection
from lattice.bus.nats_connect import connect_nats
from lattice.bus.options import ConnectOptions
from lattice.wire.subjects import Names
from tests.contract.server import PlainServer

SMALL = StoreLimits(
    control_bytes=8 << 20, hosts_bytes=1 << 20, events_bytes=8 << 20, artifacts_bytes=64 << 20
)

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainServer]:
    server = PlainServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PlainServer]:
    """A server for one test, which may kill it."""
    server = PlainServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    lattice = f"l{next(_numbers)}"
    if request.param == "memory":
        yield memory_connection(lattice)
        return
    server: PlainServer = request.getfixturevalue("plain_server")
    async with connect_nats(ConnectOptions(servers=(server.url,))) as link:
        await ensure_stores(link, Names(lattice), limits=SMALL)
        yield open_connection(link, lattice)


@pytest.fixture
async def other(
    connection: Connection, request: pytest.FixtureRequest
) -> AsyncIterator[Connection]:
    """What a second process holds of the same lattice."""
    if "memory" in request.node.callspec.id:
        yield connection
        return
    server: PlainServer = request.getfixturevalue("plain_server")
    async with connect_nats(ConnectOptions(servers=(server.url,))) as link:
        yield open_connection(link, connection.lattice)


@pytest.fixture
def bus(connection: Connection) -> Bus:
    return connection.bus


@pytest.fixture
def store(connection: Connection) -> Store:
    return connection.control


@pytest.fixture
def log(connection: Connection) -> Log:
    return connection.events


@pytest.fixture
def objects(connection: Connection) -> Objects:
    return connection.artifacts
