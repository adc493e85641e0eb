"""A guest behind the HTTP server: what its handler and the server make of each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hosts.engine.base import World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.http.guest import GuestHandler, of_instance
from tests.contract.engine.building import part
from tests.guests import web_guests
from tests.integration.http_serving import serving, undated

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("code")


@pytest.fixture
async def handler(cache: Path) -> AsyncIterator[GuestHandler]:
    engine = WasmtimeEngine(cache)
    program = await engine.load([part("guest", web_guests.paths())], [])
    instance = await program.instantiate({}, World())
    yield GuestHandler(of_instance(instance), deadline_s=30.0)
    instance.close()
    engine.close()


async def test_pipelined_requests_are_answered_by_one_instance_in_order(handler: GuestHandler):
    requests = b"".join(
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n%03d" % number
        for number in range(50)
    )
    async with serving(handler) as running:
        answer = undated(await running.talk(requests))
    bodies = [part[:3] for part in answer.split(b"\r\n\r\n")[1:]]
    assert bodies == [b"%03d" % number for number in range(50)]


async def test_a_long_chunked_body_is_streamed_through_the_guest(handler: GuestHandler):
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    head = (
        b"POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    async with serving(handler) as running:
        answer = await running.talk(head, chunk * 4, b"0\r\n\r\n", is_ended=False)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b"\0") == 4 * 65536
    assert answer.endswith(b"0\r\n\r\n")


async def test_a_malformed_body_is_refused_though_the_guest_saw_it_break(handler: GuestHandler):
    head = b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving(handler) as running:
        answer = await running.talk(head, b"3\r\nabc\r\nx\r\n", is_ended=False)
    assert answer.count(b"\r\ndate: ") == 1
    assert b"connection: close" in answer or not answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("path", "status"), [("/trap", b"500"), ("/nothing", b"500"), ("/half-trap", b"200")]
)
async def test_a_guest_that_fails_gives_an_error_or_a_broken_answer(
    handler: GuestHandler, path: str, status: bytes
):
    async with serving(handler) as running:
        answer = await running.talk(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path.encode())
        await running.until("connections == 0")
    assert answer.startswith(b"HTTP/1.1 " + status) or (status == b"200" and answer == b"<reset>")
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert not answer.endswith(b"0\r\n\r\n")
