"""The control bucket as the cores meet it: every error of the bucket is one outcome."""

from __future__ import annotations

from lattice.bus.memory_store import MemoryStore
from lattice.model.ids import DeploymentName, HostId
from lattice.wire.codec import encode
from lattice.wire.messages import DeploymentRecord, Lease, Target, Term
from lattice.wire.subjects import LEADER, TERM, desired, target
from scheduler import election
from scheduler.delivery import (
    Document,
    ReadTarget,
    TargetRead,
    TargetsRead,
    TargetUnknown,
    TargetWritten,
    WriteTarget,
)
from scheduler.store import ControlStore
from tests.unit.scheduler.builders import item

A = HostId("a")
LEASE, TERM_1 = Lease(holder="s1", ttl_ms=6000), Term(holder="s1", incarnation="inc")


async def lead(store: ControlStore) -> int:
    """Acquire leadership and return the epoch."""
    read = await store.read_lease()
    assert isinstance(read, election.LeaseRead)
    acquired = await store.acquire(
        election.Acquire(
            lease=LEASE, lease_expect=read.revision,
            term=TERM_1, term_expect=read.term_revision, asked_s=1.5,
        )
    )  # fmt: skip
    assert isinstance(acquired, election.Acquired)
    assert (acquired.incarnation, acquired.asked_s) == ("inc", 1.5)
    return acquired.epoch


def write(epoch: int, expect: int) -> WriteTarget:
    held = Target(host=A, epoch=epoch, incarnation="inc", items=[item()])
    return WriteTarget(host=A, ticket=1, target=held, expect=expect, epoch=epoch)


async def test_epoch_is_the_revision_of_the_term() -> None:
    bucket = MemoryStore()
    epoch = await lead(ControlStore(bucket))
    entry = await bucket.get(TERM)
    assert entry is not None
    assert entry.revision == epoch


async def test_lease_is_renewed_and_given_back_at_its_revision_only() -> None:
    bucket = MemoryStore()
    store = ControlStore(bucket)
    await lead(store)
    read = await store.read_lease()
    assert isinstance(read, election.LeaseRead)
    renewed = await store.renew(election.Renew(lease=LEASE, expect=read.revision, asked_s=2.0))
    assert isinstance(renewed, election.Renewed)
    stale = await store.renew(election.Renew(lease=LEASE, expect=read.revision, asked_s=3.0))
    assert isinstance(stale, election.Failed)
    await store.release(read.revision)
    assert await bucket.get(LEADER) is not None
    await store.release(renewed.revision)
    assert await bucket.get(LEADER) is None


async def test_unreadable_lease_and_term_count_as_held_by_nobody() -> None:
    bucket = MemoryStore()
    await bucket.put(LEADER, b"\xc1")
    await bucket.put(TERM, b"+ACK")
    assert await ControlStore(bucket).read_lease() == election.LeaseRead(
        lease=None, revision=1, term=None, term_revision=2
    )


async def test_target_of_a_deposed_leader_is_refused() -> None:
    bucket = MemoryStore()
    store = ControlStore(bucket)
    first = await lead(store)
    written = await store.write_target(write(first, 0))
    assert isinstance(written, TargetWritten)
    second = await lead(store)
    refused = await store.write_target(write(first, written.revision))
    assert refused == TargetUnknown(host=A, ticket=1)
    late = await store.write_target(write(second, 0))
    assert late == TargetUnknown(host=A, ticket=1), "the expectation counts as well as the fence"
    assert isinstance(await store.write_target(write(second, written.revision)), TargetWritten)


async def test_targets_are_read_and_unreadable_ones_count_as_empty() -> None:
    bucket = MemoryStore()
    store = ControlStore(bucket)
    epoch = await lead(store)
    await store.write_target(write(epoch, 0))
    broken = await bucket.put(target("b"), b"\xc1")
    found = await store.read_targets()
    assert found == TargetsRead(
        documents=(
            Document(host=A, items=(item(),), revision=epoch + 1),
            Document(host=HostId("b"), items=(), revision=broken),
        )
    )
    asked = ReadTarget(host=HostId("nobody"), ticket=7)
    empty = Document(host=HostId("nobody"), items=(), revision=0)
    assert await store.read_target(asked) == TargetRead(ticket=7, document=empty)


async def test_records_are_listed_with_the_unreadable_ones_marked() -> None:
    bucket = MemoryStore()
    record = DeploymentRecord(name="app", generation=3, manifest={})
    await bucket.put(desired("app"), encode(record))
    await bucket.put(desired("broken"), b"\xc1")
    store = ControlStore(bucket)
    listed = await store.deployments()
    assert [(each.name, each.record) for each in listed] == [("app", record), ("broken", None)]
    for generation in (10, 9, 2):
        await store.put_generation(DeploymentRecord(name="app", generation=generation, manifest={}))
    assert await store.generations(DeploymentName("app")) == (2, 9, 10), "in order of number"
