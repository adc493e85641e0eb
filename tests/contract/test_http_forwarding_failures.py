"""What guests, clients and deadlines do to forwarded requests: over memory and a real server."""

from __future__ import annotations

import anyio
import pytest

from hosts.callcontext import CallContext
from hosts.http.base import Exchange, HttpError
from lattice.clock import SystemClock
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    GuestTrapError,
    InternalError,
    NoRouteError,
    OutcomeUnknownError,
)
from lattice.wire.messages import HOPS_MAX
from tests.contract.forwarding import Party, hello
from tests.integration.recorded_exchange import RecordedExchange

LIMIT_S = 20.0


async def test_without_a_replica_there_is_no_route(near: Party) -> None:
    with anyio.fail_after(LIMIT_S), pytest.raises(NoRouteError, match="no host has a ready"):
        await near.ask(RecordedExchange())


async def test_what_a_guest_fails_with_is_told(near: Party, far: Party) -> None:
    async def trap(exchange: Exchange) -> None:
        raise GuestTrapError("unreachable")

    await far.serves("site", trap)
    with anyio.fail_after(LIMIT_S), pytest.raises(GuestTrapError, match="unreachable"):
        await near.ask(RecordedExchange())


async def test_a_guest_that_fails_within_its_answer_cuts_it_off(near: Party, far: Party) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.begin(200, ())
        await exchange.write(b"half")
        raise GuestTrapError("unreachable")

    site = await far.serves("site", half)
    exchange = RecordedExchange()
    with anyio.fail_after(LIMIT_S), pytest.raises(GuestTrapError, match="unreachable"):
        await near.ask(exchange)
    assert not exchange.is_whole
    assert len(site.contexts) == 1


async def test_a_handler_whose_exchange_broke_is_answered_for(near: Party, far: Party) -> None:
    async def broken(exchange: Exchange) -> None:
        raise HttpError("broken")

    await far.serves("site", broken)
    with anyio.fail_after(LIMIT_S), pytest.raises(OutcomeUnknownError, match="broken"):
        await near.ask(RecordedExchange())


@pytest.mark.parametrize("begins", [False, True])
async def test_a_mistake_of_a_handler_is_told_with_an_id(
    near: Party, far: Party, begins: bool
) -> None:
    async def mistaken(exchange: Exchange) -> None:
        if begins:
            await exchange.begin(200, ())
        raise RuntimeError("a mistake")

    await far.serves("site", mistaken)
    exchange = RecordedExchange(method="POST")
    wanted = OutcomeUnknownError if begins else InternalError
    with anyio.fail_after(LIMIT_S), pytest.raises(wanted):
        await near.ask(exchange)
    assert not exchange.is_whole


@pytest.mark.parametrize("begins", [False, True])
async def test_a_handler_that_does_not_finish_is_a_mistake_and_is_told(
    near: Party, far: Party, begins: bool
) -> None:
    async def nothing(exchange: Exchange) -> None:
        if begins:
            await exchange.begin(200, ())

    await far.serves("site", nothing)
    exchange = RecordedExchange()
    with anyio.fail_after(LIMIT_S), pytest.raises(InternalError, match="before its answer was"):
        await near.ask(exchange)
    assert not exchange.is_whole


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("begins", [False, True])
async def test_a_client_that_leaves_ends_the_call(
    near: Party, far: Party, begins: bool, is_streamed: bool
) -> None:
    started, ended = anyio.Event(), anyio.Event()

    async def wait(exchange: Exchange) -> None:
        while await exchange.read(1000):
            pass
        if begins:
            await exchange.begin(200, ())
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    await far.serves("site", wait)
    exchange = RecordedExchange(method="POST", parts=[b"body"] if is_streamed else None)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(_until_broken, near, exchange)
            await started.wait()
            exchange.leave()
            await ended.wait()


async def test_a_client_whose_body_breaks_off_ends_the_call(near: Party, far: Party) -> None:
    ended = anyio.Event()

    async def read_all(exchange: Exchange) -> None:
        try:
            while await exchange.read(65536):
                pass
        finally:
            ended.set()

    class Broken(RecordedExchange):
        async def read(self, limit_bytes: int) -> bytes:
            if self.read_bytes:
                raise HttpError("the client went away")
            return await super().read(limit_bytes)

    site = await far.serves("site", read_all)
    exchange = Broken(method="PUT", parts=[b"x" * 1000] * 2)
    with anyio.fail_after(LIMIT_S):
        with pytest.raises(HttpError, match="the client went away"):
            await near.ask(exchange)
        await ended.wait()
    assert len(site.contexts) == 1


async def test_who_goes_on_after_the_answer_is_left_alone_and_reads_no_more(
    near: Party, far: Party
) -> None:
    told: list[str] = []
    ended = anyio.Event()

    async def linger(exchange: Exchange) -> None:
        await exchange.begin(200, ())
        await exchange.finish()
        try:
            while await exchange.read(65536):
                pass
        except HttpError as error:
            told.append(str(error))
        ended.set()

    class Endless(RecordedExchange):
        async def read(self, limit_bytes: int) -> bytes:
            if self.read_bytes:
                await anyio.sleep_forever()
            return await super().read(limit_bytes)

    await far.serves("site", linger)
    exchange = Endless(method="POST", parts=[b"x"])
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
        assert exchange.is_whole
        await ended.wait()
    assert "gave it up" in told[0]


async def test_a_passed_deadline_is_told_and_goes_along(near: Party, far: Party) -> None:
    site = await far.serves("site", hello)
    now_s = SystemClock().monotonic_s()
    with pytest.raises(DeadlineExceededError):
        await near.relay.send("site", RecordedExchange(), CallContext(deadline_at_s=now_s - 1))
    assert not site.contexts
    await near.relay.send("site", RecordedExchange(), CallContext(deadline_at_s=now_s + 5))
    assert site.contexts[0].deadline_at_s - now_s < 5.5


async def test_what_a_call_knows_of_itself_goes_along(near: Party, far: Party) -> None:
    site = await far.serves("site", hello)
    context = CallContext(
        deadline_at_s=SystemClock().monotonic_s() + 5,
        hops=3, chain=("a", "b"), caller="b", trace="00-x-y-01",
    )  # fmt: skip
    told = await near.relay.send("site", RecordedExchange(), context)
    seen = site.contexts[0]
    assert (seen.hops, seen.chain, seen.caller, seen.trace) == (3, ("a", "b"), "b", "00-x-y-01")
    assert (told.host, told.generation) == (far.id, 1)


async def test_a_chain_that_is_too_long_ends(near: Party, far: Party) -> None:
    site = await far.serves("site", hello)
    deadline_at_s = SystemClock().monotonic_s() + 5
    context = CallContext(deadline_at_s=deadline_at_s, hops=HOPS_MAX + 1, chain=("a", "b"))
    with pytest.raises(ConflictError, match="a -> b"):
        await near.relay.send("site", RecordedExchange(), context)
    assert not site.contexts


async def _until_broken(near: Party, exchange: RecordedExchange) -> None:
    with pytest.raises(HttpError):
        await near.ask(exchange)
