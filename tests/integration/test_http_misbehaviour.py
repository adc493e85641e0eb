"""Guests that do what none may, behind the server: status, log line, and the host goes on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hosts.engine.base import Instance, World
from hosts.engine.errorcodes import ERROR_NAMES
from hosts.engine.program import WasmtimeProgram
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.http.base import HttpError
from hosts.http.guest import GuestHandler
from hosts.http.head import RefusalError
from lattice.errors import NoRouteError
from tests.contract.engine.building import part
from tests.guests import web_guests
from tests.integration.http_serving import Running, serving, undated, until_seen
from tests.integration.recorded_exchange import RecordedExchange

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]

DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("code")


@pytest.fixture
async def program(cache: Path) -> AsyncIterator[WasmtimeProgram]:
    engine = WasmtimeEngine(cache)
    yield await engine.load([part("guest", web_guests.faults())], [])
    engine.close()


class Reused:
    """Calls one instance as long as it lives, and then another one."""

    def __init__(self, program: WasmtimeProgram, world: World | None = None) -> None:
        self._program = program
        self._world = world or World(memory_bytes_max=64 * 2**20)
        self._instance: Instance | None = None
        self.made = 0

    async def __call__(
        self, interface: str, function: str, args: Sequence[Any], deadline_s: float
    ) -> Any:
        if self._instance is None or self._instance.is_dead:
            self.close()
            self._instance = await self._program.instantiate({}, self._world)
            self.made += 1
        return await self._instance.call(interface, function, args, deadline_s=deadline_s)

    def close(self) -> None:
        if self._instance is not None:
            self._instance.close()
            self._instance = None


@pytest.fixture
async def calls(program: WasmtimeProgram) -> AsyncIterator[Reused]:
    made = Reused(program)
    yield made
    made.close()


def request(path: str, method: str = "GET", body: bytes = b"", *, is_kept: bool = False) -> bytes:
    length = f"content-length: {len(body)}\r\n" if body else ""
    # Its answer ends the connection: a client that ends it by itself would seem to be gone.
    closing = "" if is_kept else "connection: close\r\n"
    return f"{method} {path} HTTP/1.1\r\nhost: a\r\n{closing}{length}\r\n".encode() + body


async def ask(running: Running, asked: bytes) -> bytes:
    """Return all that comes for a request, or several."""
    return await running.talk(asked, is_ended=False)


def statuses(answers: bytes) -> list[int]:
    return [
        int(line.split(b" ")[1]) for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")
    ]


async def status_of(running: Running, path: str, method: str = "GET") -> int:
    """Return the status of a request; the next one finds the server at work."""
    (status,) = statuses(await ask(running, request(path, method)))
    assert statuses(await ask(running, request("/fine"))) == [204]
    return status


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/trap", 500, "unreachable"),
        ("/twice", 500, "unknown handle index"),
        ("/keep", 500, "never set response-outparam"),
        ("/inform-late", 500, "unknown handle index"),
        ("/exit?0", 500, "exited with status 0"),
        ("/exit?1", 500, "exited with status 1"),
        ("/shorter", 500, "before the body of its answer was finished"),
        ("/longer", 500, "before the body of its answer was finished"),
        ("/no-length", 500, "content-length of an answer: found b'many'"),
        ("/status?101", 500, "status of an answer: found 101"),
        ("/headers-outlive-request", 500, "whose headers it still holds"),
        ("/headers-outlive-response", 500, "whose headers it still holds"),
        ("/stream-outlives-body", 500, "a body whose stream it still holds"),
        ("/stream-outlives-finish", 500, "a body whose stream it still holds"),
        ("/stream-outlives-outgoing", 500, "a body whose stream it still holds"),
        ("/after-drop", 500, "unknown handle index"),
        ("/grow", 500, "unreachable"),
        ("/hoard", 500, "more than 4 MiB of fields, heads and bodies"),
    ],
)
async def test_a_guest_that_breaks_a_rule_is_named_and_the_next_request_is_answered(
    calls: Reused, caplog: pytest.LogCaptureFixture, path: str, status: int, told: str
) -> None:
    caplog.set_level(logging.INFO, "hosts.http.accesslog")
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        assert await status_of(running, path) == status
    (line,) = [each.getMessage() for each in caplog.records if path in each.getMessage()]
    assert told in line
    assert f" a{path} {status}, " in line


async def test_a_guest_that_never_answers_is_a_504(
    calls: Reused, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(GuestHandler(calls, 0.1)) as running:
        (status,) = statuses(await ask(running, request("/never")))
    assert status == 504
    assert "/never 504" in caplog.text


async def test_a_guest_that_uses_up_its_fuel_is_a_500(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = WasmtimeEngine(cache)
    program = await engine.load([part("guest", web_guests.faults())], [], is_metered=True)
    calls = Reused(program, World(fuel_max=3_000_000))
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        assert await status_of(running, "/spin") == 500
    assert "used up its fuel" in caplog.text
    calls.close()
    engine.close()


async def test_a_trap_behind_the_head_breaks_the_connection(
    calls: Reused, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        answer = await ask(running, request("/half-trap"))
        assert not answer.endswith(b"0\r\n\r\n"), "it must not look whole"
        assert statuses(await ask(running, request("/fine"))) == [204]
    assert "unreachable" in caplog.text


async def test_an_answer_to_a_request_that_is_over_reaches_nobody(
    calls: Reused, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        assert statuses(await ask(running, request("/keep"))) == [500]
        assert calls.made == 1
        assert statuses(await ask(running, request("/late"))) == [500]
        assert calls.made == 1, "of one instance"
    assert "a guest answered a request that is over" in caplog.text


async def test_an_answer_to_head_may_announce_what_it_has_not(calls: Reused) -> None:
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        answer = undated(await ask(running, request("/announced?0", "HEAD")))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-length: 10\r\n" in answer
        assert await status_of(running, "/announced?0") == 500
        assert await status_of(running, "/announced?10", "HEAD") == 200
        assert await status_of(running, "/announced?3", "HEAD") == 500
        answer = undated(await ask(running, request("/not-modified")))
        assert answer.startswith(b"HTTP/1.1 304 ")
        assert b"content-length: 10\r\n" in answer


async def test_as_many_fields_as_one_may_hold_are_sent(calls: Reused) -> None:
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        answer = await ask(running, request("/many-fields"))
    assert answer.startswith(b"HTTP/1.1 208 "), "200 and one for each 512"
    assert answer.count(b"\r\nx: y") == 4096


async def test_a_body_that_no_guest_reads_is_passed_over(calls: Reused) -> None:
    both = request("/fine", "POST", b"x" * 30_000, is_kept=True) + request("/fine")
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        assert statuses(await ask(running, both)) == [204, 204]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (HttpError("the client left"), "connection-terminated"),
        (RefusalError(413, "too long"), "HTTP-request-body-size"),
        (RefusalError(408, "too slow"), "connection-read-timeout"),
        (RefusalError(400, "no chunk"), "HTTP-protocol-error"),
        (NoRouteError("the other host left"), "connection-terminated"),
    ],
)
async def test_a_guest_is_told_why_its_request_broke_off(
    calls: Reused, fault: Exception, code: str
) -> None:
    class Breaking(RecordedExchange):
        async def read(self, limit_bytes: int) -> bytes:
            if self.read_bytes:
                raise fault
            return await super().read(limit_bytes)

    exchange = Breaking("/why", parts=[b"abc"])
    await GuestHandler(calls, DEADLINE_S)(exchange)
    assert exchange.received == b"%02d" % ERROR_NAMES.index(code)


async def test_a_guest_that_writes_without_end_ends_when_its_client_leaves(
    calls: Reused, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hosts.http.accesslog")
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        async with await running.connect() as stream:
            await stream.send(request("/endless"))
            await until_seen(stream, b"\0" * 4096)
        await running.until("connections == 0")
        assert statuses(await ask(running, request("/fine"))) == [204]
    assert "/endless 200" in caplog.text


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        (1, 502, "DNS-error: NXDOMAIN, 7"),
        (8, 504, "connection-timeout"),
        (14, 502, "TLS-alert-received: handshake_failure, 40"),
        (15, 403, "HTTP-request-denied"),
        (17, 413, "HTTP-request-body-size: 5000000000"),
        (21, 431, "HTTP-request-header-section-size: 70000"),
        (22, 431, "HTTP-request-header-size: cookie, 9000"),
        (30, 502, "HTTP-response-trailer-size: x-sum, 9000"),
        (31, 502, "HTTP-response-transfer-coding: oops ž"),
        (33, 504, "HTTP-response-timeout"),
        (38, 500, "internal-error: oops ž"),
    ],
)
async def test_an_error_as_answer_is_its_status_and_a_line_that_names_it(
    calls: Reused, caplog: pytest.LogCaptureFixture, code: int, status: int, told: str
) -> None:
    caplog.set_level(logging.INFO, "hosts.http.accesslog")
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        assert await status_of(running, f"/error?{code}") == status
    assert f"the guest answered with the error {told}" in caplog.text


async def test_every_error_code_has_a_status(calls: Reused) -> None:
    async with serving(GuestHandler(calls, DEADLINE_S)) as running:
        found = [await status_of(running, f"/error?{code}") for code in range(len(ERROR_NAMES))]
    assert all(400 <= status <= 599 for status in found)
    assert calls.made == 1, "an error is no trap"
