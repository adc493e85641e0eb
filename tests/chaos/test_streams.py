"""Long streams in little memory: a gibibyte to a guest and from one, through real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.scale import TIMEOUT_S, sized
from tests.e2e.conftest import Lattice, lattice_up
from tests.e2e.running import client_of, deploy
from tests.guests import components

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.timeout(TIMEOUT_S)]

MIB = 1024 * 1024
SIZE = sized(64, 1024) * MIB

GROWN_MIB_MAX = 32
"""What host and client may need more than after the first mebibytes, however long the streams are:
a few, and as much again as garbage."""


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lattice]:
    with lattice_up(tmp_path_factory.mktemp("streams")) as running:
        yield running


def peak_mib(pid: int | str) -> int:
    """Return the most memory that a process ever had."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition("VmHWM:")[2].split()[0]) // 1024


async def test_long_streams_take_no_more_memory_than_short_ones(lattice: Lattice) -> None:
    host = lattice.pid("host-1")
    async with client_of(lattice) as client:
        await deploy(client, "streams", {"streams": components.streams()})

        async def both_ways(size: int) -> None:
            body = (b"\1" * MIB for _ in range(size // MIB))
            async with client.stream("streams", "total", body=body) as call:
                assert await call.value() == size
            found = 0
            async with client.stream("streams", "produce", [size, 200_000]) as call:
                async for part in call:
                    found += len(part)
            assert found == size

        await both_ways(8 * MIB)
        before = peak_mib("self"), peak_mib(host)
        await both_ways(SIZE)
        grown = peak_mib("self") - before[0], peak_mib(host) - before[1]
    assert max(grown) <= GROWN_MIB_MAX, f"client and host grew by {grown} MiB"
