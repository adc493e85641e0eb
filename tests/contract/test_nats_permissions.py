"""What a missing permission looks like at this seam: `DeniedError` at once, and nothing changed.

Which role has which permission is the matter of tests/integration/test_permissions.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from lattice.bus.base import CAUGHT_UP, Connection, Entry, Packet, Write
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.identity import Identity
from lattice.bus.jetstream import ensure_stores, open_connection
from lattice.bus.linking import connect_link
from lattice.bus.options import ConnectOptions
from lattice.errors import DeniedError
from lattice.testing import connect_as, new_host
from lattice.wire.subjects import CALL_QUEUE, LEADER, Names, target
from tests.contract.joining import SMALL
from tests.contract.server import PlainServer
from tests.contract.taking import take, take_one

pytestmark = [pytest.mark.nats, pytest.mark.usefixtures("each_client")]


@pytest.fixture
async def identity(fresh_nats: EmbeddedNats) -> Identity:
    return await new_host(fresh_nats)


@pytest.fixture
async def scheduler(fresh_nats: EmbeddedNats) -> AsyncIterator[Connection]:
    async with connect_as(fresh_nats, "scheduler") as connection:
        yield connection


@pytest.fixture
async def host(fresh_nats: EmbeddedNats, identity: Identity) -> AsyncIterator[Connection]:
    async with connect_as(fresh_nats, "host", identity) as connection:
        yield connection


async def test_a_denied_write_fails_at_once_and_changes_nothing(
    host: Connection, scheduler: Connection, identity: Identity
) -> None:
    leader = await scheduler.control.put(LEADER, b"scheduler")
    with anyio.fail_after(3):
        for key in (LEADER, target(identity.id)):
            with pytest.raises(DeniedError, match="may not publish to"):
                await host.control.put(key, b"host")
            with pytest.raises(DeniedError):
                await host.control.put(key, b"host", expect=0)
            with pytest.raises(DeniedError):
                await host.control.delete(key)
            with pytest.raises(DeniedError):
                await host.control.put_many([Write(key=key, value=b"host")])
        with pytest.raises(DeniedError):
            await host.hosts.put("another", b"host")
    assert await scheduler.control.get(LEADER) == Entry(
        key=LEADER, value=b"scheduler", revision=leader
    )
    assert await scheduler.control.keys() == (LEADER,)
    assert await scheduler.hosts.keys() == ()


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_batch_with_one_denied_write_writes_nothing(tmp_path: Path, position: int) -> None:
    """A plain server, because no role may write several keys of a bucket and not all."""
    users = """authorization { users: [
        { user: all, password: x }
        { user: some, password: x, permissions: {
            publish: ["$KV.lat_few_hosts.may.*"], subscribe: "_INBOX.>" } } ] }"""
    server = PlainServer(tmp_path, users)
    server.start()
    writes = [Write(key=f"may.{number}", value=b"1") for number in range(2)]
    writes.insert(position, Write(key="mustnot", value=b"1"))
    try:
        async with (
            connect_link(ConnectOptions(servers=(server.url,), user="all", password="x")) as all_,
            connect_link(ConnectOptions(servers=(server.url,), user="some", password="x")) as some,
        ):
            await ensure_stores(all_, Names("few"), limits=SMALL)
            with anyio.fail_after(3), pytest.raises(DeniedError, match="mustnot"):
                await open_connection(some, "few").hosts.put_many(writes)
            assert await open_connection(all_, "few").hosts.keys() == ()
    finally:
        server.stop()


async def test_a_denied_read_fails_at_once(host: Connection) -> None:
    with anyio.fail_after(3):
        with pytest.raises(DeniedError):
            await host.control.get(LEADER)
        with pytest.raises(DeniedError):
            await host.control.keys()
        for prefix in ("", LEADER, target("another")):
            with pytest.raises(DeniedError):
                async with host.control.watch(prefix):
                    pass


async def test_a_host_watches_its_own_target_with_the_right_to_that_key_alone(
    host: Connection, scheduler: Connection, identity: Identity
) -> None:
    own = target(identity.id)
    async with host.control.watch(own) as changes:
        assert await take_one(changes) is CAUGHT_UP
        await scheduler.control.put(target("another"), b"1")
        revision = await scheduler.control.put(own, b"2")
        assert await take_one(changes) == Entry(key=own, value=b"2", revision=revision)
    async with host.control.watch("history") as changes:
        assert await take_one(changes) is CAUGHT_UP


async def test_a_watch_under_least_permissions_goes_on_after_a_crash(
    host: Connection, scheduler: Connection, identity: Identity, fresh_nats: EmbeddedNats
) -> None:
    own = target(identity.id)
    async with host.control.watch(own) as changes:
        await take_one(changes)
        await fresh_nats.kill()
        await fresh_nats.restart()
        revision = await scheduler.control.put(own, b"after")
        assert await take(changes, 1) == [Entry(key=own, value=b"after", revision=revision)]


async def test_a_denied_subscription_fails_on_entry(host: Connection, names: Names) -> None:
    for subject in (names.api(">"), ">", names.every_call()):
        with anyio.fail_after(3), pytest.raises(DeniedError, match="may not subscribe to"):
            async with host.bus.subscribe(subject):
                pass

    async def answer(packet: Packet) -> bytes:
        return b""

    with anyio.fail_after(3), pytest.raises(DeniedError):
        async with host.bus.serve(names.lead(">"), answer, queue="lead"):
            pass
    async with host.bus.serve(names.every_call(), answer, queue=CALL_QUEUE):
        pass


async def test_a_denied_request_fails_at_once(host: Connection, names: Names) -> None:
    with anyio.fail_after(3), pytest.raises(DeniedError, match="may not publish to"):
        await host.bus.request(names.api("put"), timeout_s=60)
    with anyio.fail_after(3), pytest.raises(DeniedError):
        async for _ in host.bus.request_many(names.api("put"), timeout_s=60):
            pass


async def test_a_denied_message_is_logged_and_harms_nothing(
    host: Connection, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    await host.bus.publish(names.lead("explain"), b"{}")
    await host.bus.flush()
    assert "no permission to publish to" in caplog.text
    assert host.bus.state == "connected"


async def test_a_host_reads_artifacts_and_appends_events_with_its_permissions(
    host: Connection, fresh_nats: EmbeddedNats, names: Names
) -> None:
    body = b"component" * 50_000
    async with connect_as(fresh_nats, "operator") as operator:
        digest = await operator.artifacts.put(body)
        assert await host.artifacts.get(digest) == body
        with pytest.raises(DeniedError):
            await host.artifacts.put(b"other")
        await host.events.append(names.event("host-joined", "h"), b"{}", dedup_id="1")
        async with operator.events.read() as records:
            assert [record.body async for record in records] == [b"{}"]
