"""What a handler of the HTTP server may do: fail, answer wrongly, stream, wait, be traced."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hosts.http.base import Exchange
from hosts.http.limits import Limits
from lattice import errors, telemetry
from tests.integration.http_serving import (
    GET,
    HELLO,
    anyio_backend,
    hello,
    rest,
    serving,
    undated,
    until_seen,
)

__all__ = ["anyio_backend"]  # a fixture


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidError("no"), 400),
        (errors.DeniedError("no"), 403),
        (errors.NotFoundError("no"), 404),
        (errors.ConflictError("no"), 409),
        (errors.GuestTrapError("no"), 500),
        (errors.IncompatibleError("no"), 502),
        (errors.NoRouteError("no"), 503),
        (errors.OverloadedError("no", retry_after_ms=1500), 503),
        (errors.DeadlineExceededError("no"), 504),
        (ValueError("no"), 500),
        (None, 500),
    ],
)
async def test_an_error_of_the_handler_is_a_status(error, status, caplog):
    async def fail(_: Exchange) -> None:
        if error is not None:
            raise error

    async with serving(fail) as running:
        answer = await running.talk(GET + GET)
    assert answer.count(b"HTTP/1.1 %d " % status) == 2
    assert (b"retry-after: " in answer) == (status == 503)
    assert b"\nno\n" not in answer
    assert bool(caplog.records) == (status >= 500)


async def test_in_development_the_client_sees_the_message():
    async def fail(_: Exchange) -> None:
        raise errors.OverloadedError("no room", retry_after_ms=1500)

    async with serving(fail, is_dev=True) as running:
        answer = await running.talk(GET)
    assert b"retry-after: 2\r\n" in answer
    assert answer.endswith(b"\r\n\r\n503 Service Unavailable\n\nno room\n")


@pytest.mark.parametrize(
    "headers",
    [
        ((b"x", b"a\r\nset-cookie: b"),), ((b"x", b"a\nb"),), ((b"x", b"a\0"),), ((b"x y", b""),),
        ((b"x: y\r\nz", b""),), ((b"", b""),), ((b"content-length", b"+1"),),
        ((b"content-length", b"7"),),
    ],
)  # fmt: skip
async def test_headers_that_would_break_the_answer_are_the_handlers_fault(headers):
    async def wrong(exchange: Exchange) -> None:
        exchange.answer(200, headers, b"hello\n")

    async with serving(wrong) as running:
        answer = await running.talk(GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer


async def test_an_answer_that_is_not_finished_breaks_the_connection():
    async def stop(exchange: Exchange) -> None:
        await exchange.begin(200, ((b"content-length", b"10"),))
        await exchange.write(b"half")

    async with serving(stop) as running:
        answer = await running.talk(GET)
        await running.until("connections == 0")
    assert b"halfhalf" not in answer


async def test_a_second_answer_is_refused_and_the_first_stands(caplog):
    async def twice(exchange: Exchange) -> None:
        await hello(exchange)
        await hello(exchange)

    async with serving(twice) as running:
        answer = undated(await running.talk(GET))
    assert answer == HELLO % b""


async def test_writers_wait_for_a_client_that_does_not_read():
    written = 0

    async def pour(exchange: Exchange) -> None:
        nonlocal written
        await exchange.begin(200, ())
        for _ in range(4096):
            await exchange.write(bytes(16384))
            written += 16384
        await exchange.finish()

    async with serving(pour) as running, await running.connect() as stream:
        await stream.send(GET[:-2] + b"connection: close\r\n\r\n")
        await stream.receive(1)
        for _ in range(100):
            await checkpoint()
        assert written < 32 * 1024**2  # what the system's own buffers take
        assert len(await rest(stream)) > 64 * 1024**2
    assert written == 64 * 1024**2


async def test_readers_have_the_client_wait():
    may_read = anyio.Event()
    total = 0

    async def late(exchange: Exchange) -> None:
        nonlocal total
        await may_read.wait()
        while part := await exchange.read(1 << 20):
            total += len(part)
        await hello(exchange)

    limits = Limits(read_buffer_bytes=65536)
    sent = 0
    async with serving(late, limits=limits) as running, await running.connect() as stream:
        await stream.send(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (64 * 1024**2)
        )

        async def pour() -> None:
            nonlocal sent
            for _ in range(64):
                await stream.send(bytes(1024**2))
                sent += 1024**2

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pour)
            for _ in range(100):
                await checkpoint()
            assert sent < 32 * 1024**2
            may_read.set()
        assert (await until_seen(stream, b"hello\n")).startswith(b"HTTP/1.1 200")
    assert total == sent == 64 * 1024**2


async def test_a_span_continues_the_trace_of_the_client(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("lattice"))
    told = []

    async def note(exchange: Exchange) -> None:
        told.extend(value for name, value in exchange.head.headers if name == b"traceparent")
        await hello(exchange)

    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving(note) as running:
        await running.talk(GET[:-2] + b"traceparent: %b\r\n\r\n" % parent)
    (span,) = exporter.get_finished_spans()
    context = span.get_span_context()
    assert (span.name, span.kind) == ("GET", trace.SpanKind.SERVER)
    assert f"{context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert span.attributes["http.response.status_code"] == 200
    assert told == [f"00-{context.trace_id:032x}-{context.span_id:016x}-01".encode()]


async def test_who_reads_after_the_answer_never_gets_the_next_request():
    kept = []

    async def keep(exchange: Exchange) -> None:
        kept.append(exchange)
        await hello(exchange)

    async with serving(keep) as running, await running.connect() as stream:
        await stream.send(GET)
        await until_seen(stream, b"hello\n")
        await stream.send(GET[:-4])
        assert await kept[0].read(100) == b""
        assert kept[0].body == b""
        await stream.send(GET[-4:])
        await until_seen(stream, b"hello\n")
