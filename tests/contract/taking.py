"""Reading a known number of items, so that a missing one fails instead of hanging."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

import anyio

T = TypeVar("T")

LIMIT_S = 10.0


async def take(items: AsyncIterator[T], count: int) -> list[T]:
    """Return the next `count` items."""
    taken: list[T] = []
    with anyio.move_on_after(LIMIT_S):
        while len(taken) < count:
            taken.append(await anext(items))
        return taken
    raise AssertionError(f"{len(taken)} of {count} items within {LIMIT_S} s: {taken!r}")


async def take_one(items: AsyncIterator[T]) -> T:
    return (await take(items, 1))[0]


async def take_all(items: AsyncIterator[T]) -> list[T]:
    """Return the items up to the end of the iteration."""
    with anyio.fail_after(LIMIT_S):
        return [item async for item in items]
