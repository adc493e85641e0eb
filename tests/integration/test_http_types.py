"""`wasi:http/types` as a guest finds it: each function does what the standard says.

The checks are in `tests/guests/web/types.c`, which answers with the line of the first that fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from hosts.engine.base import World
from hosts.engine.program import WasmtimeProgram
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.engine.webvalues import (
    Answer,
    Body,
    BodySource,
    EgressError,
    Headers,
    OutgoingHead,
    Timeouts,
)
from hosts.http.guest import GuestHandler, of_instance
from tests.contract.engine.building import part
from tests.guests import web_guests
from tests.integration.recorded_exchange import RecordedExchange

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]

DETAILS = {
    "/1": EgressError("DNS-error", "no such name", text="NXDOMAIN"),
    "/2": EgressError("TLS-alert-received", "an alert", 40, text="handshake_failure"),
    "/3": EgressError("HTTP-response-header-section-size", "too long", 70_000),
    "/4": EgressError("internal-error", "žluť\nas it is"),
}


class Upstream:
    """Says what `types.c` expects: an answer to `/first` when `/second` is asked, or an error."""

    def __init__(self) -> None:
        self.is_answering = anyio.Event()
        self.is_asked = anyio.Event()
        self.heads: list[OutgoingHead] = []
        self.early: list[object] = []  # the body that came, and its trailers

    def begin(self, head: OutgoingHead, body: Body, *, traceparent: str = "") -> UpstreamCall:
        self.is_asked.set()
        self.heads.append(head)
        if head.target == "/early":
            assert not isinstance(body, bytes), "it has trailers"
            return UpstreamCall(head.target, self.is_answering, partial(self._take, body))
        if head.target == "/second":
            self.is_answering.set()
        if head.target == "/5":
            raise EgressError("internal-error", "refused at once")
        return UpstreamCall(head.target, self.is_answering)

    async def _take(self, body: BodySource) -> None:
        self.early = [await body.read(100), await body.read(100), list(body.trailers)]
        self.is_answering.set()

    def close(self) -> None:
        """Have nothing under way."""


class UpstreamCall:
    trailers: Headers = ()

    def __init__(
        self,
        target: str,
        is_answering: anyio.Event,
        take: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._target = target
        self._take = take
        self._is_answering = is_answering
        self._parts = [b"text"]

    async def answered(self) -> Answer:
        if self._target in DETAILS:
            raise DETAILS[self._target]
        if self._take is not None:
            await self._take()
        await self._is_answering.wait()
        return Answer(status=200, headers=[(b"a", b"b")])

    async def read(self, limit_bytes: int) -> bytes:
        if self._parts:
            return self._parts.pop()
        raise EgressError("HTTP-response-body-size", "too much", 5000)

    def cancel(self) -> None:
        """Have nothing to give up."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("code")


@pytest.fixture
async def program(cache: Path) -> AsyncIterator[WasmtimeProgram]:
    engine = WasmtimeEngine(cache)
    yield await engine.load([part("guest", web_guests.types())], [])
    engine.close()


async def failed_line(
    program: WasmtimeProgram, exchange: RecordedExchange, upstream: Upstream | None = None
) -> int:
    """Return the line of the first check that fails, 0 when all hold."""
    outlet = upstream or Upstream()
    instance = await program.instantiate({}, World(outlet=lambda: outlet))
    try:
        await GuestHandler(of_instance(instance), deadline_s=20.0)(exchange)
    finally:
        instance.close()
    return int(exchange.received)


@pytest.mark.parametrize("path", ["/fields", "/outgoing", "/answer", "/details"])
async def test_functions_do_what_the_standard_says(program: WasmtimeProgram, path: str) -> None:
    assert await failed_line(program, RecordedExchange(path)) == 0


async def test_time_outs_of_a_request_are_told(program: WasmtimeProgram) -> None:
    upstream = Upstream()
    assert await failed_line(program, RecordedExchange("/timeouts"), upstream) == 0
    (head,) = upstream.heads
    assert head.timeouts == Timeouts(connect_s=1.5, first_byte_s=2.0, between_bytes_s=0.0)


async def test_a_body_with_trailers_may_be_finished_before_its_request_is_sent(
    program: WasmtimeProgram,
) -> None:
    upstream = Upstream()
    assert await failed_line(program, RecordedExchange("/early"), upstream) == 0
    assert upstream.early == [b"abc", b"", [(b"x-sum", b"3")]]
    assert len(upstream.heads) == 1, "what lost its body was not sent"


async def test_a_request_is_what_was_sent_and_gives_each_thing_once(
    program: WasmtimeProgram,
) -> None:
    exchange = RecordedExchange(
        "/request?x=1", method="BREW", headers=((b"a", b"b"),), parts=[b"one", b"two"],
        trailers=((b"x-sum", b"6"),),
    )  # fmt: skip
    assert await failed_line(program, exchange) == 0


async def test_all_kinds_of_pollables_are_waited_for_together(program: WasmtimeProgram) -> None:
    upstream = Upstream()

    class Late(RecordedExchange):
        async def read(self, limit_bytes: int) -> bytes:
            await upstream.is_asked.wait()
            return await super().read(limit_bytes)

    assert await failed_line(program, Late("/poll", parts=[b"body"]), upstream) == 0


async def test_a_check_that_does_not_hold_is_told(program: WasmtimeProgram) -> None:
    assert await failed_line(program, RecordedExchange("/unknown")) > 0
