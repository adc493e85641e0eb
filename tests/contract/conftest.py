"""Each contract test runs over memory and over a real server, on a lattice of its own.

The server is reached by our own client and by nats-py, which must not differ in anything.

Over the server every party connects as the product does: with the key of its role, and with no
more rights than that. In memory all share one connection, because it knows no roles.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from lattice.bus.base import Bus, Connection, Log, Objects, Store
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.identity import Identity
from lattice.bus.memory import memory_connection
from lattice.bus.permissions import Role
from lattice.config import CLIENT_VARIABLE
from lattice.testing import LATTICE, connect_as, new_host, running_nats
from lattice.wire.subjects import Names
from tests.contract.forwarding import Net, Party
from tests.contract.joining import empty_stores, fresh_token

HOST_IN_MEMORY = "UHOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An empty lattice: in memory, or on a server together with the key of a host."""

    host: str
    memory: Connection | None = None
    nats: EmbeddedNats | None = None
    identity: Identity | None = None

    @asynccontextmanager
    async def joined(self, role: Role) -> AsyncIterator[Connection]:
        """Yield what a process of a role holds of the lattice."""
        if self.nats is None:
            assert self.memory is not None
            yield self.memory
            return
        identity = self.identity if role == "host" else None
        async with connect_as(self.nats, role, identity) as connection:
            yield connection


@pytest.fixture(scope="session")
async def contract_nats(anyio_backend: str) -> AsyncIterator[EmbeddedNats]:
    """A broker whose stores these tests may empty."""
    async with running_nats() as nats:
        yield nats


BOTH_CLIENTS = ("test_bus", "test_serve", "test_store", "test_watch", "test_log_and_objects")
"""The tests of the seam itself, which run over nats-py, too; what is built on it does not."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test in memory and over a server, by our own client and perhaps by nats-py."""
    if "broker" not in metafunc.fixturenames:
        return
    clients = ["muxed"]
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_CLIENTS:
        clients.append("nats-py")
    over_nats = [pytest.param(client, marks=pytest.mark.nats) for client in clients]
    metafunc.parametrize("broker", ["memory", *over_nats], indirect=True)


@pytest.fixture
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> EmbeddedNats | None:
    """The server that a test runs over, by which client, None in memory."""
    if request.param == "memory":
        return None
    monkeypatch.setenv(CLIENT_VARIABLE, request.param)
    nats: EmbeddedNats = request.getfixturevalue("contract_nats")
    return nats


@pytest.fixture(params=["muxed", "nats-py"])
def each_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test about NATS itself once with each client."""
    monkeypatch.setenv(CLIENT_VARIABLE, request.param)
    return str(request.param)


@pytest.fixture
async def world(broker: EmbeddedNats | None) -> World:
    if broker is None:
        return World(host=HOST_IN_MEMORY, memory=memory_connection(LATTICE))
    identity = await new_host(broker)
    return World(host=identity.id, nats=broker, identity=identity)


@pytest.fixture
def names() -> Names:
    return Names(LATTICE)


# --- parties ------------------------------------------------------------------------------------


@pytest.fixture
async def stores(world: World) -> None:
    """Let a test find nothing in the stores."""
    if world.nats is not None:
        await empty_stores(world.nats)


@pytest.fixture
async def scheduler(world: World, stores: None) -> AsyncIterator[Connection]:
    async with world.joined("scheduler") as connection:
        yield connection


@pytest.fixture
async def standby(world: World, stores: None) -> AsyncIterator[Connection]:
    """A second scheduler."""
    async with world.joined("scheduler") as connection:
        yield connection


@pytest.fixture
async def operator(world: World, stores: None) -> AsyncIterator[Connection]:
    async with world.joined("operator") as connection:
        yield connection


@pytest.fixture
async def client(world: World) -> AsyncIterator[Connection]:
    async with world.joined("client") as connection:
        yield connection


@pytest.fixture
async def host(world: World) -> AsyncIterator[Connection]:
    async with world.joined("host") as connection:
        yield connection


@pytest.fixture
async def sibling(world: World) -> AsyncIterator[Connection]:
    """A second process of the host."""
    async with world.joined("host") as connection:
        yield connection


# --- what they do -------------------------------------------------------------------------------


class At:
    """Subjects that hosts may hear and others ask: calls to one host, of this test alone."""

    def __init__(self, names: Names, host: str) -> None:
        self._base = f"{names.calls_at(host).removesuffix('.>')}.{fresh_token()}"

    def __call__(self, tail: str) -> str:
        return f"{self._base}.{tail}"


@pytest.fixture
def at(names: Names, world: World) -> At:
    return At(names, world.host)


@pytest.fixture
def asking(client: Connection) -> Bus:
    """The bus of who publishes and asks."""
    return client.bus


@pytest.fixture
def serving(host: Connection) -> Bus:
    """The bus of who listens and answers."""
    return host.bus


@pytest.fixture
def also_serving(sibling: Connection) -> Bus:
    return sibling.bus


@pytest.fixture
def store(scheduler: Connection) -> Store:
    """The control bucket, which schedulers alone write."""
    return scheduler.control


@pytest.fixture
def same_store(standby: Connection) -> Store:
    return standby.control


@pytest.fixture
def log(host: Connection, stores: None) -> Log:
    """The log of who appends."""
    return host.events


@pytest.fixture
def read_log(operator: Connection) -> Log:
    return operator.events


@pytest.fixture
def objects(operator: Connection) -> Objects:
    """The objects of who puts them."""
    return operator.artifacts


@pytest.fixture
def read_objects(host: Connection) -> Objects:
    return host.artifacts


@pytest.fixture
def net(broker: EmbeddedNats | None) -> Net:
    """Return what joins hosts that forward requests over HTTP."""
    return Net(broker)


@pytest.fixture
async def near(net: Net) -> AsyncIterator[Party]:
    """The host that takes requests of clients, or whose guest asks."""
    async with net.party("near") as party:
        yield party


@pytest.fixture
async def far(net: Net) -> AsyncIterator[Party]:
    """A host that answers them."""
    async with net.party("far") as party:
        yield party
