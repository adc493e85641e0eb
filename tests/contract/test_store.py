"""What `Store` promises about reading and conditional writing, for each implementation."""

from __future__ import annotations

import pytest

from lattice.bus.base import (
    BATCH_WRITES_MAX,
    CAUGHT_UP,
    Connection,
    Entry,
    Fence,
    Store,
    Write,
    batch_revisions,
)
from lattice.bus.checks import VALUE_BYTES_MAX
from lattice.errors import ConflictError, InvalidError
from tests.contract.conftest import World
from tests.contract.taking import take, take_one

WRONG_KEYS = ("", ".", "a.", ".a", "a..b", "a b", "a.*", ">", "a:b", "ä")


async def standing(store: Store) -> dict[str, bytes | None]:
    """Return all keys and values."""
    entries = {key: await store.get(key) for key in await store.keys()}
    return {key: entry.value for key, entry in entries.items() if entry is not None}


async def test_a_key_never_written_has_no_value(store: Store) -> None:
    assert await store.get("a") is None
    assert await store.keys() == ()


async def test_what_was_put_is_read_with_its_revision(store: Store, same_store: Store) -> None:
    revision = await store.put("a.b/c=d_e-f", b"\x00value")
    assert await same_store.get("a.b/c=d_e-f") == Entry(
        key="a.b/c=d_e-f", value=b"\x00value", revision=revision
    )


async def test_an_empty_value_is_a_value(store: Store) -> None:
    revision = await store.put("a", b"")
    assert await store.get("a") == Entry(key="a", value=b"", revision=revision)
    assert await store.keys() == ("a",)


async def test_revisions_grow_over_the_whole_bucket(store: Store) -> None:
    revisions = [
        await store.put("a", b"1"),
        await store.put("b", b"1"),
        await store.put_many([Write(key="c", value=b""), Write(key="d", value=b"")]),
        await store.delete("a"),
        await store.put("b", b"2"),
    ]
    assert revisions == sorted(set(revisions))
    assert revisions[0] > 0


async def test_a_deleted_key_has_no_value(store: Store) -> None:
    first = await store.put("a", b"1")
    removed = await store.delete("a")
    assert removed > first
    assert await store.get("a") is None
    assert await store.keys() == ()


async def test_a_key_that_does_not_exist_can_be_deleted(store: Store) -> None:
    await store.delete("a")
    assert await store.get("a") is None
    assert await store.put("a", b"1", expect=0) > 0


# --- expect -------------------------------------------------------------------------------------


async def test_a_write_at_the_expected_revision_takes_place(store: Store) -> None:
    first = await store.put("a", b"1", expect=0)
    second = await store.put("a", b"2", expect=first)
    assert await store.get("a") == Entry(key="a", value=b"2", revision=second)


@pytest.mark.parametrize("offset", [-1, 1, 1000])
async def test_a_write_at_another_revision_changes_nothing(store: Store, offset: int) -> None:
    await store.put("filler", b"")
    first = await store.put("a", b"1")
    with pytest.raises(ConflictError) as caught:
        await store.put("a", b"2", expect=first + offset)
    assert caught.value.details == {"key": "a", "expected": first + offset, "found": first}
    assert await store.get("a") == Entry(key="a", value=b"1", revision=first)


async def test_a_key_that_must_not_exist_and_does_is_a_conflict(store: Store) -> None:
    first = await store.put("a", b"1")
    with pytest.raises(ConflictError, match=f"a stands at revision {first}, expected 0"):
        await store.put("a", b"2", expect=0)
    assert await store.get("a") == Entry(key="a", value=b"1", revision=first)


async def test_a_deleted_key_does_not_exist_for_expect(store: Store) -> None:
    await store.put("a", b"1")
    await store.delete("a")
    revision = await store.put("a", b"2", expect=0)
    with pytest.raises(ConflictError):
        await store.put("a", b"3", expect=0)
    assert await store.get("a") == Entry(key="a", value=b"2", revision=revision)


async def test_a_delete_at_another_revision_removes_nothing(store: Store) -> None:
    first = await store.put("a", b"1")
    second = await store.put("a", b"2")
    with pytest.raises(ConflictError):
        await store.delete("a", expect=first)
    assert await store.get("a") == Entry(key="a", value=b"2", revision=second)
    assert await store.delete("a", expect=second) > second


# --- fence --------------------------------------------------------------------------------------


async def test_a_write_under_a_fence_that_holds_takes_place(store: Store) -> None:
    term = await store.put("term", b"me")
    await store.put("leader", b"me")
    first = await store.put("a", b"1", fence=Fence("term", term))
    await store.put("a", b"2", fence=Fence("term", term))
    removed = await store.delete("a", fence=Fence("term", term))
    assert first < removed


async def test_a_write_under_a_fence_that_moved_changes_nothing(store: Store) -> None:
    term = await store.put("term", b"me")
    await store.put("a", b"1")
    moved = await store.put("term", b"somebody else")
    before = await standing(store)
    with pytest.raises(ConflictError) as caught:
        await store.put("a", b"2", fence=Fence("term", term))
    assert caught.value.details == {"key": "term", "expected": term, "found": moved}
    with pytest.raises(ConflictError):
        await store.put("new", b"2", fence=Fence("term", term))
    with pytest.raises(ConflictError):
        await store.delete("a", fence=Fence("term", term))
    assert await standing(store) == before


async def test_a_fence_whose_key_was_deleted_does_not_hold(store: Store) -> None:
    term = await store.put("term", b"me")
    await store.delete("term")
    with pytest.raises(ConflictError):
        await store.put("a", b"1", fence=Fence("term", term))
    assert await store.keys() == ()


# --- batches ------------------------------------------------------------------------------------


async def test_a_batch_writes_all_and_returns_the_revision_of_the_last(store: Store) -> None:
    kept = await store.put("kept", b"1")
    await store.put("gone", b"1")
    last = await store.put_many(
        [
            Write(key="gone", value=None),
            Write(key="kept", value=b"2", expect=kept),
            Write(key="new", value=b"3", expect=0),
        ]
    )
    assert await store.get("new") == Entry(key="new", value=b"3", revision=last)
    assert await standing(store) == {"kept": b"2", "new": b"3"}


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_batch_with_one_conflict_writes_nothing(store: Store, position: int) -> None:
    await store.put("taken", b"1")
    writes = [Write(key="a", value=b"1"), Write(key="b", value=b"1")]
    writes.insert(position, Write(key="taken", value=b"2", expect=0))
    with pytest.raises(ConflictError):
        await store.put_many(writes)
    assert await standing(store) == {"taken": b"1"}


async def test_a_batch_takes_a_deleted_key_for_one_that_does_not_exist(store: Store) -> None:
    for key in ("a", "b"):
        await store.put(key, b"1")
        await store.delete(key)
    await store.put_many([Write(key=key, value=b"2", expect=0) for key in ("a", "b", "c")])
    assert await standing(store) == {"a": b"2", "b": b"2", "c": b"2"}


@pytest.mark.parametrize("expect", [None, 0])
async def test_a_batch_under_a_fence_that_moved_writes_nothing(
    store: Store, expect: int | None
) -> None:
    term = await store.put("term", b"me")
    await store.put("term", b"somebody else")
    writes = [Write(key=key, value=b"1", expect=expect) for key in ("a", "b")]
    with pytest.raises(ConflictError):
        await store.put_many(writes, fence=Fence("term", term))
    assert await standing(store) == {"term": b"somebody else"}


@pytest.mark.parametrize("expect", [None, 0])
async def test_a_batch_under_a_fence_that_holds_takes_place(
    store: Store, expect: int | None
) -> None:
    term = await store.put("term", b"me")
    writes = [Write(key=key, value=b"1", expect=expect) for key in ("a", "b")]
    last = await store.put_many(writes, fence=Fence("term", term))
    entry = await store.get("b")
    assert entry is not None
    assert entry.revision == last
    assert await standing(store) == {"term": b"me", "a": b"1", "b": b"1"}


async def test_a_batch_of_one_write_is_a_batch(store: Store) -> None:
    revision = await store.put_many([Write(key="a", value=b"1", expect=0)])
    assert await store.get("a") == Entry(key="a", value=b"1", revision=revision)


async def test_the_largest_batch_is_stored_and_a_larger_one_refused(store: Store) -> None:
    writes = [Write(key=f"k.{number}", value=b"x" * 500) for number in range(BATCH_WRITES_MAX)]
    with pytest.raises(InvalidError, match="901 writes, needs 1 to 900"):
        await store.put_many([*writes, Write(key="one", value=b"more")])
    assert await store.keys() == ()
    await store.put_many(writes)
    assert len(await store.keys("k")) == BATCH_WRITES_MAX


async def test_a_malformed_batch_lists_all_faults(store: Store) -> None:
    with pytest.raises(InvalidError) as caught:
        await store.put_many(
            [
                Write(key="a", value=b"1"),
                Write(key="a", value=b"2"),
                Write(key="b c", value=b"3"),
                Write(key="d", value=b"x" * (VALUE_BYTES_MAX + 1)),
            ]
        )
    assert len(caught.value.faults) == 3
    with pytest.raises(InvalidError, match="0 writes"):
        await store.put_many([])
    assert await store.keys() == ()


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", WRONG_KEYS)
async def test_a_malformed_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(InvalidError, match="is not a key"):
        await store.put(key, b"1")
    with pytest.raises(InvalidError, match="is not a key"):
        await store.get(key)
    with pytest.raises(InvalidError, match="is not a key"):
        await store.delete(key)
    with pytest.raises(InvalidError, match="is not a key"):
        await store.put("a", b"1", fence=Fence(key, 1))


async def test_the_largest_value_is_stored_and_a_larger_one_refused(store: Store) -> None:
    with pytest.raises(InvalidError, match="at most"):
        await store.put("a", b"x" * (VALUE_BYTES_MAX + 1))
    assert await store.get("a") is None
    await store.put("a", b"x" * VALUE_BYTES_MAX)
    entry = await store.get("a")
    assert entry is not None
    assert entry.value == b"x" * VALUE_BYTES_MAX


async def test_expect_and_fence_together_are_refused(store: Store) -> None:
    with pytest.raises(InvalidError, match="use put_many"):
        await store.put("a", b"1", expect=0, fence=Fence("term", 1))
    with pytest.raises(InvalidError, match="use put_many"):
        await store.delete("a", expect=0, fence=Fence("term", 1))


async def test_a_time_to_live_must_be_positive(store: Store) -> None:
    with pytest.raises(InvalidError, match="needs more than 0"):
        await store.put("a", b"1", ttl_s=0)


# --- keys and time ------------------------------------------------------------------------------


async def test_keys_of_a_prefix_are_those_below_its_tokens(store: Store) -> None:
    for key in ("target", "target.b", "target.a.x", "targets.c", "other"):
        await store.put(key, b"1")
    await store.put("target.gone", b"1")
    await store.delete("target.gone")
    assert await store.keys("target") == ("target", "target.a.x", "target.b")
    assert await store.keys("target.a") == ("target.a.x",)
    assert await store.keys("target.a.x") == ("target.a.x",)
    assert await store.keys("tar") == ()
    assert await store.keys() == ("other", "target", "target.a.x", "target.b", "targets.c")


async def test_a_key_ends_with_its_time_to_live_and_watchers_are_told(store: Store) -> None:
    async with store.watch("lease") as changes:
        assert await take_one(changes) is CAUGHT_UP
        first = await store.put("lease", b"1", expect=0, ttl_s=1)
        assert await take_one(changes) == Entry(key="lease", value=b"1", revision=first)
        renewed = await store.put("lease", b"2", expect=first, ttl_s=1)
        assert await take_one(changes) == Entry(key="lease", value=b"2", revision=renewed)
        ended = await take_one(changes)
        assert isinstance(ended, Entry)
        assert (ended.key, ended.value) == ("lease", None)
        assert ended.revision > renewed

    assert await store.get("lease") is None
    assert await store.keys() == ()
    with pytest.raises(ConflictError):
        await store.put("lease", b"3", expect=renewed)
    assert await store.put("lease", b"3", expect=0, ttl_s=60) > renewed


async def test_the_two_buckets_of_a_lattice_are_apart(scheduler: Connection) -> None:
    await scheduler.control.put("a", b"1")
    assert await scheduler.hosts.get("a") is None


async def test_a_host_keeps_its_own_inventory(
    world: World, host: Connection, scheduler: Connection
) -> None:
    """What a host may do: write its key on conditions, list and follow it, and remove it."""
    async with scheduler.hosts.watch() as seen, host.hosts.watch(world.host) as own:
        first = await host.hosts.put(world.host, b"1", expect=0)
        stands = Entry(key=world.host, value=b"1", revision=first)
        assert await take(seen, 2) == await take(own, 2) == [CAUGHT_UP, stands]
        with pytest.raises(ConflictError):
            await host.hosts.put(world.host, b"2", expect=first + 1)
        assert await host.hosts.keys(world.host) == (world.host,)
        removed = await host.hosts.delete(world.host, expect=first)
        gone = Entry(key=world.host, value=None, revision=removed)
        assert await take_one(seen) == await take_one(own) == gone
    assert await scheduler.hosts.keys() == ()


@pytest.mark.parametrize("expect", [None, 0])
async def test_writes_of_a_batch_take_consecutive_revisions(
    store: Store, same_store: Store, expect: int | None
) -> None:
    """Under a fence that has room in one of the writes, and under one that needs its own."""
    term = await store.put("term", b"")
    keys = [f"target.{number:03}" for number in range(BATCH_WRITES_MAX)]
    writes = [Write(key=key, value=key.encode(), expect=expect) for key in keys]
    last = await store.put_many(writes, fence=Fence("term", term))
    for key, revision in zip(keys, batch_revisions(last, len(keys)), strict=True):
        if revision % 50 == 0 or revision == last:
            entry = Entry(key=key, value=key.encode(), revision=revision)
            assert await same_store.get(key) == entry
