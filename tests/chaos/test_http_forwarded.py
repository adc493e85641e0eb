"""Bodies that are far larger than memory should be, from host to host over a real server."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from hosts.http.base import Exchange
from hosts.http.lanes import Pace
from lattice.testing import running_nats
from tests.chaos.scale import TIMEOUT_S, sized
from tests.contract.forwarding import Net
from tests.integration.recorded_exchange import RecordedExchange

pytestmark = [pytest.mark.nats, pytest.mark.timeout(TIMEOUT_S)]

PART = bytes(range(256)) * 256
PARTS = sized(64 << 20, 1 << 30) // len(PART)
GROWTH_BYTES = 32 << 20
"""More than the windows of one exchange on both of its sides, and less than any body here."""


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


class Measured(RecordedExchange):
    """A client that takes all and keeps nothing, and notes how much memory the process has."""

    peak_bytes = 0
    taken = 0

    async def write(self, data: bytes) -> None:
        self.taken += len(data)
        self.peak_bytes = max(self.peak_bytes, resident_bytes())
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("way", ["up", "down", "both"])
async def test_a_long_body_passes_from_host_to_host_in_little_memory(way: str) -> None:
    read = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal read
        await exchange.begin(200, ())
        if way == "down":
            for _ in range(PARTS):
                await exchange.write(PART)
        while part := await exchange.read(len(PART)):
            read += len(part)
            if way == "both":
                await exchange.write(part)
        await exchange.write(b"end")
        await exchange.finish()

    async with running_nats() as nats:
        net = Net(nats)
        async with net.party("near", pace=Pace()) as near, net.party("far", pace=Pace()) as far:
            await far.serves("site", answer)
            sent = 0 if way == "down" else PARTS
            exchange = Measured(method="POST", parts=(PART for _ in range(sent)))
            before = resident_bytes()
            await near.ask(exchange)
    wanted = 0 if way == "up" else PARTS * len(PART)
    assert exchange.taken == wanted + len(b"end")
    assert read == sent * len(PART)
    assert exchange.peak_bytes - before < GROWTH_BYTES


async def test_many_exchanges_at_once_keep_apart() -> None:
    """Each with bodies of its own, and with clients that leave in the middle."""
    count, parts = sized(40, 400), sized(20, 60)

    async def echo(exchange: Exchange) -> None:
        await exchange.begin(200, ())
        while part := await exchange.read(len(PART)):
            await exchange.write(part)
        await exchange.finish()

    async with running_nats() as nats:
        net = Net(nats)
        async with net.party("near", pace=Pace()) as near, net.party("far", pace=Pace()) as far:
            await far.serves("site", echo)
            exchanges = [
                RecordedExchange(method="POST", parts=[bytes([n % 251]) * 20_000] * parts)
                for n in range(count)
            ]
            async with anyio.create_task_group() as group:
                for number, exchange in enumerate(exchanges):
                    if number % 4 == 3:
                        group.start_soon(_ask_and_leave, near, exchange)
                    else:
                        group.start_soon(near.ask, exchange)
            for number, exchange in enumerate(exchanges):
                if number % 4 != 3:
                    assert bytes(exchange.received) == bytes([number % 251]) * 20_000 * parts
            with anyio.fail_after(20):
                while near.relay.streams or far.relay.streams:
                    await anyio.lowlevel.checkpoint()


async def _ask_and_leave(near: object, exchange: RecordedExchange) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(near.ask, exchange)  # type: ignore[attr-defined]  # a Party
        await exchange.begun.wait()
        group.cancel_scope.cancel()
