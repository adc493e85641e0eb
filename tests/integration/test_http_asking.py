"""Guests that send requests over HTTP and answer none: functions, commands, services, parts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from hosts.engine.adapting import ADAPTER, HTTP_BODY, LEAN_BODY, adapt
from hosts.engine.base import Link, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.engine.webvalues import Body, EgressError, OutgoingHead
from hosts.http.egress import Egress
from hosts.http.guest import GuestHandler, of_instance
from hosts.http.outlets import to_the_outside
from hosts.standalone import assemble, call
from lattice.component.reader import read_component
from lattice.component.wiring import resolve
from lattice.model.egress import parse_http_grant
from lattice.model.manifest import parse_deployment
from lattice.model.network import Network
from tests.contract.engine.building import part
from tests.guests import web_guests
from tests.integration.http_peers import Peer, answer, names, serving
from tests.integration.recorded_exchange import RecordedExchange

__all__ = ["names"]  # a fixture

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(120)]

ASKING = "test:web/asking@0.1.0"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("code")


@pytest.fixture
def engine(cache: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(cache)
    yield made
    made.close()


async def talk(peer: Peer) -> None:
    """Answer each request with its first line."""
    while True:
        head = await peer.head()
        await peer.say(answer(head.partition("\r\n")[0].encode()))


@contextlib.asynccontextmanager
async def reaching(*allowed: str, log: list[str] | None = None) -> AsyncIterator[World]:
    """Yield a world whose requests go where these grants allow."""
    lines = [] if log is None else log
    grants = [parse_http_grant(text) for text in allowed]
    async with Egress() as egress:
        yield World(outlet=to_the_outside(egress, grants, lambda _level, line: lines.append(line)))


# --- in a program ------------------------------------------------------------------------------


def test_a_component_that_only_sends_requests_gets_the_adapter_for_http() -> None:
    parts, links = adapt([part("asker", web_guests.asker())], [])
    assert [each.name for each in parts] == ["asker", ADAPTER], "and no driver"
    assert parts[1].body == LEAN_BODY.read_bytes(), "it uses no files"
    assert {link.to for link in links} == {ADAPTER}


def test_imports_that_another_part_satisfies_need_no_adapter_for_http() -> None:
    body = web_guests.asker()
    wanted = [name for name in read_component(body).imports if name.startswith("wasi:http/")]
    parts, _ = adapt([part("asker", body)], [Link("asker", name, "mock") for name in wanted])
    bodies = {each.body for each in parts[1:]}
    assert not bodies & {HTTP_BODY.read_bytes(), LEAN_BODY.read_bytes()}


async def test_a_plain_function_sends_requests(engine: WasmtimeEngine) -> None:
    program = await engine.load([part("asker", web_guests.asker())], [])
    assert set(program.type.exports) == {ASKING}
    async with serving(talk) as port, reaching(f"http://127.0.0.1:{port}") as world:
        instance = await program.instantiate({}, world)
        for path in ("/one", "/two?x"):
            said = await instance.call(ASKING, "ask", (f"127.0.0.1:{port}", path), deadline_s=20.0)
            assert said == f"200 get {path} http/1.1"
        instance.close()


async def test_what_is_denied_is_logged_with_the_grant_that_would_allow_it(
    engine: WasmtimeEngine,
) -> None:
    program = await engine.load([part("asker", web_guests.asker())], [])
    log: list[str] = []
    async with reaching("https://api.example.com", log=log) as world:
        instance = await program.instantiate({}, world)
        for _ in range(2):
            said = await instance.call(ASKING, "ask", ("api.example.com", "/"), deadline_s=20.0)
            assert said == "error 15", "HTTP-request-denied"
        instance.close()
    assert log == [
        (
            "denied: request to http://api.example.com:80; "
            "the grant http://api.example.com:80 would allow it"
        )
    ], "once"


async def test_a_part_that_answers_may_leave_asking_to_another_part(
    engine: WasmtimeEngine, names: dict[str, list[str]]
) -> None:
    program = await engine.load(
        [part("front", web_guests.front()), part("asker", web_guests.asker())],
        [Link("front", ASKING, "asker")],
    )
    log: list[str] = []
    async with reaching("other.test", log=log) as world:
        instance = await program.instantiate({}, world)
        exchange = RecordedExchange("/path")
        await GuestHandler(of_instance(instance), deadline_s=20.0)(exchange)
        instance.close()
    assert exchange.received == b"error 15"
    assert "request to http://upstream.test:80" in log[0]
    assert not names, "nobody was asked for an address"


# --- as a command ------------------------------------------------------------------------------


async def run_courier(engine: WasmtimeEngine, port: int, *allowed: str) -> tuple[object, list[str]]:
    assembly = assemble([("courier.wasm", web_guests.courier())])
    assert assembly.sends_requests
    assert assembly.command is not None
    printed: list[str] = []
    world = World(
        env={"AUTHORITY": f"127.0.0.1:{port}"},
        network=Network(http=tuple(map(parse_http_grant, allowed))),
        log=lambda _level, line: printed.append(line),
    )
    return await call(engine, assembly, assembly.command, [], world, deadline_s=20.0), printed


async def test_a_command_sends_requests_where_it_is_granted(engine: WasmtimeEngine) -> None:
    async with serving(talk) as port:
        result, printed = await run_courier(engine, port, f"127.0.0.0/8:{port}")
        assert (result[0], printed) == ("ok", ["200 get /courier http/1.1"])
        result, printed = await run_courier(engine, port, "*:*")
        assert result[0] == "err"
        assert printed[-1] == "error 4", "destination-IP-prohibited"
        assert f"the grant http://127.0.0.1:{port} would allow it" in printed[0]


# --- one behind the other ----------------------------------------------------------------------


async def test_components_that_handle_requests_stand_one_behind_the_other(
    engine: WasmtimeEngine,
) -> None:
    handler = "wasi:http/incoming-handler@0.2.0"
    program = await engine.load(
        [
            part("outer", web_guests.layer()),
            part("inner", web_guests.layer()),
            part("last", web_guests.hello_of("0.2.9")),
        ],
        [Link("outer", handler, "inner"), Link("inner", handler, "last")],
    )
    instance = await program.instantiate({}, World())
    handle = GuestHandler(of_instance(instance), deadline_s=20.0)
    exchange = RecordedExchange("/hello")
    await handle(exchange)
    assert (exchange.status, bytes(exchange.received)) == (200, b"Hello, world!\n")
    assert exchange.informed == [(103, [(b"x-layer", b"here")])] * 2
    exchange = RecordedExchange("/stop")
    await handle(exchange)
    assert exchange.status == 403
    assert len(exchange.informed) == 1, "the outer one answered"
    instance.close()


def test_a_manifest_wires_handlers_one_behind_the_other() -> None:
    bodies = {
        "outer": web_guests.layer(), "inner": web_guests.layer(), "last": web_guests.hello(),
    }  # fmt: skip
    handler = "wasi:http/incoming-handler@0.2.0"
    deployment = parse_deployment(
        {
            "lattice": "v1",
            "name": "chain",
            "components": [{"name": name, "image": f"./{name}.wasm"} for name in bodies],
            "wiring": [
                {"component": "outer", "import": handler, "to": "inner"},
                {"component": "inner", "import": handler, "to": "last"},
            ],
        }
    )
    types = {name: read_component(body) for name, body in bodies.items()}
    (program,) = resolve(deployment, types).programs
    assert [(wire.part, wire.to) for wire in program.wires] == [
        ("outer", "inner"), ("inner", "last"),
    ]  # fmt: skip


# --- versions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [f"0.2.{patch}" for patch in (0, 1, 4, 6, 8, 10, 12)])
async def test_guests_of_each_patch_version_are_served(
    engine: WasmtimeEngine, version: str
) -> None:
    program = await engine.load([part("guest", web_guests.paths_of(version))], [])
    instance = await program.instantiate({}, World())
    exchange = RecordedExchange("/echo", method="POST", parts=[b"one", b"two"])
    await GuestHandler(of_instance(instance), deadline_s=20.0)(exchange)
    assert exchange.received == b"onetwo"
    instance.close()


async def test_parts_of_several_patch_versions_share_one_adapter(engine: WasmtimeEngine) -> None:
    program = await engine.load(
        [part("layer", web_guests.layer()), part("guest", web_guests.paths_of("0.2.12"))],
        [Link("layer", "wasi:http/incoming-handler@0.2.0", "guest")],
    )
    instance = await program.instantiate({}, World())
    exchange = RecordedExchange("/echo", body=b"text")
    await GuestHandler(of_instance(instance), deadline_s=20.0)(exchange)
    assert exchange.received == b"text"
    instance.close()


# --- traces ------------------------------------------------------------------------------------

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Refusing:
    """A way out that refuses all, and notes of which trace it was asked."""

    def __init__(self) -> None:
        self.traces: list[str] = []

    def begin(self, head: OutgoingHead, body: Body, *, traceparent: str = "") -> NoReturn:
        self.traces.append(traceparent)
        raise EgressError("connection-refused", "nobody listens")

    def close(self) -> None:
        """Have nothing under way."""


async def test_the_trace_of_a_request_goes_on_with_the_requests_of_its_guest(
    engine: WasmtimeEngine,
) -> None:
    program = await engine.load(
        [part("front", web_guests.front()), part("asker", web_guests.asker())],
        [Link("front", ASKING, "asker")],
    )
    outlet = Refusing()
    instance = await program.instantiate({}, World(outlet=lambda: outlet))
    exchange = RecordedExchange("/", headers=((b"traceparent", TRACE),))
    await GuestHandler(of_instance(instance), deadline_s=20.0)(exchange)
    assert exchange.received == b"error 6"
    await GuestHandler(of_instance(instance), deadline_s=20.0)(RecordedExchange("/"))
    instance.close()
    assert outlet.traces == [TRACE.decode(), ""]


async def test_a_guest_sees_the_trace_of_its_request(engine: WasmtimeEngine) -> None:
    program = await engine.load([part("guest", web_guests.paths())], [])
    instance = await program.instantiate({}, World())
    exchange = RecordedExchange("/headers", headers=((b"traceparent", TRACE),))
    await GuestHandler(of_instance(instance), deadline_s=20.0)(exchange)
    assert b"traceparent\n" + TRACE in exchange.received
    instance.close()
