"""Work done once for each key: one at a time, and nothing is kept for a key at rest."""

from __future__ import annotations

import anyio
import pytest

from hosts.once import OncePerKey


async def test_a_key_has_one_holder_at_a_time_and_others_do_not_wait_for_it() -> None:
    once = OncePerKey[str]()
    order: list[str] = []
    go_on = anyio.Event()

    async def hold(name: str, key: str) -> None:
        async with once.turn(key):
            order.append(f"{name} in")
            if name == "first":
                await go_on.wait()
            order.append(f"{name} out")

    async with anyio.create_task_group() as group:
        for name, key in (("first", "a"), ("second", "a"), ("other", "b")):
            group.start_soon(hold, name, key)
        await anyio.wait_all_tasks_blocked()
        assert order == ["first in", "other in", "other out"]
        go_on.set()
    assert order[3:] == ["first out", "second in", "second out"]
    assert len(once) == 0


async def test_a_key_that_others_wait_for_is_not_dropped_when_its_holder_fails() -> None:
    """Else the next one to ask would take a lock of its own, and work beside the one that waits."""
    once = OncePerKey[str]()
    running = 0
    fail = anyio.Event()
    go_on = anyio.Event()

    async def failing() -> None:
        async with once.turn("a"):
            await fail.wait()
            raise ValueError("no")

    async def expecting() -> None:
        with pytest.raises(ValueError, match="no"):
            await failing()

    async def working() -> None:
        nonlocal running
        async with once.turn("a"):
            running += 1
            assert running == 1
            await go_on.wait()
            running -= 1

    async with anyio.create_task_group() as group:
        group.start_soon(expecting)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(working)
        await anyio.wait_all_tasks_blocked()
        fail.set()
        await anyio.wait_all_tasks_blocked()
        group.start_soon(working)
        await anyio.wait_all_tasks_blocked()
        assert len(once) == 1
        go_on.set()
    assert len(once) == 0


async def test_who_gives_up_waiting_leaves_the_key_to_the_others() -> None:
    once = OncePerKey[int]()

    async def wait_too() -> None:
        async with once.turn(1):
            raise AssertionError("the key is held")

    async with once.turn(1):
        async with anyio.create_task_group() as group:
            group.start_soon(wait_too)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert len(once) == 1
    async with once.turn(1):
        assert len(once) == 1
    assert len(once) == 0
