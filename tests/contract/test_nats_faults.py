"""What holds over NATS when the server dies, restarts, forgets or hangs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from lattice.bus.base import CAUGHT_UP, Connection, Entry, Packet, Write
from lattice.bus.jetstream import ensure_stores, open_connection
from lattice.bus.nats_connect import connect_nats
from lattice.bus.nats_link import NatsLink
from lattice.bus.options import ConnectOptions
from lattice.errors import OutcomeUnknownError, UnavailableError
from lattice.testing import eventually
from lattice.wire.subjects import Names
from tests.contract.conftest import SMALL
from tests.contract.server import PlainServer
from tests.contract.taking import take, take_all, take_one

pytestmark = pytest.mark.nats

NAMES = Names("faults")


@asynccontextmanager
async def connected(server: PlainServer) -> AsyncIterator[tuple[NatsLink, Connection]]:
    async with connect_nats(ConnectOptions(servers=(server.url,))) as link:
        await ensure_stores(link, NAMES, limits=SMALL)
        yield link, open_connection(link, NAMES.lattice)


async def reconnected(link: NatsLink, count: int = 1) -> None:
    await eventually(lambda: link.reconnects >= count, what="the client reconnects")


def crash_and_restart(server: PlainServer) -> None:
    server.kill()
    server.start()


async def test_a_watch_misses_nothing_and_repeats_nothing_over_crashes(
    own_server: PlainServer,
) -> None:
    async with connected(own_server) as (link, lattice), lattice.control.watch("k") as changes:
        revision = await lattice.control.put("k.a", b"0")
        assert await take(changes, 2) == [
            CAUGHT_UP,
            Entry(key="k.a", value=b"0", revision=revision),
        ]
        await lattice.control.put("k.gone", b"0")
        await take_one(changes)
        for crash in range(1, 4):
            crash_and_restart(own_server)
            await reconnected(link, crash)
            # Written by another connection, so possibly before the watch has resumed.
            async with connected(own_server) as (_, other):
                revision = await other.control.put(f"k.{crash}", b"new")
                gone = await other.control.delete("k.gone")
            expected = [Entry(key=f"k.{crash}", value=b"new", revision=revision)]
            if crash == 1:
                expected.append(Entry(key="k.gone", value=None, revision=gone))
            assert await take(changes, len(expected)) == expected


async def test_a_watch_tells_the_differences_when_the_bucket_was_lost(
    own_server: PlainServer,
) -> None:
    async with connected(own_server) as (link, lattice), lattice.control.watch() as changes:
        await lattice.control.put_many([Write(key=key, value=b"old") for key in ("a", "b", "c")])
        assert len(await take(changes, 4)) == 4
        own_server.kill()
        own_server.forget()
        own_server.start()
        await reconnected(link)
        await ensure_stores(link, NAMES, limits=SMALL)
        await lattice.control.put_many([Write(key="a", value=b"new"), Write(key="b", value=b"old")])

        told: dict[str, bytes | None] = {}
        while told.get("a") != b"new" or "c" not in told:
            change = await take_one(changes)
            assert isinstance(change, Entry)
            told[change.key] = change.value
        assert told["c"] is None
        assert told.get("b", b"old") == b"old"


async def test_a_followed_log_misses_nothing_and_repeats_nothing_over_a_crash(
    own_server: PlainServer,
) -> None:
    subject = NAMES.event("a", "b")
    async with connected(own_server) as (link, lattice):
        async with lattice.events.read(follow=True) as records:
            for number in range(300):
                await lattice.events.append(subject, b"%d" % number)
            assert len(await take(records, 100)) == 100
            crash_and_restart(own_server)
            await reconnected(link)
            for number in range(300, 310):
                await lattice.events.append(subject, b"%d" % number)
            rest = await take(records, 210)
        assert [record.body for record in rest] == [b"%d" % number for number in range(100, 310)]


async def test_subscriptions_and_servers_go_on_after_a_crash(own_server: PlainServer) -> None:
    async def echo(packet: Packet) -> bytes:
        return packet.body

    async with (
        connected(own_server) as (link, lattice),
        lattice.bus.serve("served", echo, queue="q"),
        lattice.bus.subscribe("heard") as packets,
    ):
        crash_and_restart(own_server)
        await reconnected(link)
        assert (await lattice.bus.request("served", b"x", timeout_s=5)).body == b"x"
        await lattice.bus.publish("heard", b"y")
        assert (await take_one(packets)).body == b"y"


async def test_stored_values_and_objects_outlive_a_crash(own_server: PlainServer) -> None:
    body = b"object" * 100_000
    async with connected(own_server) as (link, lattice):
        revision = await lattice.control.put("a", b"1")
        digest = await lattice.artifacts.put(body)
        crash_and_restart(own_server)
        await reconnected(link)
        assert await lattice.control.get("a") == Entry(key="a", value=b"1", revision=revision)
        assert await lattice.artifacts.get(digest) == body
        assert await lattice.control.put("a", b"2", expect=revision) > revision


async def test_without_a_server_everything_is_unavailable_and_nothing_waits_in_secret(
    own_server: PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lattice.bus.jetstream_api.ANSWER_S", 0.1)
    async with connected(own_server) as (link, lattice):
        own_server.kill()
        await eventually(lambda: link.state == "disconnected", what="the loss is noticed")
        with pytest.raises(UnavailableError, match="down, reconnecting"):
            await lattice.bus.publish("a", b"1")
        with pytest.raises(UnavailableError, match="down, reconnecting"):
            await lattice.bus.request("a", b"1", timeout_s=0.05)
        with pytest.raises(UnavailableError, match="down, reconnecting"):
            await lattice.bus.flush()
        with pytest.raises(UnavailableError) as caught:
            await lattice.control.put("a", b"1")
        assert not isinstance(caught.value, OutcomeUnknownError)  # it was never sent
        own_server.start()
        await reconnected(link)
        assert await lattice.control.keys() == ()


async def test_a_request_waits_for_the_connection_within_its_time(own_server: PlainServer) -> None:
    async def echo(packet: Packet) -> bytes:
        return packet.body

    async with connected(own_server) as (link, lattice), lattice.bus.serve("a", echo):
        own_server.kill()
        await eventually(lambda: link.state == "disconnected", what="the loss is noticed")
        replies: list[bytes] = []

        async def ask() -> None:
            replies.append((await lattice.bus.request("a", b"x", timeout_s=10)).body)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.lowlevel.checkpoint()
            own_server.start()
        assert replies == [b"x"]


async def test_a_write_whose_answer_is_lost_with_the_connection_has_an_unknown_outcome(
    own_server: PlainServer,
) -> None:
    async with connected(own_server) as (_, lattice):
        own_server.freeze()
        failed = anyio.Event()

        async def write() -> None:
            with pytest.raises(OutcomeUnknownError, match=r"lat_faults_ctl\.a may or may not"):
                await lattice.control.put("a", b"1")
            with pytest.raises(UnavailableError):
                await lattice.bus.publish("a")
            failed.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await lattice.bus.publish("sent")  # the request is on its way when this returns
            await anyio.lowlevel.checkpoint()
            own_server.kill()
            with anyio.fail_after(3):  # well below the time limit of the write
                await failed.wait()


async def test_a_write_without_an_answer_in_time_has_an_unknown_outcome(
    own_server: PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lattice.bus.jetstream_api.ANSWER_S", 0.1)
    monkeypatch.setattr("lattice.bus.jetstream_store.BATCH_ANSWER_S", 0.1)
    async with connected(own_server) as (_, lattice):
        own_server.freeze()
        with pytest.raises(OutcomeUnknownError):
            await lattice.control.put("a", b"1")
        with pytest.raises(OutcomeUnknownError):
            await lattice.control.delete("a")
        with pytest.raises(OutcomeUnknownError):
            await lattice.control.put_many([Write(key="a", value=b"1")])
        with pytest.raises(OutcomeUnknownError):
            await lattice.events.append(NAMES.event("a", "b"), b"1")
        own_server.kill()


async def test_leaving_a_connection_without_a_server_does_not_hang(own_server: PlainServer) -> None:
    with anyio.fail_after(8):
        async with connected(own_server) as (_, lattice), lattice.control.watch() as changes:
            await take_one(changes)
            own_server.kill()


async def test_closing_ends_the_requests_that_wait(own_server: PlainServer) -> None:
    ended = anyio.Event()

    async def ask(connection: Connection) -> None:
        with pytest.raises(UnavailableError, match="was closed"):
            await connection.bus.request("a", timeout_s=60)
        ended.set()

    async with anyio.create_task_group() as tasks:
        async with (
            connected(own_server) as (_, other),
            other.bus.subscribe("a") as requests,
            connected(own_server) as (_, lattice),
        ):
            tasks.start_soon(ask, lattice)
            await take_one(requests)
        with anyio.fail_after(3):
            await ended.wait()


async def test_a_closed_connection_says_so(own_server: PlainServer) -> None:
    async with connected(own_server) as (link, lattice):
        pass
    assert (link.state, lattice.bus.state) == ("closed", "closed")
    with pytest.raises(UnavailableError, match="is closed"):
        await lattice.bus.publish("a")
    with pytest.raises(UnavailableError, match="is closed"):
        await lattice.bus.request("a", timeout_s=5)
    with pytest.raises(UnavailableError, match="is closed"):
        await lattice.control.get("a")
    with pytest.raises(UnavailableError, match="is closed"):
        async with lattice.bus.subscribe("a") as packets:
            await take_all(packets)


async def test_a_server_that_refuses_for_a_while_does_not_end_the_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users = "authorization {{ users: [ {{ user: {name}, password: x }} ] }}"
    server = PlainServer(tmp_path, users.format(name="me"))
    server.start()
    try:
        options = ConnectOptions(servers=(server.url,), user="me", password="x")
        async with connect_nats(options) as link:
            server.reload(users.format(name="other"))
            await eventually(lambda: "authorization violation" in caplog.text.lower())
            assert link.state == "disconnected"
            server.reload(users.format(name="me"))
            await reconnected(link)
            await link.flush()
        assert caplog.text.lower().count("authorization violation") <= 2  # told, not repeated
    finally:
        server.stop()
