"""A strict singleton in a lattice of real processes whose scheduler is stopped for a while."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from lattice.client.session import LatticeClient
from lattice.errors import LatticeError
from lattice.testing import eventually
from tests.e2e.conftest import Lattice, lattice_up
from tests.e2e.running import (
    PATIENCE_S,
    client_of,
    deploy,
    send,
    until_host,
    until_leading,
    until_placed,
)
from tests.guests import components

pytestmark = [
    pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.slow,
    pytest.mark.timeout(200),
]  # fmt: skip


@pytest.fixture
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lattice]:
    with lattice_up(tmp_path_factory.mktemp("singletons"), "--hosts", "2") as running:
        yield running


async def test_a_strict_singleton_takes_no_calls_while_no_scheduler_answers_and_begins_anew_then(
    lattice: Lattice,
) -> None:
    async with client_of(lattice) as client:
        await until_leading(client)
        for name in ("host-1", "host-2"):
            await until_host(client, name, "ready")
        await deploy(client, "one", {"aservice": components.counter()}, singleton=True)
        await deploy(client, "many", {"bservice": components.counter()}, replicas=1)
        await until_placed(client, "one", 1)
        assert [await next_of(client, "one") for _ in range(2)] == [1, 2]
        assert await next_of(client, "many") == 1
        pid = lattice.pid("scheduler")
        send(pid, signal.SIGSTOP)
        try:
            stopped_s = time.monotonic()

            async def is_refused() -> bool:
                try:
                    await next_of(client, "one")
                except LatticeError:
                    return True
                return False

            await eventually(is_refused, timeout_s=PATIENCE_S)
            assert time.monotonic() - stopped_s < 7, "a lease is 6 s long"
            assert await next_of(client, "many") == 2, "all others go on"
            assert await is_refused(), "and it stays so"
        finally:
            send(pid, signal.SIGCONT)
        await until_leading(client)

        async def is_back() -> bool:
            return not await is_refused()

        await eventually(is_back, timeout_s=PATIENCE_S)
        assert await next_of(client, "one") < 10, "its state began anew"
        await until_placed(client, "one", 1)


async def next_of(client: LatticeClient, name: str) -> int:
    value = await client.call(name, "next", [], deadline_s=1)
    assert isinstance(value, int)
    return value
