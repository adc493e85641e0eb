"""How the stores lie in JetStream: made once, refused if unfit, readable by NATS's own tools.

The tools connect with the key of a role, too.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import nats
import pytest
from nats.aio.client import Client
from nats.js.api import KeyValueConfig, StreamConfig

from lattice.bus.base import Connection, Entry
from lattice.bus.connecting import connect_options
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.jetstream import CONSUMERS_MAX, StoreLimits, ensure_stores, open_connection
from lattice.bus.jetstream_objects import OBJECT_BYTES_MAX
from lattice.bus.link import Link
from lattice.errors import (
    ConflictError,
    DecodeError,
    IncompatibleError,
    InvalidError,
    OverloadedError,
    UnavailableError,
)
from lattice.model.ids import Digest, digest_hex
from lattice.testing import LATTICE, running_nats, settings_for
from lattice.wire.subjects import Names
from tests.contract.joining import SMALL, joined, make_stores_again, streams_of

pytestmark = pytest.mark.nats

NAMES = Names(LATTICE)


@pytest.fixture
async def bare_nats() -> AsyncIterator[EmbeddedNats]:
    """A broker on which no stores have been made."""
    async with running_nats(with_stores=False) as nats:
        yield nats


@pytest.fixture
async def link(bare_nats: EmbeddedNats) -> AsyncIterator[Link]:
    """The connection of a scheduler, which makes the stores."""
    async with joined(bare_nats, "scheduler") as (link, _):
        yield link


@pytest.fixture
async def lattice(link: Link) -> Connection:
    await ensure_stores(link, NAMES, limits=SMALL)
    return open_connection(link, NAMES.lattice)


@pytest.fixture
async def tool(bare_nats: EmbeddedNats) -> AsyncIterator[Client]:
    """Another program's client."""
    options = connect_options(settings_for(bare_nats, "scheduler"), name="tool")
    client = await nats.connect(
        bare_nats.url,
        nkeys_seed=str(options.nkey_seed_path),
        inbox_prefix=options.inbox_prefix,
        allow_reconnect=False,
    )
    yield client
    await client.close()


async def test_stores_are_made_once_by_however_many_at_once(link: Link) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(lambda: ensure_stores(link, NAMES, limits=SMALL))
    lattice = open_connection(link, NAMES.lattice)
    revision = await lattice.control.put("a", b"1")
    await ensure_stores(link, NAMES, limits=SMALL)
    assert await lattice.control.get("a") == Entry(key="a", value=b"1", revision=revision)


async def test_stores_state_their_limits(lattice: Connection, tool: Client) -> None:
    found = [(await tool.jetstream().stream_info(name)).config for name in streams_of(NAMES)]
    assert [(config.name, config.max_bytes, str(config.discard)) for config in found] == [
        ("KV_lat_test_ctl", SMALL.control_bytes, "new"),
        ("KV_lat_test_hosts", SMALL.hosts_bytes, "new"),
        ("OBJ_lat_test_artifacts", SMALL.artifacts_bytes, "new"),
        ("LAT_test_EVENTS", SMALL.events_bytes, "old"),
        ("LAT_test_JOBS", SMALL.jobs_bytes, "new"),
    ]
    # nats-server's own limit of 1,000 would be that of 250 hosts.
    assert {config.max_consumers for config in found} == {CONSUMERS_MAX}


async def test_a_guarded_store_takes_writes_by_a_subject_that_nobody_guesses(
    lattice: Connection, tool: Client
) -> None:
    kept = {
        f"KV_{NAMES.control_bucket}": f"$KV.{NAMES.control_bucket}.>",
        f"OBJ_{NAMES.artifacts_bucket}": f"$O.{NAMES.artifacts_bucket}.>",
    }
    intakes = set()
    for stream, subject in kept.items():
        config = (await tool.jetstream().stream_info(stream)).config
        assert config.subjects is not None
        (intake,) = config.subjects
        assert re.fullmatch(r"lat\.test\.intake\.(ctl|artifacts)\.[0-9a-f]{32}\.>", intake)
        assert config.subject_transform is not None
        assert (config.subject_transform.src, config.subject_transform.dest) == (intake, subject)
        intakes.add(intake.split(".")[4])
    assert len(intakes) == 2


async def test_writers_find_a_guarded_store_that_was_made_again(
    bare_nats: EmbeddedNats, lattice: Connection
) -> None:
    await lattice.control.put("a", b"1")
    digest = await lattice.artifacts.put(b"x" * 300_000)
    await make_stores_again(bare_nats)
    assert await lattice.artifacts.put(b"x" * 300_000) == digest
    assert await lattice.artifacts.get(digest) == b"x" * 300_000
    await make_stores_again(bare_nats)
    assert await lattice.control.put("a", b"2", expect=0) > 0


async def test_an_existing_store_keeps_the_limits_of_its_operator(
    link: Link, lattice: Connection, tool: Client
) -> None:
    await ensure_stores(link, NAMES, limits=replace(SMALL, events_bytes=1 << 20))
    info = await tool.jetstream().stream_info(NAMES.events_stream)
    assert info.config.max_bytes == SMALL.events_bytes


async def test_a_store_that_lacks_something_is_refused_with_both_shown(
    link: Link, tool: Client
) -> None:
    await tool.jetstream().create_key_value(KeyValueConfig(bucket=NAMES.control_bucket, history=5))
    with pytest.raises(IncompatibleError) as caught:
        await ensure_stores(link, NAMES, limits=SMALL)
    assert "max_msgs_per_subject: 5, needs 1" in caught.value.message
    assert "allow_atomic: " in caught.value.message
    assert "KV_lat_test_ctl" in caught.value.message


async def test_a_store_that_anybody_who_asks_can_aim_answers_at_is_refused(
    link: Link, tool: Client
) -> None:
    name = NAMES.control_bucket
    await tool.jetstream().add_stream(StreamConfig(name=f"KV_{name}", subjects=[f"$KV.{name}.>"]))
    with pytest.raises(
        IncompatibleError, match=r"subjects: .*, needs '\$KV\.lat_test_ctl\.> by an"
    ):
        await ensure_stores(link, NAMES, limits=SMALL)


async def test_a_subject_that_another_stream_has_is_refused(link: Link, tool: Client) -> None:
    mine = StreamConfig(name=NAMES.events_stream, subjects=["lat.test.>"])
    await tool.jetstream().add_stream(mine)
    with pytest.raises(IncompatibleError, match="subjects overlap"):
        await ensure_stores(link, NAMES, limits=SMALL)


async def test_more_than_the_server_has_is_refused(link: Link) -> None:
    with pytest.raises(OverloadedError, match="insufficient storage"):
        await ensure_stores(link, NAMES, limits=StoreLimits(artifacts_bytes=1 << 50))


async def test_without_stores_everything_says_so(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lattice.bus.jetstream_api.NOBODY_S", 0.2)
    lattice = open_connection(link, NAMES.lattice)
    for ask in (
        lambda: lattice.control.get("a"),
        lambda: lattice.control.put("a", b"1"),
        lambda: lattice.events.append(NAMES.event("a", "b"), b"1"),
        lambda: lattice.artifacts.put(b"1"),
    ):
        with pytest.raises(UnavailableError, match="stores were not created"):
            await ask()


async def test_a_full_bucket_refuses_and_keeps_what_it_has(link: Link) -> None:
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
    """Of inventories; the control bucket has no subject that a tool would write to."""
    bucket = await tool.jetstream().key_value(NAMES.hosts_bucket)
    for key in ("kept", "deleted"):
        await bucket.put(key, b"theirs")
    await bucket.delete("deleted")
    assert await lattice.hosts.keys() == ("kept",)
    assert await lattice.hosts.get("deleted") is None
    assert await lattice.hosts.put("deleted", b"ours", expect=0) > 0


@pytest.fixture
async def artifacts_subject(lattice: Connection, tool: Client) -> str:
    """Where artifacts are written, for tests that do damage there."""
    info = await tool.jetstream().stream_info(f"OBJ_{NAMES.artifacts_bucket}")
    assert info.config.subjects is not None
    return info.config.subjects[0].removesuffix(">")


async def described(tool: Client, digest: Digest) -> tuple[str, dict[str, object]]:
    """Return the name of an object's description below its bucket, and what it says."""
    name = f"M.{base64.urlsafe_b64encode(digest_hex(digest).encode()).decode()}"
    stream, subject = f"OBJ_{NAMES.artifacts_bucket}", f"$O.{NAMES.artifacts_bucket}.{name}"
    found = await tool.jetstream().get_last_msg(stream, subject, direct=True)
    assert found.data is not None
    return name, json.loads(found.data)


async def test_nats_tools_read_the_objects(lattice: Connection, tool: Client) -> None:
    body = b"component" * 50_000
    digest = await lattice.artifacts.put(body)
    _, description = await described(tool, digest)
    assert (description["name"], description["size"]) == (digest_hex(digest), len(body))
    chunks = await tool.jetstream().subscribe(
        f"$O.{NAMES.artifacts_bucket}.C.{description['nuid']}",
        stream=f"OBJ_{NAMES.artifacts_bucket}",
        ordered_consumer=True,
    )
    count = description["chunks"]
    assert isinstance(count, int)
    assert b"".join([(await chunks.next_msg()).data for _ in range(count)]) == body


async def test_a_deleted_object_can_be_put_again(
    lattice: Connection, tool: Client, artifacts_subject: str
) -> None:
    body = b"component" * 50_000
    digest = await lattice.artifacts.put(body)
    name, description = await described(tool, digest)
    gone = json.dumps({**description, "deleted": True, "chunks": 0, "size": 0}).encode()
    await tool.jetstream().publish(artifacts_subject + name, gone, headers={"Nats-Rollup": "sub"})
    assert not await lattice.artifacts.has(digest)
    assert await lattice.artifacts.put(body) == digest
    assert await lattice.artifacts.get(digest) == body


async def test_a_damaged_object_is_a_conflict(
    lattice: Connection, tool: Client, artifacts_subject: str
) -> None:
    digest = await lattice.artifacts.put(b"right" * 100)
    name, description = await described(tool, digest)
    await tool.jetstream().publish(f"{artifacts_subject}C.upload", b"wrong" * 100)
    wrong = json.dumps({**description, "nuid": "upload"}).encode()
    await tool.jetstream().publish(artifacts_subject + name, wrong, headers={"Nats-Rollup": "sub"})
    with pytest.raises(ConflictError, match="is damaged"):
        await lattice.artifacts.get(digest)
    stream = await tool.jetstream().stream_info(
        f"OBJ_{NAMES.artifacts_bucket}", subjects_filter=f"$O.{NAMES.artifacts_bucket}.M.>"
    )
    assert list((stream.state.subjects or {}).values()) == [1]  # the older one is gone


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": "many"},
        {"size": -1},
        {"chunks": None},
        {"chunks": True},
        {"nuid": "a.>"},
        {"nuid": 7},
    ],
    ids=str,
)
async def test_a_malformed_description_of_an_object_is_refused(
    lattice: Connection, tool: Client, artifacts_subject: str, wrong: dict[str, object]
) -> None:
    digest = await lattice.artifacts.put(b"right" * 100)
    name, description = await described(tool, digest)
    body = json.dumps({**description, **wrong}).encode()
    await tool.jetstream().publish(artifacts_subject + name, body, headers={"Nats-Rollup": "sub"})
    with pytest.raises(DecodeError, match=r"description of sha256:.* is malformed"):
        await lattice.artifacts.get(digest)


async def test_an_object_too_large_for_memory_is_refused_before_it_is_read(
    lattice: Connection, tool: Client, artifacts_subject: str
) -> None:
    digest = await lattice.artifacts.put(b"right" * 100)
    name, description = await described(tool, digest)
    body = json.dumps({**description, "size": OBJECT_BYTES_MAX + 1}).encode()
    await tool.jetstream().publish(artifacts_subject + name, body, headers={"Nats-Rollup": "sub"})
    with pytest.raises(InvalidError, match="bytes, at most"):
        await lattice.artifacts.get(digest)
