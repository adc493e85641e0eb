"""Every host of a lattice is restarted under load, one after the other, and no call is lost."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest

from lattice.client.session import LatticeClient
from lattice.errors import LatticeError
from lattice.testing import eventually
from lattice.wire.codec import encode
from lattice.wire.subjects import Names
from tests.e2e.conftest import lattice_up
from tests.e2e.hosts import Hosts
from tests.e2e.running import (
    PATIENCE_S,
    client_of,
    deploy,
    is_alive,
    until_host,
    until_leading,
    until_placed,
)
from tests.guests import components

pytestmark = [
    pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.slow,
    pytest.mark.timeout(300),
]  # fmt: skip

CALLERS = 4
"""Calls that are under way at any time."""


@pytest.fixture
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with lattice_up(tmp_path_factory.mktemp("rolling"), "--hosts", "2") as running:
        found = Hosts(running)
        try:
            yield found
        finally:
            found.end()


class Load:
    """Calls of deployments, on and on; what failed is kept."""

    def __init__(self, client: LatticeClient, *names: str) -> None:
        self.client, self.names = client, names
        self.answered = 0
        self.failed: list[str] = []

    async def call_on_and_on(self, name: str) -> None:
        while True:
            try:
                assert await self.client.call(name, "add", [self.answered, 1], deadline_s=10) >= 1
            except LatticeError as exc:
                self.failed.append(f"{name}: {exc.kind} {exc}")
            else:
                self.answered += 1

    async def until_more(self, count: int = 100) -> None:
        """Return when so many more were answered."""
        wanted = self.answered + count
        await eventually(lambda: self.answered >= wanted, timeout_s=PATIENCE_S)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            for name in self.names:
                for _ in range(CALLERS):
                    group.start_soon(self.call_on_and_on, name)
            yield
            group.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["drained", "terminated"])
async def test_every_host_is_restarted_under_load_and_no_call_fails(hosts: Hosts, how: str) -> None:
    async with client_of(hosts.lattice) as client:
        await until_leading(client)
        for name in hosts.pids:
            await until_host(client, name, "ready")
        await deploy(client, "single", {"add": components.add()}, replicas=1)
        await deploy(client, "double", {"add": components.add()}, replicas=2)
        load = Load(client, "single", "double")
        async with load.running():
            for name in tuple(hosts.pids):
                await load.until_more()
                await restart(client, hosts, name, is_drained=how == "drained")
                await until_placed(client, "single", 1)
                await until_placed(client, "double", 2)
            await load.until_more()
        assert load.failed == []


async def restart(client: LatticeClient, hosts: Hosts, name: str, *, is_drained: bool) -> None:
    """Let a host end, after its replicas are elsewhere or at once, and start it again."""
    pid = hosts.pids[name]
    if is_drained:
        subject = Names(client.connection.lattice).host_control(hosts.lattice.host_id(name), "stop")
        await client.connection.bus.request(subject, encode({"drain_s": 60}), timeout_s=5)
    else:
        hosts.send(name, signal.SIGTERM)
    await eventually(lambda: not is_alive(pid), timeout_s=PATIENCE_S, what=f"{name} ends")
    await until_host(client, name, "")
    hosts.start(name)
    await until_host(client, name, "ready")
