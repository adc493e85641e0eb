"""A watch sees what waits for a loop, from another thread; guests give way to it."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hosts.engine.loopwatch import LoopWatch
from hosts.engine.turns import Ticker, Turns

WAIT_S = 10.0


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def in_a_loop_of_its_own(test: Callable[[Pair], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a loop that waits for nothing else: other tests may leave something behind."""

    @functools.wraps(test)
    def run(pair: Pair) -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, test(pair)).result()

    return run


def _hold_the_loop_until(fact: Callable[[], bool]) -> None:
    """Do what a guest does: use the loop's thread, here until the fact or far too long."""
    end_s = time.monotonic() + WAIT_S
    while not fact():
        assert time.monotonic() < end_s, "the fact never came"


@in_a_loop_of_its_own
async def test_a_watch_sees_io_that_waits_until_the_loop_has_taken_it(pair: Pair) -> None:
    ours, theirs = pair
    loop, taken = asyncio.get_running_loop(), asyncio.Event()
    watch = LoopWatch(loop)
    assert watch.can_wait
    assert not watch.wait(0)

    def take() -> None:
        ours.recv(1)
        taken.set()

    loop.add_reader(ours, take)
    theirs.send(b"x")
    assert watch.wait(WAIT_S)
    assert watch.wait(WAIT_S)
    with anyio.fail_after(WAIT_S):
        await taken.wait()
    assert not watch.wait(0)
    loop.remove_reader(ours)


@in_a_loop_of_its_own
async def test_a_loop_with_a_callback_that_waits_is_not_quiet(pair: Pair) -> None:
    watch = LoopWatch(asyncio.get_running_loop())
    assert watch.is_quiet
    asyncio.get_running_loop().call_soon(lambda: None)
    assert not watch.is_quiet
    await anyio.lowlevel.checkpoint()
    assert watch.is_quiet


def test_no_loop_has_no_watch_and_a_closed_one_is_never_ready() -> None:
    assert LoopWatch.of_running_loop() is None
    loop = asyncio.new_event_loop()
    watch = LoopWatch(loop)
    loop.close()
    assert not watch.wait(0)
    assert not LoopWatch(loop).can_wait


@in_a_loop_of_its_own
async def test_a_guest_that_runs_for_long_is_interrupted_as_soon_as_io_waits(pair: Pair) -> None:
    ours, theirs = pair
    epochs, is_suspect = 0, False

    def advance() -> None:
        nonlocal epochs
        epochs += 1

    ticker = Ticker(advance, lambda: is_suspect)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: None)
    try:
        ticker.begin_turn(is_long=True, is_owed=False)
        ticker.enter()
        _hold_the_loop_until(lambda: epochs > 3)
        assert not ticker.is_wanted
        theirs.send(b"x")
        _hold_the_loop_until(lambda: ticker.is_wanted)
        # Who has waited for long keeps its tick, and so does who never ran for long.
        for is_long, is_owed in ((True, True), (False, False)):
            ticker.begin_turn(is_long=is_long, is_owed=is_owed)
            before = epochs
            _hold_the_loop_until(lambda before=before: epochs > before + 3)
            ticker.begin_turn(is_long=is_long, is_owed=is_owed)  # one more may have been under way
            _hold_the_loop_until(lambda before=before: epochs > before + 6)
            assert not ticker.is_wanted
        is_suspect = True  # one of the same program ran for long
        _hold_the_loop_until(lambda: ticker.is_wanted)
    finally:
        ticker.leave()
        ticker.close()
        loop.remove_reader(ours)


async def test_a_guest_that_yielded_waits_while_others_have_work_but_not_for_ever() -> None:
    turns, done = Turns(), False
    passes = 0
    loop = asyncio.get_running_loop()

    def work() -> None:
        nonlocal passes
        passes += 1
        if not done:
            loop.call_soon(work)

    work()
    with anyio.fail_after(WAIT_S):
        await turns.wait(is_woken=False)
    done = True
    assert passes > 10
    assert turns.take_owed()
    assert not turns.take_owed()


async def test_a_guest_that_yielded_goes_on_at_once_when_nobody_has_work() -> None:
    turns = Turns()
    with anyio.fail_after(WAIT_S):
        await turns.wait(is_woken=False)
    assert not turns.take_owed()
