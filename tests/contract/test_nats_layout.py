"""How the stores lie in JetStream: made once, refused if unfit, readable by NATS's own tools."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import nats
import pytest
from nats.aio.client import Client
from nats.js.api import KeyValueConfig, StreamConfig

from lattice.bus.base import Connection, Entry
from lattice.bus.jetstream import StoreLimits, ensure_stores, open_connection
from lattice.bus.nats_connect import connect_nats
from lattice.bus.nats_link import NatsLink
from lattice.bus.options import ConnectOptions
from lattice.errors import (
    ConflictError,
    IncompatibleError,
    OverloadedError,
    UnavailableError,
)
from lattice.wire.subjects import Names
from tests.contract.conftest import SMALL
from tests.contract.server import PlainServer

pytestmark = pytest.mark.nats

NAMES = Names("layout")


@pytest.fixture
async def link(own_server: PlainServer) -> AsyncIterator[NatsLink]:
    async with connect_nats(ConnectOptions(servers=(own_server.url,))) as link:
        yield link


@pytest.fixture
async def lattice(link: NatsLink) -> Connection:
    await ensure_stores(link, NAMES, limits=SMALL)
    return open_connection(link, NAMES.lattice)


@pytest.fixture
async def tool(own_server: PlainServer) -> AsyncIterator[Client]:
    """Another program's client."""
    client = await nats.connect(own_server.url, allow_reconnect=False)
    yield client
    await client.close()


async def test_stores_are_made_once_by_however_many_at_once(link: NatsLink) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(lambda: ensure_stores(link, NAMES, limits=SMALL))
    lattice = open_connection(link, NAMES.lattice)
    revision = await lattice.control.put("a", b"1")
    await ensure_stores(link, NAMES, limits=SMALL)
    assert await lattice.control.get("a") == Entry(key="a", value=b"1", revision=revision)


async def test_stores_state_their_limits(lattice: Connection, tool: Client) -> None:
    streams = {info.config.name: info.config for info in await tool.jetstream().streams_info()}
    assert {name: (config.max_bytes, str(config.discard)) for name, config in streams.items()} == {
        "KV_lat_layout_ctl": (SMALL.control_bytes, "new"),
        "KV_lat_layout_hosts": (SMALL.hosts_bytes, "new"),
        "OBJ_lat_layout_artifacts": (SMALL.artifacts_bytes, "new"),
        "LAT_layout_EVENTS": (SMALL.events_bytes, "old"),
    }


async def test_an_existing_store_keeps_the_limits_of_its_operator(
    link: NatsLink, lattice: Connection, tool: Client
) -> None:
    await ensure_stores(link, NAMES, limits=replace(SMALL, events_bytes=1 << 20))
    info = await tool.jetstream().stream_info(NAMES.events_stream)
    assert info.config.max_bytes == SMALL.events_bytes


async def test_a_store_that_lacks_something_is_refused_with_both_shown(
    link: NatsLink, tool: Client
) -> None:
    await tool.jetstream().create_key_value(KeyValueConfig(bucket=NAMES.control_bucket, history=5))
    with pytest.raises(IncompatibleError) as caught:
        await ensure_stores(link, NAMES, limits=SMALL)
    assert "max_msgs_per_subject: 5, needs 1" in caught.value.message
    assert "allow_atomic: " in caught.value.message
    assert "KV_lat_layout_ctl" in caught.value.message


async def test_a_subject_that_another_stream_has_is_refused(link: NatsLink, tool: Client) -> None:
    await tool.jetstream().add_stream(StreamConfig(name="MINE", subjects=["lat.layout.>"]))
    with pytest.raises(IncompatibleError, match="subjects overlap"):
        await ensure_stores(link, NAMES, limits=SMALL)


async def test_more_than_the_server_has_is_refused(link: NatsLink) -> None:
    with pytest.raises(OverloadedError, match="insufficient storage"):
        await ensure_stores(link, NAMES, limits=StoreLimits(artifacts_bytes=1 << 50))


async def test_without_stores_everything_says_so(
    link: NatsLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lattice.bus.jetstream_api.NOBODY_S", 0.2)
    lattice = open_connection(link, "nowhere")
    for ask in (
        lambda: lattice.control.get("a"),
        lambda: lattice.control.put("a", b"1"),
        lambda: lattice.events.append(Names("nowhere").event("a", "b"), b"1"),
        lambda: lattice.artifacts.put(b"1"),
    ):
        with pytest.raises(UnavailableError, match="stores were not created"):
            await ask()


async def test_a_full_bucket_refuses_and_keeps_what_it_has(link: NatsLink) -> None:
    await ensure_stores(link, NAMES, limits=replace(SMALL, hosts_bytes=64 * 1024))
    hosts = open_connection(link, NAMES.lattice).hosts
    revision = await hosts.put("a", b"x" * 40_000)
    with pytest.raises(OverloadedError, match="maximum bytes exceeded"):
        await hosts.put("b", b"x" * 40_000)
    assert await hosts.get("a") == Entry(key="a", value=b"x" * 40_000, revision=revision)


async def test_nats_tools_read_the_buckets(lattice: Connection, tool: Client) -> None:
    await lattice.control.put("a.b", b"1")
    await lattice.control.put("gone", b"1")
    await lattice.control.delete("gone")
    bucket = await tool.jetstream().key_value(NAMES.control_bucket)
    assert (await bucket.get("a.b")).value == b"1"
    assert await bucket.keys() == ["a.b"]


async def test_writes_and_removals_of_nats_tools_are_understood(
    lattice: Connection, tool: Client
) -> None:
    bucket = await tool.jetstream().key_value(NAMES.control_bucket)
    for key in ("kept", "deleted", "purged"):
        await bucket.put(key, b"theirs")
    await bucket.delete("deleted")
    await bucket.purge("purged")
    assert await lattice.control.keys() == ("kept",)
    assert await lattice.control.get("deleted") is None
    assert await lattice.control.get("purged") is None
    assert await lattice.control.put("purged", b"ours", expect=0) > 0


async def test_nats_tools_read_and_write_the_object_store(
    lattice: Connection, tool: Client
) -> None:
    body = b"component" * 50_000
    digest = await lattice.artifacts.put(body)
    objects = await tool.jetstream().object_store(NAMES.artifacts_bucket)
    name = digest.removeprefix("sha256:")
    assert (await objects.get(name)).data == body

    await objects.delete(name)
    assert not await lattice.artifacts.has(digest)
    assert await lattice.artifacts.put(body) == digest
    assert await lattice.artifacts.get(digest) == body

    other = b"theirs" * 50_000
    theirs = hashlib.sha256(other).hexdigest()
    await objects.put(theirs, other)
    assert await lattice.artifacts.get(type(digest)(f"sha256:{theirs}")) == other


async def test_a_damaged_object_is_a_conflict(lattice: Connection, tool: Client) -> None:
    objects = await tool.jetstream().object_store(NAMES.artifacts_bucket)
    digest = await lattice.artifacts.put(b"right" * 100)
    await objects.put(digest.removeprefix("sha256:"), b"wrong" * 100)
    with pytest.raises(ConflictError, match="is damaged"):
        await lattice.artifacts.get(digest)
