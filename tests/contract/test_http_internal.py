"""Requests of guests to other deployments: in memory, over the bus, by a gateway."""

from __future__ import annotations

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hosts.engine.webvalues import EgressError, OutgoingHead
from hosts.http.base import Exchange
from hosts.http.internal import Gateway, InternalOptions
from lattice import telemetry
from lattice.errors import InvalidError
from lattice.wire.messages import HOPS_MAX
from tests.contract.asking_guest import SITE, Parts, fails, guest_on, whole
from tests.contract.forwarding import Party
from tests.integration.http_serving import serving


async def hello(exchange: Exchange) -> None:
    exchange.answer(200, ((b"x-y", b"1"), (b"connection", b"close")), b"hello")


# --- ways -----------------------------------------------------------------------------------------


async def test_a_replica_on_the_same_host_answers_in_memory(near: Party, far: Party) -> None:
    site = await near.serves("site", hello)
    await far.serves("site", hello)
    async with guest_on(near) as guest:
        answer, body = await guest.fetch()
    assert (answer.status, answer.headers, body) == (200, ((b"x-y", b"1"),), b"hello")
    assert guest.legs == [("site", "http GET /path", "local")]
    assert guest.context.legs[0].host == near.id
    context = site.contexts[0]
    assert (context.hops, context.chain, context.caller) == (1, ("shop",), "shop")


async def test_without_one_the_request_goes_over_the_bus(near: Party, far: Party) -> None:
    site = await far.serves("site", hello)
    async with guest_on(near) as guest:
        answer, body = await guest.fetch()
    assert (answer.status, body) == (200, b"hello")
    assert guest.legs == [("site", "http GET /path", "remote")]
    assert guest.context.legs[0].host == far.id
    assert (site.contexts[0].hops, site.contexts[0].chain) == (1, ("shop",))


@pytest.mark.parametrize("who", ["asker", "answerer", "host"])
async def test_each_side_can_have_it_go_over_the_bus(near: Party, far: Party, who: str) -> None:
    site = await near.serves("site", hello)
    site.http_in_memory = who != "answerer"
    if who == "host":
        near.relay.internal.options = InternalOptions(in_memory=False)
    async with guest_on(near, in_memory=who != "asker") as guest:
        _, body = await guest.fetch()
    assert (body, guest.legs[0][2]) == (b"hello", "remote")


async def test_a_gateway_is_the_last_way(near: Party) -> None:
    async def answer(exchange: Exchange) -> None:
        head = exchange.head
        host = dict(head.headers)[b"x-forwarded-host"].decode()
        body = b""
        while part := await exchange.read(65536):
            body += part
        exchange.answer(200, (), f"{head.method} {head.target} {host} ".encode() + body)

    async with serving(answer) as running:
        gateway = Gateway.parse(f"http://127.0.0.1:{running.port}/in/")
        near.relay.internal.options = InternalOptions(gateway=gateway)
        async with guest_on(near, "http://*.lattice.internal") as guest:
            for name in (SITE, "site.other.lattice.internal"):
                for sent in (b"body", Parts(b"bo", b"dy"), Parts(b"body")):
                    headers = ((b"content-length", b"4"),)
                    _, body = await guest.fetch(name, method="POST", body=sent, headers=headers)
                    assert body == f"POST /in/path?query {name} body".encode()
    assert [leg[2] for leg in guest.legs] == ["gateway"] * 6


@pytest.mark.parametrize("target", ["/../out", "/a/%2e%2E/../out", "/a/..?b", "/a\\..\\out"])
async def test_a_guest_is_not_led_out_of_the_path_of_a_gateway(near: Party, target: str) -> None:
    async with serving(hello) as running:
        gateway = Gateway.parse(f"http://127.0.0.1:{running.port}/in")
        near.relay.internal.options = InternalOptions(gateway=gateway)
        async with guest_on(near, "http://*.lattice.internal") as guest:
            with fails("HTTP-request-URI-invalid"):
                await guest.fetch(target=target)


@pytest.mark.parametrize("url", ["ftp://a", "http://", "a", "http://a/?b", "http://u@a"])
def test_what_is_no_gateway_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="gateway"):
        Gateway.parse(url)


async def test_without_any_way_the_destination_is_unavailable(near: Party) -> None:
    async with guest_on(near, "http://*.lattice.internal") as guest:
        with fails("destination-unavailable"):
            await guest.fetch()
        with fails("destination-unavailable"):
            await guest.fetch("site.other.lattice.internal")


async def test_everything_else_goes_to_the_outside(near: Party) -> None:
    async with serving(hello) as running:
        name = f"127.0.0.1:{running.port}"
        async with guest_on(near, f"http://{name}") as guest:
            assert (await guest.fetch(name))[1] == b"hello"
            with fails("HTTP-request-denied"):
                await guest.fetch("example.com")
    assert guest.legs == []


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "grant",
    [
        "*", "http://*", "http://other.test.lattice.internal", "https://site.test.lattice.internal",
        f"http://{SITE}:81", "0.0.0.0/0",
    ],
)  # fmt: skip
async def test_a_deployment_needs_a_grant_that_names_it(near: Party, grant: str) -> None:
    await near.serves("site", hello)
    async with guest_on(near, grant) as guest:
        for _ in range(2):
            with fails("HTTP-request-denied"):
                guest.begin()
    assert guest.log == [
        f"denied: request to http://{SITE}; the grant http://{SITE} would allow it"
    ]


@pytest.mark.parametrize("grant", [SITE, f"http://{SITE}:80", "*.test.lattice.internal"])
async def test_such_a_grant_is_a_name_or_all_of_a_lattice(near: Party, grant: str) -> None:
    await near.serves("site", hello)
    async with guest_on(near, grant) as guest:
        for name in (SITE, SITE.upper(), f"{SITE}:80", f"{SITE}."):
            assert (await guest.fetch(name))[1] == b"hello"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"authority": "a.b.test.lattice.internal"}, "HTTP-request-URI-invalid"),
        ({"authority": "lattice.internal"}, "HTTP-request-URI-invalid"),
        ({"authority": f"u@{SITE}"}, "HTTP-request-URI-invalid"),
        ({"scheme": "https"}, "HTTP-request-URI-invalid"),
        ({"method": "CONNECT"}, "HTTP-request-method-invalid"),
        ({"target": "path"}, "HTTP-request-URI-invalid"),
        ({"headers": ((b"host", b"a"),)}, "HTTP-protocol-error"),
    ],
)
async def test_what_is_no_request_is_not_sent(
    near: Party, words: dict[str, object], code: str
) -> None:
    async with guest_on(near, "*.lattice.internal") as guest:
        with fails(code):
            guest.begin(**words)


async def test_a_circle_of_requests_ends(near: Party, far: Party) -> None:
    near.relay.internal.options = InternalOptions(in_memory=False)
    async with guest_on(near) as guest:
        depths = []

        async def again(exchange: Exchange) -> None:
            depths.append(far.sites["site"].contexts[-1].hops)
            guest.context = far.sites["site"].contexts[-1].within("site")
            try:
                answer, _ = await guest.fetch()
                exchange.answer(answer.status, (), b"")
            except EgressError as error:
                exchange.answer(508, (), error.code.encode())

        await far.serves("site", again)
        answer, _ = await guest.fetch()
    assert answer.status == 508
    assert depths == list(range(1, HOPS_MAX + 1))
    assert "hop 17, at most 16: shop -> site -> site" in guest.log[-1]


async def test_requests_of_one_instance_are_bounded(near: Party) -> None:
    async def never(exchange: Exchange) -> None:
        await anyio.sleep_forever()

    await near.serves("site", never)
    async with guest_on(near) as guest:
        for _ in range(128):
            guest.begin()
        with fails("connection-limit-reached"):
            guest.begin()


@pytest.mark.parametrize("is_tracing", [False, True])
async def test_one_trace_leads_through_deployments_and_hosts(
    near: Party, far: Party, monkeypatch: pytest.MonkeyPatch, is_tracing: bool
) -> None:
    exporter = InMemorySpanExporter()
    if is_tracing:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("lattice"))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen: list[str] = []

    async def note(exchange: Exchange) -> None:
        seen.extend(v.decode() for name, v in exchange.head.headers if name == b"traceparent")
        exchange.answer(200, (), b"")

    site = await far.serves("site", note)
    async with guest_on(near) as guest:
        call = guest.outlet.begin(
            OutgoingHead(method="GET", scheme="http", authority=SITE, target="/a"),
            b"",
            traceparent=parent,
        )
        await call.answered()
        await whole(call)
    assert [site.contexts[0].trace] == seen
    if not is_tracing:
        assert seen == [parent]
        return
    inner, outer = exporter.get_finished_spans()
    assert (inner.name, outer.name) == ("http GET", "http GET /a")
    assert (inner.kind, outer.kind) == (trace.SpanKind.SERVER, trace.SpanKind.CLIENT)
    assert seen == [f"00-{parent[3:35]}-{inner.get_span_context().span_id:016x}-01"]
    assert inner.parent is not None
    assert inner.parent.span_id == outer.get_span_context().span_id
    assert outer.attributes is not None
    assert outer.attributes["lattice.route"] == "remote"
