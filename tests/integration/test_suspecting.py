"""Hints and probes over a real NATS: whose connection ended, and whether it is there again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from lattice.bus.base import Connection, Packet
from lattice.bus.embedded import EmbeddedNats
from lattice.errors import DeniedError
from lattice.model.ids import HostId
from lattice.testing import LATTICE, WAIT_S, connect_as, eventually, new_host, running_nats
from lattice.wire.subjects import Names
from scheduler.probing import Hinted, Probe, Probed
from scheduler.suspecting import hear_disconnects, probe

pytestmark = pytest.mark.nats

NAMES = Names(LATTICE)


@pytest.fixture
async def nats() -> AsyncIterator[EmbeddedNats]:
    async with running_nats() as server:
        yield server


@pytest.fixture
async def scheduler(nats: EmbeddedNats) -> AsyncIterator[Connection]:
    async with connect_as(nats, "scheduler") as connection:
        yield connection


async def test_scheduler_hears_whose_connection_ended_and_finds_nobody_there(
    nats: EmbeddedNats, scheduler: Connection
) -> None:
    identity = await new_host(nats)
    host = HostId(identity.id)
    asked = Probe(host=host, ticket=7)
    hints: list[Hinted] = []

    async def there(_: Packet) -> bytes:
        return b""

    async with anyio.create_task_group() as group:
        group.start_soon(hear_disconnects, scheduler.bus, NAMES, hints.append)
        async with (
            connect_as(nats, "host", identity=identity) as connection,
            connection.bus.serve(NAMES.host_control(host, "*"), there),
        ):
            answered = Probed(host=host, ticket=7, outcome="answered")
            assert await probe(scheduler.bus, NAMES, asked) == answered
        await eventually(lambda: any(hint.host == host for hint in hints), timeout_s=WAIT_S)
        absent = Probed(host=host, ticket=7, outcome="absent")
        assert await probe(scheduler.bus, NAMES, asked) == absent
        group.cancel_scope.cancel()


async def test_host_that_stands_still_does_not_answer_and_is_not_absent(
    nats: EmbeddedNats, scheduler: Connection
) -> None:
    identity = await new_host(nats)
    host = HostId(identity.id)

    async def never(_: Packet) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError

    async with connect_as(nats, "host", identity=identity) as connection:
        with anyio.move_on_after(WAIT_S) as limit:
            async with connection.bus.serve(NAMES.host_control(host, "*"), never):
                unknown = Probed(host=host, ticket=1, outcome="unknown")
                assert await probe(scheduler.bus, NAMES, Probe(host=host, ticket=1)) == unknown
                limit.cancel()


@pytest.mark.parametrize("role", ["client", "operator"])
async def test_nobody_else_hears_who_disconnects(nats: EmbeddedNats, role: str) -> None:
    async with connect_as(nats, role) as connection:  # type: ignore[arg-type]  # one of the roles
        with pytest.raises(DeniedError):
            async with connection.bus.subscribe(NAMES.disconnects()):
                pass
