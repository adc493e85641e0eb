"""Services that own connections: to a server of the machine, and inside their workload."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from lattice.errors import LatticeError
from lattice.testing import eventually
from tests.guests import components
from tests.guests.networked import pool, server
from tests.integration.host_world import World
from tests.integration.test_host import running, until_running

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.timeout(300),  # the first run builds the guests
]

CALLS = 10_000
CONNECTIONS = 4

COUNTER = "test:counter/counter@0.1.0"
TICKET = "test:ticket/ticket@0.1.0"


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.getbasetemp() / "compiled")


class Server:
    """A server of the machine that answers each byte with the number of bytes so far."""

    def __init__(self) -> None:
        self.accepted = self.open = self.answered = 0
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        with suppress(ConnectionError):
            while questions := await reader.read(64):
                for _ in questions:
                    self.answered += 1
                    writer.write(struct.pack("<Q", self.answered))
        writer.close()
        self.open -= 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        serving = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = serving.sockets[0].getsockname()[1]
        yield
        serving.close()


async def test_a_service_answers_ten_thousand_calls_over_four_pooled_connections(
    world: World, tmp_path: Path
) -> None:
    machine = Server()
    async with machine.running():
        await world.submit(
            "tickets",
            {"ticket": components.ticket(), "poolservice": pool()},
            poolservice={
                "env": {"POOL_PORT": str(machine.port)},
                "network": {"connect": [f"127.0.0.0/8:{machine.port}"]},
            },
            expose=[TICKET],
        )
        async with running(world, tmp_path):
            await world.assign("H1", ("tickets", 1, 1))
            await until_running(world, "tickets")
            for number in range(1, CALLS + 1):
                assert await world.call("tickets", TICKET, "draw") == number + 1
            assert (machine.accepted, machine.open) == (CONNECTIONS, CONNECTIONS)
            assert machine.answered == CALLS
            await world.assign("H1")
            await eventually(lambda: machine.open == 0)


async def test_the_server_may_be_a_process_of_the_same_workload(
    world: World, tmp_path: Path
) -> None:
    port = {"env": {"POOL_PORT": "7000"}}
    parts = {"ticket": components.ticket(), "poolservice": pool(), "serverservice": server()}
    await world.submit("tickets", parts, poolservice=port, serverservice=port, expose=[TICKET])
    async with running(world, tmp_path):
        # Two replicas, each with a server of its own at the same port.
        await world.assign("H1", ("tickets", 1, 2))
        await until_running(world, "tickets")
        drawn = [await world.call("tickets", TICKET, "draw") for _ in range(1000)]
        most = max(drawn) - 1  # calls that one server answered; the other had the rest
        assert sorted(drawn) == sorted([*range(2, 2 + most), *range(2, 2 + len(drawn) - most)])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", 7000)


async def test_a_service_without_a_grant_does_not_reach_the_machine(
    world: World, tmp_path: Path
) -> None:
    machine = Server()
    async with machine.running():
        await world.submit(
            "counter",
            {"poolservice": pool()},
            poolservice={"env": {"POOL_PORT": str(machine.port)}},
        )
        async with running(world, tmp_path):
            await world.assign("H1", ("counter", 1, 1))
            await eventually(
                lambda: world.states("H1").get("counter", ("", ""))[0] not in ("", "running"),
                timeout_s=20,
            )
            with pytest.raises(LatticeError):
                await world.call("counter", COUNTER, "next")
        assert machine.accepted == 0
