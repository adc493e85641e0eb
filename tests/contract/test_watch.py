"""What `Store.watch` promises, for each implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from lattice.bus.base import CAUGHT_UP, CaughtUp, Entry, Store, Write
from lattice.errors import InvalidError
from tests.contract.taking import take, take_all, take_one


def entry(key: str, value: bytes | None, revision: int) -> Entry:
    return Entry(key=key, value=value, revision=revision)


async def test_a_watch_of_nothing_is_caught_up_at_once(store: Store) -> None:
    async with store.watch() as changes:
        assert await take_one(changes) is CAUGHT_UP
    async with store.watch("a") as changes:
        assert await take_one(changes) is CAUGHT_UP


async def test_a_watch_yields_what_stands_then_caught_up_then_changes(
    store: Store, same_store: Store
) -> None:
    await store.put("c", b"1")
    b = await store.put("b", b"2")
    a = await store.put("a", b"3")
    c = await store.put("c", b"4")
    async with store.watch() as changes:
        assert await take(changes, 4) == [
            entry("b", b"2", b),
            entry("a", b"3", a),
            entry("c", b"4", c),
            CAUGHT_UP,
        ]
        d = await same_store.put("d", b"5")
        gone = await same_store.delete("a")
        again = await same_store.put("a", b"")
        assert await take(changes, 3) == [
            entry("d", b"5", d),
            entry("a", None, gone),
            entry("a", b"", again),
        ]


async def test_the_newest_value_comes_however_fast_a_key_changes(store: Store) -> None:
    await store.put("a", b"1")
    async with store.watch() as changes:
        await take(changes, 2)
        newest = 0
        for number in range(200):
            newest = await store.put("a", b"%d" % number)
        told = [await take_one(changes)]
        while told[-1] != entry("a", b"199", newest):
            told.append(await take_one(changes))
    assert CAUGHT_UP not in told


async def test_a_key_deleted_before_the_watch_is_not_told(store: Store) -> None:
    await store.put("a", b"1")
    await store.delete("a")
    await store.delete("never")
    async with store.watch() as changes:
        assert await take_one(changes) is CAUGHT_UP


async def test_deleting_what_does_not_stand_is_not_told(store: Store) -> None:
    async with store.watch() as changes:
        await store.delete("a")
        b = await store.put("b", b"1")
        assert await take(changes, 2) == [CAUGHT_UP, entry("b", b"1", b)]


async def test_a_prefix_names_a_family(store: Store) -> None:
    below = await store.put("target.h1", b"1")
    await store.put("targets.h1", b"2")
    await store.put("other", b"3")
    async with store.watch("target") as changes:
        assert await take(changes, 2) == [entry("target.h1", b"1", below), CAUGHT_UP]
        await store.put("targets.h2", b"4")
        await store.put("tar", b"4")
        deep = await store.put("target.h2.x", b"5")
        assert await take_one(changes) == entry("target.h2.x", b"5", deep)


async def test_a_full_key_names_itself(store: Store) -> None:
    async with store.watch("target.h1") as changes:
        assert await take_one(changes) is CAUGHT_UP
        await store.put("target.h2", b"1")
        await store.put("target", b"1")
        own = await store.put("target.h1", b"2")
        assert await take_one(changes) == entry("target.h1", b"2", own)


async def test_a_malformed_prefix_is_refused(store: Store) -> None:
    for prefix in ("target.", "target.*", ">"):
        with pytest.raises(InvalidError):
            async with store.watch(prefix):
                pass
        with pytest.raises(InvalidError):
            await store.keys(prefix)


async def test_a_batch_is_told_in_the_order_of_its_revisions(store: Store) -> None:
    keys = [f"k.{number}" for number in (3, 1, 2)]
    async with store.watch("k") as changes:
        last = await store.put_many([Write(key=key, value=b"1") for key in keys])
        assert await take(changes, 4) == [
            CAUGHT_UP,
            *(entry(key, b"1", last - 2 + i) for i, key in enumerate(keys)),
        ]


async def test_many_keys_and_changes_arrive_in_order(store: Store) -> None:
    """More than one batch of whatever carries them."""
    count = 700
    await store.put_many([Write(key=f"k.{number}", value=b"1") for number in range(count)])
    async with store.watch() as changes:
        await store.put_many([Write(key=f"k.{number}", value=b"2") for number in range(count)])
        told = await take(changes, count + 1)
        revisions = [change.revision for change in told if isinstance(change, Entry)]
        assert revisions == sorted(revisions)
        newest = {change.key: change.value for change in told if isinstance(change, Entry)}
        while set(newest.values()) != {b"2"}:
            change = await take_one(changes)
            assert isinstance(change, Entry | CaughtUp)
            if isinstance(change, Entry):
                newest[change.key] = change.value
        assert len(newest) == count


async def test_several_watches_see_the_same(store: Store, same_store: Store) -> None:
    async with store.watch() as first, same_store.watch("a") as second:
        revision = await store.put("a", b"1")
        for changes in (first, second):
            assert await take(changes, 2) == [CAUGHT_UP, entry("a", b"1", revision)]


async def test_leaving_the_context_ends_the_watch(store: Store) -> None:
    ended = anyio.Event()

    async def read(changes: AsyncIterator[Entry | CaughtUp]) -> None:
        assert await take_all(changes) == []
        ended.set()

    async with anyio.create_task_group() as tasks:
        async with store.watch() as changes:
            assert await take_one(changes) is CAUGHT_UP
            tasks.start_soon(read, changes)
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            await ended.wait()
