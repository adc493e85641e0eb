"""Requests answered by guests behind the HTTP adapter, without a server."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from hosts.engine.adapting import ADAPTER, BODY, DRIVER, LEAN_BODY, SERVER, adapt
from hosts.engine.base import Instance, World
from hosts.engine.errorcodes import ERROR_NAMES
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.engine.webvalues import Answer, EgressError, OutgoingHead, Timeouts
from hosts.http.base import HttpError
from hosts.http.guest import GuestHandler, of_instance
from lattice.errors import DeadlineExceededError, GuestTrapError, InvalidError
from tests.contract.engine.building import part
from tests.guests import components, web_guests
from tests.integration.recorded_exchange import RecordedExchange
from tests.integration.upstreams import Upstream

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]

EVERY_BYTE = bytes(range(256))
BINARY = EVERY_BYTE * 40


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("code")


@pytest.fixture
def engine(cache: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(cache)
    yield made
    made.close()


@pytest.fixture
async def instance(engine: WasmtimeEngine) -> AsyncIterator[Instance]:
    program = await engine.load([part("guest", web_guests.paths())], [])
    made = await program.instantiate({}, World())
    yield made
    made.close()


@pytest.fixture
def handler(instance: Instance) -> GuestHandler:
    return GuestHandler(of_instance(instance), deadline_s=30.0)


def field_of(exchange: RecordedExchange, name: bytes) -> list[bytes]:
    return [value for key, value in exchange.headers if key == name]


# --- small requests ----------------------------------------------------------------------------


async def test_a_composition_exports_one_flat_function(engine: WasmtimeEngine) -> None:
    program = await engine.load([part("guest", web_guests.hello())], [])
    assert set(program.type.exports) == {SERVER}


def test_only_a_guest_that_answers_http_gets_the_adapter_for_it() -> None:
    http, _ = adapt([part("guest", web_guests.hello())], [])
    other, _ = adapt([part("guest", components.talker())], [])
    assert [each.name for each in http] == ["guest", ADAPTER, DRIVER]
    assert [each.name for each in other] == ["guest", ADAPTER]
    assert http[1].body == LEAN_BODY.read_bytes()
    assert other[1].body == BODY.read_bytes()


async def test_an_unmodified_guest_says_hello(engine: WasmtimeEngine) -> None:
    program = await engine.load([part("guest", web_guests.hello())], [])
    instance = await program.instantiate({}, World())
    exchange = RecordedExchange("/hello?x=1", headers=((b"accept", b"*/*"),))
    await GuestHandler(of_instance(instance))(exchange)
    assert (exchange.status, bytes(exchange.received)) == (200, b"Hello, world!\n")
    assert exchange.headers == [(b"content-type", b"text/plain")]
    assert exchange.is_whole
    assert not exchange.writes, "it went with the call"
    instance.close()


async def test_an_answer_without_fields_and_body_is_one(handler: GuestHandler) -> None:
    exchange = RecordedExchange("/none")
    await handler(exchange)
    assert (exchange.status, list(exchange.headers), exchange.received) == (204, [], b"")


@pytest.mark.parametrize(
    "body", [b"", b"text", EVERY_BYTE, BINARY, b"\xff" * 65536, b"a" * 65536],
    ids=["none", "text", "every byte", "binary", "high", "long"],
)  # fmt: skip
async def test_a_body_comes_back_as_it_went(handler: GuestHandler, body: bytes) -> None:
    exchange = RecordedExchange("/echo", method="POST", body=body)
    await handler(exchange)
    assert exchange.received == body
    assert exchange.is_whole


async def test_bodies_of_every_kind_of_frame_come_back(handler: GuestHandler) -> None:
    for length in (1, 2, 2047, 2048, 2049, 2239, 2240, 2241, 4096, 32767, 65535):
        body = (EVERY_BYTE[128:] + EVERY_BYTE[:128]) * (length // 256 + 1)
        exchange = RecordedExchange("/echo", method="POST", body=body[:length])
        await handler(exchange)
        assert exchange.received == body[:length], length


async def test_an_instance_answers_request_after_request(handler: GuestHandler) -> None:
    for number in range(2000):
        body = b"%d" % number
        exchange = RecordedExchange("/echo", body=body)
        await handler(exchange)
        assert exchange.received == body


# --- fields ------------------------------------------------------------------------------------


async def test_fields_reach_the_guest_in_order_and_are_immutable(handler: GuestHandler) -> None:
    exchange = RecordedExchange(
        "/headers",
        headers=(
            (b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"host", b"here"),
            (b"connection", b"close"), (b"latin", b"caf\xe9"), (b"empty", b""),
        ),
    )  # fmt: skip
    await handler(exchange)
    immutable = b"12"
    lines = exchange.received.split(b"\n")[:-1]
    assert lines == [
        immutable, b"b", b"1", b"a", b"2", b"b", b"3", b"latin", b"caf\xe9", b"empty", b"",
    ]  # fmt: skip


async def test_fields_of_the_connection_and_malformed_ones_are_refused(
    handler: GuestHandler,
) -> None:
    exchange = RecordedExchange("/refused")
    await handler(exchange)
    invalid, forbidden, fine = b"0", b"1", b"9"
    assert exchange.received == forbidden * 2 + invalid * 3 + fine


async def test_names_of_fields_are_lower_case(handler: GuestHandler) -> None:
    exchange = RecordedExchange("/events")
    await handler(exchange)
    assert field_of(exchange, b"content-type") == [b"text/event-stream"]


async def test_a_head_that_would_become_another_one_is_refused(handler: GuestHandler) -> None:
    for exchange in (
        RecordedExchange("/", headers=((b"a", b"b\nhost\nevil"),)),
        RecordedExchange("/", headers=((b"a", b"b\0s"),)),
        RecordedExchange("/x\ny"),
    ):
        with pytest.raises(InvalidError, match="control characters"):
            await handler(exchange)


# --- streams -----------------------------------------------------------------------------------


async def test_what_was_written_leaves_before_the_guest_waits(handler: GuestHandler) -> None:
    exchange = RecordedExchange("/events")
    await handler(exchange)
    assert exchange.writes == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]
    assert exchange.sent_trailers == []


@pytest.mark.parametrize("length", [65535, 65536, 65537, 1_000_000])
async def test_a_large_answer_is_complete(handler: GuestHandler, length: int) -> None:
    exchange = RecordedExchange(f"/large?{length}")
    await handler(exchange)
    pattern = bytes(i * 7 & 255 for i in range(4096))
    assert bytes(exchange.received) == (pattern * (length // 4096 + 1))[:length]
    assert exchange.is_whole


async def test_a_large_request_is_echoed_while_it_comes(handler: GuestHandler) -> None:
    parts = [BINARY[:size] for size in (1, 7, 112, 113, 4096, 10_000)] * 30
    exchange = RecordedExchange("/echo", method="POST", parts=parts)
    await handler(exchange)
    assert exchange.received == b"".join(parts)


async def test_a_guest_that_writes_waits_for_a_slow_client(handler: GuestHandler) -> None:
    exchange = RecordedExchange("/echo", method="POST", parts=itertools.repeat(bytes(65536), 100))
    exchange.takes = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(handler, exchange)
        await exchange.begun.wait()
        await anyio.wait_all_tasks_blocked()
        assert exchange.read_bytes < 3_000_000, "it stopped reading"
        exchange.takes.set()
    assert exchange.received_bytes == 100 * 65536


async def test_a_large_body_passes_in_bounded_memory(handler: GuestHandler) -> None:
    size = 64 * 2**20  # the same road as for more of it, and quicker
    part_bytes = bytes(range(256)) * 1024
    exchange = RecordedExchange(
        "/echo", method="POST", keeps=False,
        parts=itertools.repeat(part_bytes, size // len(part_bytes)),
    )  # fmt: skip
    tracemalloc.start()
    try:
        await handler(exchange)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert exchange.received_bytes == size
    assert peak < 8 * 2**20, "a few parts at a time"


async def test_the_answer_begins_before_the_request_has_come(handler: GuestHandler) -> None:
    more = anyio.Event()

    class Slow(RecordedExchange):
        async def read(self, limit_bytes: int) -> bytes:
            await more.wait()
            return await super().read(limit_bytes)

    exchange = Slow("/count", parts=[b"abc", b"de"])
    async with anyio.create_task_group() as group:
        group.start_soon(handler, exchange)
        await exchange.begun.wait()
        more.set()
    assert exchange.received == b"5"


async def test_trailers_go_both_ways(handler: GuestHandler) -> None:
    trailers = ((b"x-sum", b"caf\xe9"), (b"x-more", b"1"))
    exchange = RecordedExchange("/echo", parts=[b"one", b"two"], trailers=trailers)
    await handler(exchange)
    assert exchange.received == b"onetwo"
    assert exchange.sent_trailers == list(trailers)
    exchange = RecordedExchange("/trailers")
    await handler(exchange)
    assert (exchange.received, exchange.sent_trailers) == (b"two", [(b"x-sum", b"5")])


async def test_informational_heads_go_before_the_answer(handler: GuestHandler) -> None:
    exchange = RecordedExchange("/hints")
    await handler(exchange)
    assert exchange.informed == [(103, [(b"link", b"</style.css>")])]
    assert (exchange.status, exchange.received) == (200, b"hinted")


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/trap", "unreachable"),
        ("/nothing", "never set response-outparam"),
        ("/error", "internal-error: no luck"),
        ("/shorter", "before the body of its answer was finished"),
    ],
)
async def test_a_guest_that_gives_no_answer_is_told_why(
    handler: GuestHandler, path: str, said: str
) -> None:
    exchange = RecordedExchange(path)
    with pytest.raises(GuestTrapError, match=said):
        await handler(exchange)
    assert exchange.status == 0


@pytest.mark.parametrize("path", ["/half", "/half-trap"])
async def test_half_an_answer_is_not_finished(handler: GuestHandler, path: str) -> None:
    exchange = RecordedExchange(path)
    with pytest.raises(GuestTrapError):
        await handler(exchange)
    assert exchange.status == 200
    assert not exchange.is_whole


@pytest.mark.parametrize("path", ["/forever", "/spin"])
async def test_a_guest_that_does_not_answer_in_time_is_ended(instance: Instance, path: str) -> None:
    with pytest.raises(DeadlineExceededError):
        await GuestHandler(of_instance(instance), deadline_s=0.2)(RecordedExchange(path))
    assert instance.is_dead


async def test_a_client_that_leaves_ends_the_guest(instance: Instance) -> None:
    exchange = RecordedExchange("/forever")
    exchange.leave()
    with pytest.raises(HttpError):
        await GuestHandler(of_instance(instance), deadline_s=60.0)(exchange)
    assert instance.is_dead


async def test_a_request_that_breaks_off_reaches_the_guest_as_an_error(
    handler: GuestHandler,
) -> None:
    class Broken(RecordedExchange):
        async def read(self, limit_bytes: int) -> bytes:
            if self.read_bytes:
                raise HttpError("the client left")
            return await super().read(limit_bytes)

    exchange = Broken("/count", parts=[b"abc", b"de"])
    await handler(exchange)
    assert exchange.received == b"3"


# --- requests of the guest ---------------------------------------------------------------------


@asynccontextmanager
async def reaching(engine: WasmtimeEngine, upstream: Upstream) -> AsyncIterator[GuestHandler]:
    program = await engine.load([part("guest", web_guests.paths())], [])
    instance = await program.instantiate({}, World(outlet=lambda: upstream))
    yield GuestHandler(of_instance(instance), deadline_s=30.0)
    instance.close()
    assert upstream.is_closed


async def test_a_guest_relays_a_body_while_it_comes(engine: WasmtimeEngine) -> None:
    async def answer(_head: OutgoingHead) -> Answer:
        return Answer(status=203, headers=[(b"x-from", b"caf\xe9")])

    upstream = Upstream(answer)
    async with reaching(engine, upstream) as handler:
        parts = [BINARY] * 200
        exchange = RecordedExchange("/relay", method="POST", parts=parts)
        await handler(exchange)
    (head,) = upstream.heads
    assert (head.method, head.scheme, head.authority) == ("POST", "http", "upstream.test:81")
    assert (head.target, list(head.headers)) == ("/up?q", [(b"x-relayed", b"yes")])
    assert head.timeouts == Timeouts(connect_s=1.5)
    assert (exchange.status, list(exchange.headers)) == (203, [(b"x-from", b"caf\xe9")])
    assert exchange.received == b"".join(parts)
    assert upstream.cancelled == 1, "what the guest dropped was given up"


async def test_several_requests_are_under_way_at_once(engine: WasmtimeEngine) -> None:
    turns = {"/a": anyio.Event(), "/b": anyio.Event(), "/c": anyio.Event()}

    async def answer(head: OutgoingHead) -> Answer:
        if head.target == "/c":
            turns["/b"].set()
            return Answer(status=201, headers=())
        await turns[head.target].wait()
        if head.target == "/b":
            turns["/a"].set()
            raise EgressError("connection-refused", "nobody listens")
        return Answer(status=204, headers=())

    upstream = Upstream(answer)
    async with reaching(engine, upstream) as handler:
        exchange = RecordedExchange("/many")
        await handler(exchange)
    refused = b"6"
    assert sorted(exchange.received.split()) == sorted([b"201", refused, b"204"])


async def test_a_failed_request_reaches_the_guest_as_its_error_code(
    engine: WasmtimeEngine,
) -> None:
    async def answer(_head: OutgoingHead) -> Answer:
        raise EgressError("HTTP-response-timeout", "nothing came")

    async with reaching(engine, Upstream(answer)) as handler:
        exchange = RecordedExchange("/ask")
        await handler(exchange)
    assert exchange.received == b"%d" % ERROR_NAMES.index("HTTP-response-timeout")


async def test_own_requests_are_denied_without_a_way_out(handler: GuestHandler) -> None:
    exchange = RecordedExchange("/ask")
    await handler(exchange)
    denied = b"15"
    assert exchange.received == denied
