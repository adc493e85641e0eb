"""Forwarded requests when the NATS server itself goes away, and clients that are no hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from hosts.http.base import Exchange
from lattice.bus.base import Bus
from lattice.bus.connecting import identity_of
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.options import INBOX_PREFIX
from lattice.bus.permissions import inbox_prefix
from lattice.errors import LatticeError
from lattice.testing import LATTICE, connect_as, eventually, settings_for
from lattice.wire.codec import decode_as, encode
from lattice.wire.http import HttpFrame, HttpReply, HttpRequest
from lattice.wire.subjects import Names
from tests.contract.forwarding import Net, Party
from tests.contract.taking import take_one
from tests.integration.recorded_exchange import RecordedExchange

pytestmark = pytest.mark.nats

LIMIT_S = 30.0
NAMES = Names(LATTICE)


async def hello(exchange: Exchange) -> None:
    exchange.answer(200, (), b"hello")


@pytest.fixture
async def pair(fresh_nats: EmbeddedNats) -> AsyncIterator[tuple[Party, Party]]:
    net = Net(fresh_nats)
    async with net.party("near") as near, net.party("far") as far:
        yield near, far


@pytest.mark.parametrize("begins", [False, True])
async def test_a_server_that_dies_ends_what_was_under_way_and_loses_nobody(
    fresh_nats: EmbeddedNats, pair: tuple[Party, Party], begins: bool
) -> None:
    near, far = pair
    started = anyio.Event()

    async def wait(exchange: Exchange) -> None:
        if exchange.head.method == "GET":
            await hello(exchange)
            return
        if begins:
            await exchange.begin(200, ())
        started.set()
        await anyio.sleep_forever()

    await far.serves("site", wait)
    exchange = RecordedExchange(method="POST")
    ended: list[str] = []

    async def ask() -> None:
        with pytest.raises(LatticeError) as failure:
            await near.ask(exchange)
        ended.append(failure.value.kind)

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await started.wait()
            await fresh_nats.kill()
            await eventually(lambda: bool(ended), timeout_s=LIMIT_S)
    assert ended == ["outcome-unknown"]
    assert not exchange.is_whole
    await fresh_nats.restart()

    async def answers() -> bool:
        exchange = RecordedExchange()
        try:
            await near.ask(exchange)
        except LatticeError:
            return False
        return bytes(exchange.received) == b"hello"

    await eventually(answers, timeout_s=LIMIT_S)
    await eventually(lambda: not near.relay.streams and not far.relay.streams)


async def test_a_client_of_nats_streams_both_ways_by_its_inbox(
    fresh_nats: EmbeddedNats, pair: tuple[Party, Party]
) -> None:
    """With the rights of a client, by the words of the protocol alone."""

    async def echo(exchange: Exchange) -> None:
        await exchange.begin(200, ((b"x", b"1"),))
        while part := await exchange.read(65536):
            await exchange.write(part)
        await exchange.finish(((b"t", b"2"),))

    await pair[1].serves("site", echo)
    async with connect_as(fresh_nats, "client") as client:
        bus: Bus = client.bus
        own = inbox_prefix(identity_of(settings_for(fresh_nats, "client")))
        assert own.startswith(INBOX_PREFIX)
        lane = f"{own}.exchange.1"
        async with bus.subscribe(lane) as frames:
            request = HttpRequest(method="POST", body=None, lane=lane, window=5)
            packet = await bus.request(NAMES.http("site"), encode(request), timeout_s=5)
            reply = decode_as(HttpReply, packet.body)
            assert (reply.status, reply.headers) == (200, [b"x", b"1"])
            for number, frame in enumerate(
                (HttpFrame(kind="data", data=b"hello world"), HttpFrame(kind="end"))
            ):
                numbered = HttpFrame(kind=frame.kind, data=frame.data, sequence=number)
                await bus.publish(reply.lane, encode(numbered))

            async def numbered_frame() -> HttpFrame:
                while True:
                    frame = decode_as(HttpFrame, (await take_one(frames)).body)
                    if frame.kind not in ("beat", "grant"):
                        return frame

            first = await numbered_frame()
            assert (first.kind, first.sequence, first.data) == ("data", 0, b"hello")
            await bus.publish(reply.lane, encode(HttpFrame(kind="grant", granted=100)))
            second, last = await numbered_frame(), await numbered_frame()
    assert (second.kind, second.sequence, second.data) == ("data", 1, b" world")
    assert (last.kind, last.sequence, last.headers) == ("end", 2, [b"t", b"2"])
