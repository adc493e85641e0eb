"""Telemetry that is set up: spans that hang together, durations counted, gauges read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as meters
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lattice import telemetry
from lattice.errors import DeniedError
from lattice.telemetry import PLAN_DURATION, call_span, gauges, timing, trace_ids


@dataclass
class Seen:
    spans: InMemorySpanExporter
    reader: InMemoryMetricReader

    def points(self, name: str) -> list[Any]:
        """Return the data points of one metric."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Providers as an application sets them, for one test: the API takes them once only."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, counters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    meter = counters.get_meter("lattice")
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracers)
    monkeypatch.setattr(telemetry, "_TRACER", tracers.get_tracer("lattice"))
    monkeypatch.setattr(meters, "_METER_PROVIDER", counters)
    monkeypatch.setattr(telemetry, "_METER", meter)
    monkeypatch.setattr(telemetry, "_MADE", set[str]())
    made = {name: meter.create_histogram(name, unit="s") for name in telemetry._DURATIONS}
    monkeypatch.setattr(telemetry, "_DURATIONS", made)
    yield Seen(spans, reader)
    counters.shutdown()


def test_calls_on_their_way_are_spans_of_one_trace(seen: Seen) -> None:
    with call_span("a:b/c#f", attributes={"lattice.deployment": "d"}) as outer:
        inner = call_span("a:b/c#f", parent=outer.traceparent, is_server=True)
        with inner as served:
            served.mark("lattice.route", "remote")
    last, first = seen.spans.get_finished_spans()
    assert last.context is not None
    assert first.context is not None
    assert last.context.trace_id == first.context.trace_id
    assert last.parent is not None
    assert last.parent.span_id == first.context.span_id
    assert dict(first.attributes or {}) == {
        "rpc.system.name": "lattice", "rpc.method": "a:b/c#f", "lattice.deployment": "d",
    }  # fmt: skip


def test_a_call_counts_in_the_histogram_of_its_side(seen: Seen) -> None:
    with call_span("f", attributes={"lattice.deployment": "d"}):
        pass
    with call_span("f", is_server=True) as span:
        span.mark("lattice.error", "trap")
    [made] = seen.points("rpc.client.call.duration")
    [answered] = seen.points("rpc.server.call.duration")
    assert (made.count, made.attributes["lattice.deployment"]) == (1, "d")
    assert answered.attributes["error.type"] == "trap"
    served, _ = seen.spans.get_finished_spans()[::-1]
    assert not served.status.is_ok


def test_a_request_over_http_counts_by_method_and_status_and_not_by_path(seen: Seen) -> None:
    attributes = {"http.request.method": "GET", "url.path": "/secret"}
    with call_span("GET", is_server=True, attributes=attributes) as span:
        span.mark("http.response.status_code", 204)
    [point] = seen.points("http.server.request.duration")
    assert dict(point.attributes) == {
        "http.request.method": "GET", "http.response.status_code": 204,
    }  # fmt: skip


def test_an_error_that_leaves_a_span_is_told_by_its_kind(seen: Seen) -> None:
    with pytest.raises(DeniedError), call_span("f"):
        raise DeniedError("no")
    [point] = seen.points("rpc.client.call.duration")
    assert point.attributes["error.type"] == "denied"
    [span] = seen.spans.get_finished_spans()
    assert dict(span.attributes or {})["error.type"] == "denied"


def test_gauges_are_read_while_their_context_lasts(seen: Seen) -> None:
    name = "lattice.host.replicas"

    def broken() -> float:
        raise RuntimeError("dictionary changed size during iteration")

    def found() -> dict[str, float]:
        """Leave out the hosts that other tests share in this process."""
        told = {point.attributes.get("lattice.host"): point.value for point in seen.points(name)}
        return {host: told[host] for host in ("a", "b", "c") if host in told}

    with gauges({"lattice.host": "a"}, {name: lambda: 3}):
        with gauges({"lattice.host": "b"}, {name: lambda: 4}):
            assert found() == {"a": 3, "b": 4}
        with gauges({"lattice.host": "c"}, {name: broken}):
            assert found() == {"a": 3}
    assert found() == {}


def test_plans_are_timed(seen: Seen) -> None:
    with timing(PLAN_DURATION):
        pass
    assert [point.count for point in seen.points(PLAN_DURATION)] == [1]


def test_what_is_at_work_has_the_ids_of_its_trace(seen: Seen) -> None:
    assert trace_ids() == ("", "")
    with call_span("f") as span:
        assert "-".join(trace_ids()) in span.traceparent


def test_metrics_alone_pass_on_the_context_that_came(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(telemetry, "_TRACER", trace.NoOpTracer())
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    with call_span("f", parent=parent) as span:
        assert span.traceparent == parent
    assert [point.count for point in seen.points("rpc.client.call.duration")] == [1]
