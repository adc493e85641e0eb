"""Bodies and time-outs of requests between deployments, in memory and over the bus."""

from __future__ import annotations

import anyio
import pytest

from hosts.engine.webvalues import Timeouts
from hosts.http.base import Exchange
from hosts.http.innercall import WAITING_BYTES
from lattice.errors import GuestTrapError, OverloadedError
from tests.contract.asking_guest import LIMIT_S, Parts, fails, guest_on, whole
from tests.contract.forwarding import Net, Party, party_on


async def hello(exchange: Exchange) -> None:
    exchange.answer(200, ((b"x-y", b"1"), (b"connection", b"close")), b"hello")


async def echo(exchange: Exchange) -> None:
    await exchange.inform(103, ())
    await exchange.begin(200, ())
    while part := await exchange.read(65536):
        await exchange.write(part)
    await exchange.finish(exchange.trailers)


@pytest.fixture(params=["local", "remote"])
async def answering(request: pytest.FixtureRequest, near: Party, far: Party) -> Party:
    """A host that answers, in memory or over the bus."""
    return near if request.param == "local" else far


async def test_bodies_and_trailers_go_both_ways(near: Party, answering: Party) -> None:
    await answering.serves("site", echo)
    parts = [bytes([number]) * 30_000 for number in range(60)]
    async with guest_on(near) as guest:
        call = guest.begin(method="POST", body=Parts(*parts, trailers=((b"t", b"1"),)))
        with anyio.fail_after(LIMIT_S):
            assert await whole(call) == b"".join(parts)
    assert list(call.trailers) == [(b"t", b"1")]


async def test_a_guest_that_reads_nothing_holds_the_other_back(
    near: Party, answering: Party
) -> None:
    written = 0
    ended = anyio.Event()

    async def endless(exchange: Exchange) -> None:
        nonlocal written
        await exchange.begin(200, ())
        try:
            while True:
                await exchange.write(b"x" * 10_000)
                written += 10_000
        finally:
            ended.set()

    await answering.serves("site", endless)
    async with guest_on(near) as guest:
        call = guest.begin()
        with anyio.fail_after(LIMIT_S):
            await call.answered()
            for _ in range(500):
                await anyio.lowlevel.checkpoint()
            assert written <= WAITING_BYTES + 2 * 512 * 1024
            call.cancel()
            await ended.wait()


async def test_head_is_answered_without_a_body(near: Party, answering: Party) -> None:
    await answering.serves("site", hello)
    async with guest_on(near) as guest:
        answer, body = await guest.fetch(method="HEAD")
    assert (answer.status, body) == (200, b"")


async def test_a_body_that_is_given_up_breaks_the_request_off(
    near: Party, answering: Party
) -> None:
    await answering.serves("site", echo)
    async with guest_on(near) as guest:
        with fails("connection-terminated"), anyio.fail_after(LIMIT_S):
            await whole(guest.begin(method="POST", body=Parts(b"a", b"!")))


@pytest.mark.parametrize("length", [b"1", b"3"])
async def test_a_body_keeps_to_its_length(near: Party, answering: Party, length: bytes) -> None:
    await answering.serves("site", echo)
    async with guest_on(near) as guest:
        with fails("HTTP-request-body-size"), anyio.fail_after(LIMIT_S):
            headers = ((b"content-length", length),)
            await whole(guest.begin(method="POST", body=Parts(b"ab"), headers=headers))


async def test_an_answer_that_does_not_come_times_out(near: Party, answering: Party) -> None:
    async def never(exchange: Exchange) -> None:
        await anyio.sleep_forever()

    await answering.serves("site", never)
    async with guest_on(near) as guest:
        with fails("connection-read-timeout"):
            await guest.fetch(timeouts=Timeouts(first_byte_s=0.05))


async def test_several_may_wait_for_one_answer(near: Party) -> None:
    go_on = anyio.Event()

    async def late(exchange: Exchange) -> None:
        await go_on.wait()
        exchange.answer(200, (), b"late")

    await near.serves("site", late)
    async with guest_on(near) as guest:
        call = guest.begin()
        got: list[object] = []

        async def wait() -> None:
            got.append((await call.answered()).status)

        async def read() -> None:
            got.append(await whole(call))

        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as group:
                for work in (wait, read, wait):
                    group.start_soon(work)
                await anyio.lowlevel.checkpoint()
                go_on.set()
        assert sorted(map(str, got)) == ["200", "200", "b'late'"]


async def test_a_body_that_stops_times_out(near: Party, answering: Party) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.begin(200, ())
        await exchange.write(b"half")
        await anyio.sleep_forever()

    await answering.serves("site", half)
    async with guest_on(near) as guest:
        with fails("connection-read-timeout"):
            await guest.fetch(timeouts=Timeouts(between_bytes_s=0.1))


async def test_what_a_client_would_get_the_guest_gets(near: Party, answering: Party) -> None:
    async def fail(exchange: Exchange) -> None:
        if exchange.head.target == "/full":
            raise OverloadedError("full", retry_after_ms=3000)
        if exchange.head.target == "/half":
            await exchange.begin(200, ())
            await exchange.write(b"half")
        raise GuestTrapError("unreachable")

    await answering.serves("site", fail)
    async with guest_on(near) as guest:
        answer, body = await guest.fetch(target="/")
        assert (answer.status, b"unreachable" in body) == (500, False)
        answer, _ = await guest.fetch(target="/full")
        assert (answer.status, dict(answer.headers)[b"retry-after"]) == (503, b"3")
        with fails("HTTP-response-incomplete"):
            await guest.fetch(target="/half")


async def test_an_instance_that_closes_ends_its_requests(near: Party, answering: Party) -> None:
    started, ended = anyio.Event(), anyio.Event()

    async def never(exchange: Exchange) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    await answering.serves("site", never)
    async with guest_on(near) as guest:
        call = guest.begin()
        with anyio.fail_after(LIMIT_S):
            await started.wait()
            guest.outlet.close()
            await ended.wait()
            with fails("connection-terminated"):
                await call.answered()


async def test_a_host_that_stops_ends_requests() -> None:
    async with Net(None).bus("near") as (host, bus):
        async with party_on(bus, host) as party:
            await party.serves("site", hello)
        async with guest_on(party) as guest:
            with fails("connection-terminated"):
                await guest.fetch()
