"""An unmodified guest in JavaScript that answers `fetch` events, behind the HTTP adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hosts.engine.base import World
from hosts.engine.program import WasmtimeProgram
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.engine.webvalues import Answer, OutgoingHead
from hosts.http.guest import GuestHandler, of_instance
from tests.contract.engine.building import part
from tests.guests.languages import building, web
from tests.integration.recorded_exchange import RecordedExchange
from tests.integration.upstreams import Upstream, answered_last_first

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.timeout(400),  # the first run builds the guest and compiles it
]


@pytest.fixture(scope="module")
def body() -> bytes:
    try:
        return web.starlingmonkey().read_bytes()
    except building.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
async def program(
    body: bytes, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WasmtimeProgram]:
    engine = WasmtimeEngine(tmp_path_factory.getbasetemp() / "javascript", optimises_later=False)
    yield await engine.load([part("guest", body)], [])
    engine.close()


async def answered(
    program: WasmtimeProgram, exchange: RecordedExchange, upstream: Upstream | None = None
) -> None:
    """Have a fresh instance answer: the toolchain's runtime is made for one request."""
    world = World() if upstream is None else World(outlet=lambda: upstream)
    instance = await program.instantiate({}, world)
    try:
        await GuestHandler(of_instance(instance), deadline_s=60.0)(exchange)
    finally:
        instance.close()


async def test_it_answers_by_path(program: WasmtimeProgram) -> None:
    exchange = RecordedExchange("/some/where?x=1", method="PUT")
    await answered(program, exchange)
    assert (exchange.status, bytes(exchange.received)) == (404, b"PUT /some/where\n")


async def test_it_reads_and_writes_text(program: WasmtimeProgram) -> None:
    text = "žluťoučký kůň\n".encode() * 100
    exchange = RecordedExchange("/echo", method="POST", body=text)
    await answered(program, exchange)
    assert exchange.received == text
    assert (b"x-method", b"POST") in exchange.headers


async def test_it_passes_a_stream_on(program: WasmtimeProgram) -> None:
    parts = [bytes(range(256)) * 256] * 16
    exchange = RecordedExchange("/stream", method="POST", parts=parts)
    await answered(program, exchange)
    assert exchange.received == b"".join(parts)


async def test_its_events_leave_one_by_one(program: WasmtimeProgram) -> None:
    exchange = RecordedExchange("/events?count=3")
    await answered(program, exchange)
    assert exchange.writes == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]
    assert (b"content-type", b"text/event-stream") in exchange.headers


async def test_it_asks_for_several_things_at_once(program: WasmtimeProgram) -> None:
    paths = ["one", "two", "three", "four"]
    upstream = answered_last_first(paths)
    exchange = RecordedExchange(f"/all?paths={','.join(paths)}")
    await answered(program, exchange, upstream)
    assert exchange.received.decode().splitlines() == [f"200 {path}" for path in paths]
    assert [head.method for head in upstream.heads] == ["POST"] * 4


async def test_it_relays_bodies_while_they_come(program: WasmtimeProgram) -> None:
    async def answer(_head: OutgoingHead) -> Answer:
        return Answer(status=203, headers=[(b"x-from", b"upstream")])

    upstream = Upstream(answer)
    parts = [bytes(range(256)) * 100] * 20
    exchange = RecordedExchange("/relay", method="POST", parts=parts)
    await answered(program, exchange, upstream)
    assert (exchange.status, dict(exchange.headers)[b"x-from"]) == (203, b"upstream")
    assert exchange.received == b"".join(parts)


async def test_a_request_that_is_denied_is_an_error_that_it_catches(
    program: WasmtimeProgram,
) -> None:
    exchange = RecordedExchange("/failed")
    await answered(program, exchange)
    assert exchange.received == b"Error"
