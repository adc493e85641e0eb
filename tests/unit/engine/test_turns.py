"""Guests that yielded run one by one, woken ones first; epochs advance only while guests run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import anyio
import anyio.lowlevel

from hosts.engine.turns import IDLE_TICKS, Ticker, Turns

WAIT_S = 10.0


async def test_one_yielded_guest_runs_in_each_turn_of_the_loop() -> None:
    turns, ran = Turns(), list[str]()
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    async def guest() -> None:
        await turns.wait(is_woken=False)
        ran.append("x")
        turns.spend()

    guests = [asyncio.ensure_future(guest()) for _ in range(5)]

    def watch() -> None:
        seen.append(len(ran))
        if len(ran) < 5:
            loop.call_soon(watch)

    watch()
    await asyncio.wait_for(asyncio.gather(*guests), WAIT_S)
    steps = [after - before for before, after in pairwise(seen)]
    assert max(steps) == 1


async def test_woken_guests_go_before_yielded_ones() -> None:
    turns, ran = Turns(), list[str]()

    async def wait(name: str, is_woken: bool) -> None:
        await turns.wait(is_woken=is_woken)
        ran.append(name)

    waiting = [
        asyncio.ensure_future(wait(name, name.isupper())) for name in ("a", "b", "W", "c", "X")
    ]
    await asyncio.wait_for(asyncio.gather(*waiting), WAIT_S)
    assert ran[:2] == ["W", "X"]
    assert ran[2:] == ["a", "b", "c"]


async def test_guest_that_finds_the_turn_spent_waits_for_the_next() -> None:
    turns, ran = Turns(), list[str]()

    async def spend(name: str) -> None:
        await turns.wait(is_woken=True)
        ran.append(name)
        turns.spend()

    # Both are woken in one turn; the first uses it up.
    both = [asyncio.ensure_future(spend(name)) for name in "ab"]
    await asyncio.wait_for(asyncio.gather(*both), WAIT_S)
    assert ran == ["a", "b"]


async def test_cancelled_guest_leaves_the_queue_and_blocks_nobody() -> None:
    turns, ran = Turns(), list[str]()

    async def wait(name: str) -> None:
        await turns.wait(is_woken=False)
        ran.append(name)

    first, second = (asyncio.ensure_future(wait(name)) for name in "ab")
    await anyio.lowlevel.checkpoint()
    first.cancel()
    await asyncio.wait_for(second, WAIT_S)
    assert ran == ["b"]


def test_loop_that_ended_with_guests_waiting_leaves_nothing_behind() -> None:
    turns = Turns()

    async def abandon() -> None:
        turns.spend()

    async def go_on() -> None:
        with anyio.fail_after(WAIT_S):
            await turns.wait(is_woken=True)

    asyncio.run(abandon())
    asyncio.run(go_on())


def _until(fact: Callable[[], bool], advanced: threading.Event) -> None:
    for _ in range(1000):
        if fact():
            return
        advanced.wait(0.01)
        advanced.clear()
    raise AssertionError("the fact never came")


def _reached(ticks: Callable[[], int], enough: int) -> bool:
    return ticks() >= enough


def test_ticker_ticks_while_a_guest_runs_and_parks_after() -> None:
    ticks = 0
    advanced = threading.Event()

    def advance() -> None:
        nonlocal ticks
        ticks += 1
        advanced.set()

    ticker = Ticker(advance)
    assert ticker.is_parked
    for rounds in (1, 2):
        ticker.enter()
        enough = rounds * 3 * IDLE_TICKS
        _until(partial(_reached, lambda: ticks, enough), advanced)
        assert not ticker.is_parked
        ticker.leave()
        _until(lambda: ticker.is_parked, advanced)
    ticker.close()
    ticker.close()


def test_ticker_closes_without_having_run() -> None:
    Ticker(lambda: None).close()
