"""An unmodified guest in Python that answers HTTP, behind the HTTP adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hosts.engine.base import World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.http.guest import GuestHandler, of_instance
from tests.contract.engine.building import part
from tests.guests.languages import web
from tests.integration.recorded_exchange import RecordedExchange
from tests.integration.upstreams import answered_last_first

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.timeout(400),  # the first run builds the guest and compiles it
]


PATHS = ["one", "two", "three"]


@pytest.fixture
async def handler(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuestHandler]:
    engine = WasmtimeEngine(tmp_path_factory.getbasetemp() / "python", optimises_later=False)
    program = await engine.load([part("guest", web.python().read_bytes())], [])
    upstream = answered_last_first(PATHS)
    instance = await program.instantiate({}, World(outlet=lambda: upstream))
    yield GuestHandler(of_instance(instance), deadline_s=60.0)
    instance.close()
    engine.close()


async def test_one_instance_answers_several_requests(handler: GuestHandler) -> None:
    for path in ("/one", "/two?x=1"):
        exchange = RecordedExchange(path)
        await handler(exchange)
        assert (exchange.status, exchange.received) == (200, f"hello from {path}\n".encode())
        assert list(exchange.headers) == [(b"content-type", b"text/plain")]


async def test_a_body_comes_back_as_it_went(handler: GuestHandler) -> None:
    parts = [bytes(range(256)) * 40] * 20
    exchange = RecordedExchange("/echo", method="POST", parts=parts)
    await handler(exchange)
    assert exchange.received == b"".join(parts)


async def test_asyncio_waits_for_several_answers_at_once(handler: GuestHandler) -> None:
    exchange = RecordedExchange(f"/all?{','.join(PATHS)}")
    await handler(exchange)
    assert exchange.received.decode().split() == ["200"] * len(PATHS)
