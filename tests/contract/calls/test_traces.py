"""One trace covers every hop of a call, by every route."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from wasmtime import wat2wasm

from lattice import telemetry
from tests.contract.calls.conftest import ROUTES, Calling
from tests.contract.calls.test_routes import ASK, ASKS, RUN

pytestmark = pytest.mark.wasm

ANSWERS = f"""
(component
  (core module $code (func (export "run") (result i32) (i32.const 42)))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $out (export "run" (func $run)))
  (export "{RUN}" (instance $out)))
"""

TRACE_ID, CALLER = "a" * 32, "b" * 16


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("lattice"))
    yield exporter
    provider.shutdown()


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    """Return trace, span and parent of a span, in hex."""
    assert span.context is not None
    assert span.parent is not None
    return (
        trace.format_trace_id(span.context.trace_id),
        trace.format_span_id(span.context.span_id),
        trace.format_span_id(span.parent.span_id),
    )


async def test_a_trace_goes_from_the_caller_through_every_hop(
    calling: Calling, spans: InMemorySpanExporter
) -> None:
    callee = await calling.deploy("callee", wat2wasm(ANSWERS))
    fronts = await calling.deploy_in_front(wat2wasm(ASKS), RUN, callee)
    for route in ROUTES:
        front = fronts[route]
        spans.clear()
        traceparent = f"00-{TRACE_ID}-{CALLER}-01"
        reply = await calling.ask(front, ASK, "ask", trace=traceparent)
        assert reply.ok == [42]
        found = {(span.name, span.kind.name): span for span in spans.get_finished_spans()}
        asked, linked = found[f"{ASK}#ask", "SERVER"], found[f"{RUN}#run", "CLIENT"]
        chain = [asked, linked]
        if route != "local":
            chain.append(found[f"{RUN}#run", "SERVER"])
        assert len(found) == len(chain)
        parent = CALLER
        for span in chain:
            trace_id, own, above = ids(span)
            assert (trace_id, above) == (TRACE_ID, parent)
            parent = own
        attributes = dict(linked.attributes or {})
        assert attributes["lattice.route"] == route
        assert attributes["lattice.deployment"] == callee
