"""What holds over NATS when the server dies, restarts, forgets or hangs."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from lattice.bus.base import CAUGHT_UP, Connection, Entry, Packet, Write
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.jetstream import ensure_stores
from lattice.bus.link import Link
from lattice.bus.linking import connect_link
from lattice.bus.options import ConnectOptions
from lattice.errors import OutcomeUnknownError, UnavailableError
from lattice.testing import LATTICE, eventually, new_host
from lattice.wire.subjects import CALL_QUEUE, Names
from tests.contract.joining import SMALL, joined
from tests.contract.server import PlainServer
from tests.contract.taking import take, take_all, take_one

pytestmark = [pytest.mark.nats, pytest.mark.usefixtures("each_client")]

NAMES = Names(LATTICE)
CALL = NAMES.call("search", "", "find")


async def echo(packet: Packet) -> bytes:
    return packet.body


@asynccontextmanager
async def joined_host(nats: EmbeddedNats) -> AsyncIterator[tuple[Link, Connection]]:
    async with joined(nats, "host", await new_host(nats)) as (link, connection):
        yield link, connection


def freeze(nats: EmbeddedNats) -> None:
    """Let the server answer nothing while its connections stay."""
    os.kill(nats.pid, signal.SIGSTOP)
    os.waitpid(nats.pid, os.WUNTRACED)  # all its threads stand; the signal alone takes its time


async def reconnected(link: Link, count: int = 1) -> None:
    await eventually(lambda: link.reconnects >= count, what="the client reconnects")


async def crash_and_restart(nats: EmbeddedNats) -> None:
    await nats.kill()
    await nats.restart()


async def test_a_watch_misses_nothing_and_repeats_nothing_over_crashes(
    fresh_nats: EmbeddedNats,
) -> None:
    async with (
        joined(fresh_nats, "scheduler") as (link, lattice),
        lattice.control.watch("k") as changes,
    ):
        revision = await lattice.control.put("k.a", b"0")
        assert await take(changes, 2) == [
            CAUGHT_UP,
            Entry(key="k.a", value=b"0", revision=revision),
        ]
        await lattice.control.put("k.gone", b"0")
        await take_one(changes)
        for crash in range(1, 4):
            await crash_and_restart(fresh_nats)
            await reconnected(link, crash)
            # Written by another connection, so possibly before the watch has resumed.
            async with joined(fresh_nats, "scheduler") as (_, other):
                revision = await other.control.put(f"k.{crash}", b"new")
                gone = await other.control.delete("k.gone")
            expected = [Entry(key=f"k.{crash}", value=b"new", revision=revision)]
            if crash == 1:
                expected.append(Entry(key="k.gone", value=None, revision=gone))
            assert await take(changes, len(expected)) == expected


async def test_a_watch_tells_the_differences_when_the_bucket_was_lost(
    fresh_nats: EmbeddedNats,
) -> None:
    async with (
        joined(fresh_nats, "scheduler") as (link, lattice),
        lattice.control.watch() as changes,
    ):
        await lattice.control.put_many([Write(key=key, value=b"old") for key in ("a", "b", "c")])
        assert len(await take(changes, 4)) == 4
        await fresh_nats.kill()
        shutil.rmtree(fresh_nats.directory / "jetstream")
        await fresh_nats.restart()
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
    fresh_nats: EmbeddedNats,
) -> None:
    subject = NAMES.event("a", "b")
    async with (
        joined_host(fresh_nats) as (link, host),
        joined(fresh_nats, "operator") as (_, operator),
    ):
        async with operator.events.read(follow=True) as records:
            for number in range(300):
                await host.events.append(subject, b"%d" % number)
            assert len(await take(records, 100)) == 100
            await crash_and_restart(fresh_nats)
            await reconnected(link)
            for number in range(300, 310):
                await host.events.append(subject, b"%d" % number)
            rest = await take(records, 210)
        assert [record.body for record in rest] == [b"%d" % number for number in range(100, 310)]


async def test_subscriptions_and_servers_go_on_after_a_crash(fresh_nats: EmbeddedNats) -> None:
    async with (
        joined_host(fresh_nats) as (host_link, host),
        joined(fresh_nats, "client") as (client_link, client),
        host.bus.serve(CALL, echo, queue=CALL_QUEUE),
        client.bus.subscribe(NAMES.events()) as packets,
    ):
        await crash_and_restart(fresh_nats)
        await reconnected(host_link)
        await reconnected(client_link)
        await host.bus.flush()  # its subscriptions are made again
        assert (await client.bus.request(CALL, b"x", timeout_s=5)).body == b"x"
        await client.bus.flush()
        await host.bus.publish(NAMES.event("heard", "h"), b"y")
        assert (await take_one(packets)).body == b"y"


async def test_stored_values_and_objects_outlive_a_crash(fresh_nats: EmbeddedNats) -> None:
    body = b"object" * 100_000
    async with joined(fresh_nats, "scheduler") as (link, lattice):
        revision = await lattice.control.put("a", b"1")
        digest = await lattice.artifacts.put(body)
        await crash_and_restart(fresh_nats)
        await reconnected(link)
        assert await lattice.control.get("a") == Entry(key="a", value=b"1", revision=revision)
        assert await lattice.artifacts.get(digest) == body
        assert await lattice.control.put("a", b"2", expect=revision) > revision


async def test_without_a_server_everything_is_unavailable_and_nothing_waits_in_secret(
    fresh_nats: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lattice.bus.jetstream_api.ANSWER_S", 0.1)
    async with joined(fresh_nats, "scheduler") as (link, lattice):
        await fresh_nats.kill()
        await eventually(lambda: link.state == "disconnected", what="the loss is noticed")
        with pytest.raises(UnavailableError, match="down, reconnecting"):
            await lattice.bus.publish(NAMES.ping(), b"1")
        with pytest.raises(UnavailableError, match="down, reconnecting"):
            await lattice.bus.request(NAMES.ping(), b"1", timeout_s=0.05)
        with pytest.raises(UnavailableError, match="down, reconnecting"):
            await lattice.bus.flush()
        with pytest.raises(UnavailableError) as caught:
            await lattice.control.put("a", b"1")
        assert not isinstance(caught.value, OutcomeUnknownError)  # it was never sent
        await fresh_nats.restart()
        await reconnected(link)
        assert await lattice.control.keys() == ()


async def test_a_request_waits_for_the_connection_within_its_time(fresh_nats: EmbeddedNats) -> None:
    async with (
        joined_host(fresh_nats) as (link, host),
        host.bus.serve(CALL, echo, queue=CALL_QUEUE),
    ):
        await fresh_nats.kill()
        await eventually(lambda: link.state == "disconnected", what="the loss is noticed")
        replies: list[bytes] = []

        async def ask() -> None:
            replies.append((await host.bus.request(CALL, b"x", timeout_s=10)).body)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.lowlevel.checkpoint()
            await fresh_nats.restart()
        assert replies == [b"x"]


async def test_a_write_whose_answer_is_lost_with_the_connection_has_an_unknown_outcome(
    fresh_nats: EmbeddedNats,
) -> None:
    async with joined(fresh_nats, "scheduler") as (_, lattice):
        await lattice.control.put("a", b"0")
        freeze(fresh_nats)
        failed = anyio.Event()

        async def write() -> None:
            with pytest.raises(OutcomeUnknownError, match=r"lat_test_ctl\.a may or may not"):
                await lattice.control.put("a", b"1")
            with pytest.raises(UnavailableError):
                await lattice.bus.publish(NAMES.ping())
            failed.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await lattice.bus.publish(NAMES.ping())  # the request is on its way when this returns
            await anyio.lowlevel.checkpoint()
            await fresh_nats.kill()
            with anyio.fail_after(3):  # well below the time limit of the write
                await failed.wait()


async def test_a_write_without_an_answer_in_time_has_an_unknown_outcome(
    fresh_nats: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lattice.bus.jetstream_api.ANSWER_S", 0.1)
    monkeypatch.setattr("lattice.bus.jetstream_store.BATCH_ANSWER_S", 0.1)
    async with joined(fresh_nats, "scheduler") as (_, lattice):
        await lattice.control.put("a", b"0")
        freeze(fresh_nats)
        with pytest.raises(OutcomeUnknownError):
            await lattice.control.put("a", b"1")
        with pytest.raises(OutcomeUnknownError):
            await lattice.control.delete("a")
        with pytest.raises(OutcomeUnknownError):
            await lattice.control.put_many([Write(key="a", value=b"1")])
        with pytest.raises(OutcomeUnknownError):
            await lattice.events.append(NAMES.event("a", "b"), b"1")
        await fresh_nats.kill()


async def test_leaving_a_connection_without_a_server_does_not_hang(
    fresh_nats: EmbeddedNats,
) -> None:
    with anyio.fail_after(8):
        async with (
            joined(fresh_nats, "scheduler") as (_, lattice),
            lattice.control.watch() as changes,
        ):
            await take_one(changes)
            await fresh_nats.kill()


async def test_closing_ends_the_requests_that_wait(fresh_nats: EmbeddedNats) -> None:
    ended = anyio.Event()

    async def ask(connection: Connection) -> None:
        with pytest.raises(UnavailableError, match="was closed"):
            await connection.bus.request(CALL, timeout_s=60)
        ended.set()

    async with anyio.create_task_group() as tasks:
        async with (
            joined_host(fresh_nats) as (_, host),
            host.bus.subscribe(CALL, queue=CALL_QUEUE) as requests,
            joined(fresh_nats, "client") as (_, client),
        ):
            tasks.start_soon(ask, client)
            await take_one(requests)
        with anyio.fail_after(3):
            await ended.wait()


async def test_a_closed_connection_says_so(fresh_nats: EmbeddedNats) -> None:
    async with joined(fresh_nats, "scheduler") as (link, lattice):
        pass
    assert (link.state, lattice.bus.state) == ("closed", "closed")
    with pytest.raises(UnavailableError, match="is closed"):
        await lattice.bus.publish(NAMES.ping())
    with pytest.raises(UnavailableError, match="is closed"):
        await lattice.bus.request(NAMES.ping(), timeout_s=5)
    with pytest.raises(UnavailableError, match="is closed"):
        await lattice.control.get("a")
    with pytest.raises(UnavailableError, match="is closed"):
        async with lattice.bus.subscribe(NAMES.events()) as packets:
            await take_all(packets)


async def test_a_server_that_refuses_for_a_while_does_not_end_the_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain server, because the product's own only ever lets more users in."""
    users = "authorization {{ users: [ {{ user: {name}, password: x }} ] }}"
    server = PlainServer(tmp_path, users.format(name="me"))
    server.start()
    try:
        options = ConnectOptions(servers=(server.url,), user="me", password="x")
        async with connect_link(options) as link:
            server.reload(users.format(name="other"))
            await eventually(lambda: "authorization violation" in caplog.text.lower())
            assert link.state == "disconnected"
            server.reload(users.format(name="me"))
            await reconnected(link)
            await link.flush()
        assert caplog.text.lower().count("authorization violation") <= 2  # told, not repeated
    finally:
        server.stop()
