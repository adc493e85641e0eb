"""Targets larger than a key: they lie in the object store, and hosts find them there."""

from __future__ import annotations

import pytest

from hosts.lifecycle import TargetSeen, TargetUnreadable
from hosts.targets import Targets
from lattice.bus.base import Connection
from lattice.bus.memory import memory_connection
from lattice.model.ids import Digest, HostId
from lattice.wire.codec import decode_as
from lattice.wire.messages import Lease, Target, TargetItem, Term
from lattice.wire.subjects import LEADER, TERM, target
from scheduler import delivery, election
from scheduler.large import DOCUMENT_BYTES_MAX, FEATURE, LargeTargets
from scheduler.store import ControlStore

HOST = HostId("UHOST")


def items(count: int) -> list[TargetItem]:
    return [
        TargetItem(deployment=f"deployment-{n}", generation=n, count=1, assignment=n)
        for n in range(count)
    ]


@pytest.fixture
def connection() -> Connection:
    return memory_connection("test")


@pytest.fixture
def store(connection: Connection) -> ControlStore:
    return ControlStore(connection.control, LargeTargets(connection.artifacts))


async def lead(store: ControlStore) -> int:
    asked = election.Acquire(
        lease=Lease(holder="s", ttl_ms=1000), lease_expect=0,
        term=Term(holder="s", incarnation="inc"), term_expect=0, asked_s=0.0,
    )  # fmt: skip
    acquired = await store.acquire(asked)
    assert isinstance(acquired, election.Acquired)
    return acquired.epoch


def write(epoch: int, listed: list[TargetItem], *, expect: int = 0) -> delivery.WriteTarget:
    made = Target(host=HOST, epoch=epoch, incarnation="inc", needs=["replicas@1"], items=listed)
    return delivery.WriteTarget(host=HOST, ticket=1, target=made, expect=expect, epoch=epoch)


async def put(store: ControlStore, command: delivery.WriteTarget) -> int:
    outcome = await store.write_target(command)
    assert isinstance(outcome, delivery.TargetWritten)
    return outcome.revision


async def named(connection: Connection) -> Target:
    entry = await connection.control.get(target(HOST))
    assert entry is not None
    assert entry.value is not None
    assert len(entry.value) <= DOCUMENT_BYTES_MAX
    return decode_as(Target, entry.value)


async def test_ten_thousand_items_go_to_the_object_store_and_come_back(
    connection: Connection, store: ControlStore
) -> None:
    epoch = await lead(store)
    revision = await put(store, write(epoch, items(10_000)))
    standing = await named(connection)
    assert (standing.items, standing.needs) == ([], [FEATURE]), "other releases refuse it"

    read = await store.read_target(delivery.ReadTarget(host=HOST, ticket=2))
    document = delivery.Document(host=HOST, items=tuple(items(10_000)), revision=revision)
    assert read == delivery.TargetRead(ticket=2, document=document)
    assert await store.read_targets() == delivery.TargetsRead(documents=(document,))

    seen: list[TargetSeen | TargetUnreadable] = []
    await Targets(connection.control, connection.artifacts, HOST, seen.append).read()
    [found] = seen
    assert isinstance(found, TargetSeen)
    assert found.revision.sequence == revision
    assert found.target.items == items(10_000)


async def test_object_of_a_former_target_is_removed(
    connection: Connection, store: ControlStore
) -> None:
    epoch = await lead(store)
    revision = await put(store, write(epoch, items(10_000)))
    first = Digest((await named(connection)).body)
    revision = await put(store, write(epoch, items(9_000), expect=revision))
    second = Digest((await named(connection)).body)
    assert not await connection.artifacts.has(first)
    assert await connection.artifacts.has(second)
    await put(store, write(epoch, items(2), expect=revision))
    assert (await named(connection)).items == items(2)
    assert not await connection.artifacts.has(second)


async def test_object_stays_when_the_write_is_refused(
    connection: Connection, store: ControlStore
) -> None:
    epoch = await lead(store)
    revision = await put(store, write(epoch, items(10_000)))
    body = Digest((await named(connection)).body)
    refused = await store.write_target(write(epoch, items(2), expect=revision + 7))
    assert isinstance(refused, delivery.TargetUnknown)
    assert await connection.artifacts.has(body)


async def test_target_whose_object_is_gone_is_not_adopted(
    connection: Connection, store: ControlStore
) -> None:
    epoch = await lead(store)
    await put(store, write(epoch, items(10_000)))
    await connection.artifacts.remove(Digest((await named(connection)).body))
    seen: list[TargetSeen | TargetUnreadable] = []
    await Targets(connection.control, connection.artifacts, HOST, seen.append).read()
    assert seen == []


async def test_sealing_is_one_batch_under_the_fence(
    connection: Connection, store: ControlStore
) -> None:
    epoch = await lead(store)
    hosts = [HostId(f"h{number:03}") for number in range(300)]
    writes = tuple(
        delivery.WriteTarget(
            host=host, ticket=number, epoch=epoch, expect=0,
            target=Target(host=host, epoch=epoch, incarnation="inc"),
        )
        for number, host in enumerate(hosts, 1)
    )  # fmt: skip
    sealed = await store.seal_targets(delivery.SealTargets(writes=writes, epoch=epoch))
    assert isinstance(sealed, delivery.TargetsSealed)
    for host, revision in zip(hosts, sealed.revisions, strict=True):
        entry = await connection.control.get(target(host))
        assert entry is not None
        assert entry.revision == revision
    refused = await store.seal_targets(delivery.SealTargets(writes=writes, epoch=epoch))
    assert refused == delivery.TargetsUnsealed(writes=writes), "they stand already"
    stale = delivery.SealTargets(writes=writes[:1], epoch=epoch + 1)
    assert isinstance(await store.seal_targets(stale), delivery.TargetsUnsealed)
    assert {LEADER, TERM} <= set(await connection.control.keys())
