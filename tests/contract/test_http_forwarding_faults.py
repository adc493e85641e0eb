"""What becomes of forwarded requests when messages are lost and hosts are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import anyio
import pytest

from hosts.http.base import Exchange
from lattice.bus.embedded import EmbeddedNats
from lattice.errors import NoRouteError, OutcomeUnknownError
from lattice.wire.codec import decode_as
from lattice.wire.http import HttpFrame
from tests.contract.faulty_bus import Fate, FaultyBus
from tests.contract.forwarding import Net, Party, party_on
from tests.integration.recorded_exchange import RecordedExchange

LIMIT_S = 20.0


class Shaky:
    """Hosts whose messages can be lost, and who can be gone from one moment to the next."""

    def __init__(self, net: Net, stack: AsyncExitStack) -> None:
        self._net = net
        self._stack = stack

    async def host(
        self, name: str, fate: Callable[[str, bytes], Fate] | None = None
    ) -> tuple[Party, FaultyBus]:
        host, inner = await self._stack.enter_async_context(self._net.bus(name))
        bus = FaultyBus(inner, fate) if fate else FaultyBus(inner)
        return await self._stack.enter_async_context(party_on(bus, host)), bus


@pytest.fixture
async def shaky(broker: EmbeddedNats | None) -> AsyncIterator[Shaky]:
    async with AsyncExitStack() as stack:
        yield Shaky(Net(broker), stack)


def frames(kind: str, fate: Fate, number: int = 0) -> Callable[[str, bytes], Fate]:
    """Return what decides over the frames of one kind: their first, second, ... alone."""
    seen: Counter[str] = Counter()

    def decide(subject: str, body: bytes) -> Fate:
        if ".http.p" not in subject:
            return "fine"
        found = decode_as(HttpFrame, body).kind
        seen[found] += 1
        return fate if found == kind and seen[found] == number + 1 else "fine"

    return decide


class Answers:
    """A handler that keeps which host answered, and whose host goes away while it does."""

    def __init__(self, *, after_s: str = "") -> None:
        self.calls: list[str] = []
        self.when = after_s

    def on(self, party: Party, bus: FaultyBus) -> Callable[[Exchange], object]:
        async def answer(exchange: Exchange) -> None:
            self.calls.append(party.id)
            if len(self.calls) > 1:  # the one that takes over
                exchange.answer(200, (), b"in the end")
                return
            if self.when == "within":
                await exchange.begin(200, ())
                await exchange.write(b"half")
            if self.when == "reading":
                await exchange.read(1)
            bus.cut()
            await anyio.sleep_forever()

        return answer


async def two_hosts(shaky: Shaky, answers: Answers) -> Party:
    """Return a host that takes requests, besides two that answer them."""
    near, _ = await shaky.host("near")
    for name in ("one", "two"):
        party, bus = await shaky.host(name)
        await party.serves("site", answers.on(party, bus))
    return near


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_an_idempotent_request_goes_to_another_host_when_its_own_is_gone(
    shaky: Shaky, method: str
) -> None:
    answers = Answers()
    near = await two_hosts(shaky, answers)
    exchange = RecordedExchange(method=method, body=b"" if method != "PUT" else b"body")
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert exchange.status == 200
    assert len(answers.calls) == len(set(answers.calls)) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_any_other_request_runs_at_most_once(shaky: Shaky, method: str) -> None:
    answers = Answers()
    near = await two_hosts(shaky, answers)
    exchange = RecordedExchange(method=method)
    with anyio.fail_after(LIMIT_S), pytest.raises(OutcomeUnknownError, match="is unknown"):
        await near.ask(exchange)
    assert len(answers.calls) == 1
    assert not exchange.status


async def test_an_answer_that_has_begun_is_cut_off_when_its_host_is_gone(shaky: Shaky) -> None:
    answers = Answers(after_s="within")
    near = await two_hosts(shaky, answers)
    exchange = RecordedExchange()
    with anyio.fail_after(LIMIT_S), pytest.raises(OutcomeUnknownError):
        await near.ask(exchange)
    assert (exchange.status, bytes(exchange.received)) == (200, b"half")
    assert not exchange.is_whole
    assert len(answers.calls) == 1


async def test_a_body_that_was_streamed_does_not_go_twice(shaky: Shaky) -> None:
    answers = Answers(after_s="reading")
    near = await two_hosts(shaky, answers)
    exchange = RecordedExchange(method="PUT", parts=[b"x" * 1000] * 3)
    with anyio.fail_after(LIMIT_S), pytest.raises(OutcomeUnknownError):
        await near.ask(exchange)
    assert len(answers.calls) == 1


async def test_a_request_that_ends_every_host_is_not_sent_to_all(shaky: Shaky) -> None:
    near, _ = await shaky.host("near")
    calls: list[str] = []

    def deadly(party: Party, bus: FaultyBus) -> Callable[[Exchange], object]:
        async def answer(exchange: Exchange) -> None:
            calls.append(party.id)
            bus.cut()
            await anyio.sleep_forever()

        return answer

    for name in ("one", "two", "three"):
        party, bus = await shaky.host(name)
        await party.serves("site", deadly(party, bus))
    with anyio.fail_after(LIMIT_S), pytest.raises(OutcomeUnknownError):
        await near.ask(RecordedExchange())
    assert len(calls) == 2


async def test_a_request_that_was_turned_down_goes_elsewhere_whatever_its_method(
    shaky: Shaky,
) -> None:
    near, _ = await shaky.host("near")
    leaving, _ = await shaky.host("one")
    staying, _ = await shaky.host("two")
    await leaving.relay.open("site")  # it takes requests still, and has nobody to answer them

    async def answer(exchange: Exchange) -> None:
        exchange.answer(200, (), b"")

    site = await staying.serves("site", answer)

    async def leave() -> None:
        await leaving.sites.turned_down.wait()
        await leaving.relay.close("site")

    asked = 0
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            while not leaving.sites.turned_down.is_set():
                exchange = RecordedExchange(method="POST", parts=[b"body"])
                await near.ask(exchange)
                assert exchange.status == 200
                asked += 1
    assert len(site.contexts) == asked


async def test_a_request_that_everybody_turns_down_has_no_route(shaky: Shaky) -> None:
    near, _ = await shaky.host("near")
    leaving, _ = await shaky.host("one")
    await leaving.relay.open("site")
    with anyio.fail_after(LIMIT_S), pytest.raises(NoRouteError, match="ready on this host"):
        await near.ask(RecordedExchange())


@pytest.mark.parametrize("begins", [False, True])
async def test_a_host_that_stops_ends_what_takes_too_long_and_others_take_it_up(
    shaky: Shaky, monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    monkeypatch.setattr("lattice.bus.serving.DRAIN_S", 0.05)
    monkeypatch.setattr("lattice.bus.serving.PATIENCE_S", 0.05)
    near, _ = await shaky.host("near")
    stopping, _ = await shaky.host("one")
    staying, _ = await shaky.host("two")
    started = anyio.Event()

    async def slow(exchange: Exchange) -> None:
        if begins:
            await exchange.begin(200, ())
        started.set()
        await anyio.sleep_forever()

    async def quick(exchange: Exchange) -> None:
        exchange.answer(200, (), b"in the end")

    await stopping.serves("site", slow)
    exchange = RecordedExchange()
    ended: list[Exception | None] = []

    async def ask() -> None:
        try:
            await near.ask(exchange)
            ended.append(None)
        except OutcomeUnknownError as error:
            ended.append(error)

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await started.wait()
            await staying.serves("site", quick)
            await stopping.relay.close("site")
    if begins:
        assert isinstance(ended[0], OutcomeUnknownError)
        assert not exchange.is_whole
    else:
        assert ended == [None]
        assert bytes(exchange.received) == b"in the end"


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_client_host_that_is_gone_ends_the_call(shaky: Shaky, is_streamed: bool) -> None:
    near, bus = await shaky.host("near")
    far, _ = await shaky.host("far")
    started, ended = anyio.Event(), anyio.Event()

    async def wait(exchange: Exchange) -> None:
        while await exchange.read(1000):
            pass
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    await far.serves("site", wait)
    exchange = RecordedExchange(method="POST", parts=[b"body"] if is_streamed else None)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(ask_in_vain, near, exchange)
            await started.wait()
            bus.cut()
            await ended.wait()
            group.cancel_scope.cancel()


async def ask_in_vain(near: Party, exchange: RecordedExchange) -> None:
    with pytest.raises(OutcomeUnknownError):
        await near.ask(exchange)


async def echo(exchange: Exchange) -> None:
    await exchange.begin(200, ())
    while part := await exchange.read(65536):
        await exchange.write(part)
    await exchange.finish()


@pytest.mark.parametrize("kind", ["data", "grant", "beat", "end"])
async def test_frames_that_come_twice_change_nothing(shaky: Shaky, kind: str) -> None:
    def twice(subject: str, body: bytes) -> Fate:
        is_frame = ".http.p" in subject
        return "twice" if is_frame and decode_as(HttpFrame, body).kind == kind else "fine"

    near, _ = await shaky.host("near", twice)
    far, _ = await shaky.host("far", twice)
    await far.serves("site", echo)
    parts = [bytes([number]) * 30_000 for number in range(100)]
    exchange = RecordedExchange(method="POST", parts=parts)
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert bytes(exchange.received) == b"".join(parts)


@pytest.mark.parametrize("side", ["near", "far"])
@pytest.mark.parametrize(("kind", "number"), [("data", 0), ("data", 7), ("end", 0)])
async def test_a_lost_frame_ends_the_exchange_and_is_never_a_hole(
    shaky: Shaky, side: str, kind: str, number: int
) -> None:
    fates = {side: frames(kind, "lost", number)}
    near, _ = await shaky.host("near", fates.get("near"))
    far, _ = await shaky.host("far", fates.get("far"))
    await far.serves("site", echo)
    parts = [bytes([number]) * 30_000 for number in range(20)]
    exchange = RecordedExchange(method="POST", parts=parts)
    with anyio.fail_after(LIMIT_S), pytest.raises(OutcomeUnknownError):
        await near.ask(exchange)
    assert not exchange.is_whole
    assert b"".join(parts).startswith(exchange.received)


@pytest.mark.parametrize("side", ["near", "far"])
async def test_lost_credit_is_given_again(shaky: Shaky, side: str) -> None:
    def no_grants(subject: str, body: bytes) -> Fate:
        is_frame = ".http.p" in subject
        return "lost" if is_frame and decode_as(HttpFrame, body).kind == "grant" else "fine"

    fates = {side: no_grants}
    near, _ = await shaky.host("near", fates.get("near"))
    far, _ = await shaky.host("far", fates.get("far"))
    await far.serves("site", echo)
    parts = [bytes([number]) * 30_000 for number in range(60)]
    exchange = RecordedExchange(method="POST", parts=parts)
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert bytes(exchange.received) == b"".join(parts)


async def test_garbage_on_a_lane_is_ignored(shaky: Shaky) -> None:
    near, _ = await shaky.host("near")
    far, _ = await shaky.host("far")

    async def answer(exchange: Exchange) -> None:
        await exchange.begin(200, ())
        lane = exchange._lane  # type: ignore[attr-defined]  # where frames of this one come
        for body in (b"", b"\xc1", b"\x80", b"\x81\xa4kind\xa4none"):
            await near.bus.publish(lane.address, body)
        await near.bus.flush()
        await exchange.finish()

    await far.serves("site", answer)
    exchange = RecordedExchange()
    with anyio.fail_after(LIMIT_S):
        await near.ask(exchange)
    assert exchange.is_whole
