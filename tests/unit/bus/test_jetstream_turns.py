"""Fenced batches that take turns: what goes together, and what each asker is told."""

from __future__ import annotations

import anyio

from lattice.bus.base import Fence, Write
from lattice.bus.jetstream_turns import BatchTurns
from lattice.errors import ConflictError, OutcomeUnknownError, UnavailableError
from lattice.testing import eventually

TERM = Fence("term", 3)


class Server:
    """Takes batches when it is let, one at a time; refuses those with a stale write."""

    def __init__(self):
        self.batches = []
        self.revision = 0
        self.go = anyio.Event()
        self.is_busy = False
        self.error = None

    async def send(self, writes, fence):
        assert not self.is_busy, "one at a time"
        self.is_busy = True
        try:
            self.batches.append(("".join(write.key for write in writes), fence.revision))
            await self.go.wait()
        finally:
            self.is_busy = False
        if self.error:
            raise self.error
        if any(write.expect == 99 for write in writes):
            raise ConflictError("stale")
        self.revision += len(writes)
        return self.revision


def write(key, expect=0):
    return Write(key=key, value=b"x", expect=expect)


async def run(turns, server, *batches, fences=()):
    """Ask for all batches while the first is sent, and return what came of each."""
    results = {}

    async def ask(number, writes):
        fence = fences[number] if fences else TERM
        try:
            results[number] = await turns.put_many(writes, fence)
        except (ConflictError, UnavailableError) as exc:
            results[number] = exc

    async with anyio.create_task_group() as group:
        for number, writes in enumerate(batches):
            group.start_soon(ask, number, writes)
            await eventually(lambda: len(server.batches) == 1)  # the first is under way
        await eventually(lambda: len(turns._waiting) == len(batches) - 1)
        server.go.set()
    return [results[number] for number in range(len(batches))]


async def test_those_that_wait_go_as_one_and_each_learns_its_own_revision():
    server = Server()
    found = await run(
        BatchTurns(server.send), server, [write("a")], [write("b"), write("c")], [write("d")]
    )
    assert server.batches == [("a", 3), ("bcd", 3)]
    assert found == [1, 3, 4]


async def test_a_stale_one_is_refused_alone():
    server = Server()
    found = await run(BatchTurns(server.send), server, [write("a")], [write("b", 99)], [write("c")])
    assert server.batches == [("a", 3), ("bc", 3), ("b", 3), ("c", 3)]
    assert found[0] == 1
    assert isinstance(found[1], ConflictError)
    assert found[2] == 2


async def test_other_fences_and_the_same_key_do_not_go_together():
    server = Server()
    found = await run(
        BatchTurns(server.send), server,
        [write("a")], [write("b")], [write("c")], [write("b")],
        fences=[TERM, TERM, Fence("term", 4), TERM],
    )  # fmt: skip
    assert server.batches == [("a", 3), ("b", 3), ("c", 4), ("b", 3)]
    assert found == [1, 2, 3, 4]


async def test_an_outage_is_told_to_all_that_went_together():
    server = Server()
    server.error = OutcomeUnknownError("lost")
    found = await run(BatchTurns(server.send), server, [write("a")], [write("b")], [write("c")])
    assert [type(each) for each in found] == [OutcomeUnknownError] * 3


async def test_one_that_is_cancelled_while_it_waits_is_not_sent():
    server = Server()
    turns = BatchTurns(server.send)
    async with anyio.create_task_group() as group:
        group.start_soon(turns.put_many, [write("a")], TERM)
        await eventually(lambda: len(server.batches) == 1)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await turns.put_many([write("b")], TERM)
        server.go.set()
    assert await turns.put_many([write("c")], TERM) == 2
    assert server.batches == [("a", 3), ("c", 3)]


async def test_when_the_sender_is_cancelled_the_others_do_not_know_and_the_next_is_sent():
    server = Server()
    turns = BatchTurns(server.send)
    first, leader = anyio.CancelScope(), anyio.CancelScope()
    told = []

    async def ask(scope, key):
        with scope:
            try:
                await turns.put_many([write(key)], TERM)
            except OutcomeUnknownError as exc:
                told.append((key, exc.kind))

    async with anyio.create_task_group() as group:
        group.start_soon(ask, first, "a")
        await eventually(lambda: len(server.batches) == 1)
        group.start_soon(ask, leader, "b")
        group.start_soon(ask, anyio.CancelScope(), "c")
        await eventually(lambda: len(turns._waiting) == 2)
        first.cancel()
        await eventually(lambda: len(server.batches) == 2)
        leader.cancel()
    assert told == [("c", "outcome-unknown")]
    server.go.set()
    assert await turns.put_many([write("d")], TERM) == 1
