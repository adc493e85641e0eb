"""Trace context across hops: spans through the OpenTelemetry API, nothing when it is not set up.

The context travels as one W3C `traceparent` string in the call envelope. Without a configured
tracer provider a span costs a few hundred nanoseconds and the incoming context is passed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("lattice")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{1,200})?"
)


def well_formed(traceparent: str) -> str:
    """Return a `traceparent` as it is, "" when it is none (W3C Trace Context, 3.2).

    It comes from whoever sends a request, and goes on to others.
    """
    return traceparent if _TRACEPARENT.fullmatch(traceparent) else ""


def is_tracing() -> bool:
    """Tell whether spans go anywhere: a tracer provider has been set."""
    provider = trace.get_tracer_provider()
    return not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)


class CallSpan:
    """A running span of one call: what its callees must be told, and what it is marked with."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span, traceparent: str) -> None:
        self._span = span
        self.traceparent = traceparent

    def mark(self, name: str, value: str | int | float | bool) -> None:
        """Set one attribute of the span."""
        self._span.set_attribute(name, value)


@contextmanager
def call_span(
    name: str,
    *,
    parent: str = "",
    is_server: bool = False,
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[CallSpan]:
    """Run a block under a span that continues the `parent` traceparent, if it is well-formed.

    An exception that leaves the block is recorded on the span and goes on.
    """
    parent = well_formed(parent) if parent else ""
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
    kind = SpanKind.SERVER if is_server else SpanKind.CLIENT
    with _TRACER.start_as_current_span(
        name, context=context, kind=kind, attributes=dict(attributes or {})
    ) as span:
        if not span.get_span_context().is_valid:
            yield CallSpan(span, parent)
            return
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        yield CallSpan(span, carrier.get("traceparent", parent))
