"""Traces and metrics through the OpenTelemetry API: nothing where it is not set up.

The context of a trace travels as one W3C `traceparent` string in the call envelope. Each span of a
call or request also counts in the histogram of its duration. Names follow OpenTelemetry's semantic
conventions where there are some. Setting up exporters is `lattice.cli.tracing`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.metrics import _internal as _meters
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lattice.errors import LatticeError

SYSTEM = "lattice"
"""`rpc.system.name` of calls."""

DURATIONS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
)  # fmt: skip
"""Bounds of the buckets of durations, in seconds: from a call in memory to a long deadline."""

GAUGES: Mapping[str, tuple[str, str]] = {
    "lattice.host.calls.in_flight": ("{call}", "Calls that run or wait on a host"),
    "lattice.host.calls.waiting": ("{call}", "Calls that wait in a replica for their turn"),
    "lattice.host.replicas": ("{replica}", "Replicas that live on a host"),
    "lattice.host.programs": ("{program}", "Compiled programs in the memory of a host"),
    "lattice.host.programs.memory": ("By", "What programs and idle instances hold in memory"),
    "lattice.host.log_lines.dropped": ("{line}", "Log lines of a host that were not published"),
    "lattice.events.waiting": ("{event}", "Events that wait for the event log"),
    "lattice.scheduler.leading": ("1", "Whether this scheduler is the active one"),
    "lattice.scheduler.hosts": ("{host}", "Hosts that the active scheduler knows"),
    "lattice.scheduler.deployments": ("{deployment}", "Deployments that are desired"),
    "lattice.scheduler.replicas.unplaced": ("{replica}", "Replicas that fit on no host"),
}
"""What is read when metrics are collected: the name, its unit and what it means."""

PLAN_DURATION = "lattice.scheduler.plan.duration"
"""Seconds that one plan took the active scheduler."""

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("lattice")
_METER = metrics.get_meter("lattice")
_UNKNOWN = object()
_CALLED = ("rpc.system.name", "rpc.method", "lattice.deployment", "lattice.route", "error.type")
_REQUESTED = ("http.request.method", "url.scheme", "http.route", "http.response.status_code",
              "lattice.deployment", "error.type")  # fmt: skip

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{1,200})?"
)
_TRACEPARENT_LENGTH = 55
"""Characters of a `traceparent` of version 00, which is all of a later version that is known."""


def _histogram(name: str, description: str) -> metrics.Histogram:
    return _METER.create_histogram(
        name, unit="s", description=description,
        explicit_bucket_boundaries_advisory=DURATIONS_S,
    )  # fmt: skip


_DURATIONS = {
    "rpc.client.call.duration": _histogram("rpc.client.call.duration", "Calls as made"),
    "rpc.server.call.duration": _histogram("rpc.server.call.duration", "Calls as answered"),
    "http.client.request.duration": _histogram("http.client.request.duration", "Requests made"),
    "http.server.request.duration": _histogram("http.server.request.duration", "Requests answered"),
    PLAN_DURATION: _histogram(PLAN_DURATION, "Plans of the active scheduler"),
}


def well_formed(traceparent: str) -> str:
    """Return a `traceparent` as it is, "" when it is none (W3C Trace Context, 3.2).

    It comes from whoever sends a request, and goes on to others.
    """
    return traceparent if _TRACEPARENT.fullmatch(traceparent) else ""


def is_tracing() -> bool:
    """Tell whether spans go anywhere: a tracer provider has been set.

    The own question of the API costs a microsecond while the answer is no, so its variable is read.
    Should it have another name one day, every span is made in full, which is slow and right.
    """
    return getattr(trace, "_TRACER_PROVIDER", _UNKNOWN) is not None


def is_measuring() -> bool:
    """Tell whether metrics go anywhere: a meter provider has been set. As `is_tracing`."""
    return getattr(_meters, "_METER_PROVIDER", _UNKNOWN) is not None


class CallSpan:
    """A running span of one call: what its callees must be told, and what it is marked with.

    This one goes nowhere; it passes on the context that it got.
    """

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def __enter__(self) -> CallSpan:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def mark(self, name: str, value: str | int | float | bool) -> None:
        """Set one attribute of the span; `lattice.error`, the kind of an error, makes it failed."""


class _Recorded(CallSpan):
    """A span that goes somewhere, or counts in the metrics."""

    __slots__ = ("_span", "marks")

    def __init__(self, span: trace.Span, traceparent: str, marks: dict[str, object]) -> None:
        super().__init__(traceparent)
        self._span = span
        self.marks = marks

    def mark(self, name: str, value: str | int | float | bool) -> None:
        self._span.set_attribute(name, value)
        self.marks[name] = value
        if name == "lattice.error":
            self.mark("error.type", value)
            self._span.set_status(Status(StatusCode.ERROR, str(value)))


def call_span(
    name: str,
    *,
    parent: str = "",
    is_server: bool = False,
    attributes: Mapping[str, str | int] | None = None,
) -> AbstractContextManager[CallSpan]:
    """Run a block under a span that continues the `parent` traceparent, if it is well-formed.

    With the attribute `http.request.method` it is of a request over HTTP, else of a call of the
    function `name`. An exception that leaves the block is recorded on the span and goes on.
    """
    if not is_tracing() and not is_measuring():
        return CallSpan(_continued(parent) if parent else "")
    return _recorded(name, parent, is_server, attributes or {})


def _continued(parent: str) -> str:
    """Return what callees are told of a context that is only passed on."""
    if not well_formed(parent):
        return ""
    if parent.startswith("00") and len(parent) == _TRACEPARENT_LENGTH:
        return parent
    return f"00{parent[2:_TRACEPARENT_LENGTH]}"


@contextmanager
def _recorded(
    name: str, parent: str, is_server: bool, given: Mapping[str, str | int]
) -> Iterator[CallSpan]:
    attributes: dict[str, str | int] = dict(given)
    is_http = "http.request.method" in attributes
    if not is_http:
        attributes |= {"rpc.system.name": SYSTEM, "rpc.method": name}
    marks: dict[str, object] = dict(attributes)
    parent = well_formed(parent) if parent else ""
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
    kind = SpanKind.SERVER if is_server else SpanKind.CLIENT
    began_s = time.perf_counter()
    try:
        with _TRACER.start_as_current_span(
            name, context=context, kind=kind, attributes=attributes
        ) as span:
            if not span.get_span_context().is_valid:
                yield _Recorded(span, parent, marks)
                return
            carrier: dict[str, str] = {}
            _PROPAGATOR.inject(carrier)
            traceparent = carrier.get("traceparent", parent)
            try:
                yield _Recorded(span, traceparent, marks)
            except Exception as exc:
                span.set_attribute("error.type", _error_type(exc))
                raise
    except Exception as exc:
        marks["error.type"] = _error_type(exc)
        raise
    finally:
        what = "http" if is_http else "rpc"
        side = "server" if is_server else "client"
        unit = "request" if is_http else "call"
        told = {key: marks[key] for key in (_REQUESTED if is_http else _CALLED) if key in marks}
        _DURATIONS[f"{what}.{side}.{unit}.duration"].record(
            time.perf_counter() - began_s,
            told,  # type: ignore[arg-type] # values of attributes, as they were marked
        )


def _error_type(exc: Exception) -> str:
    return exc.kind if isinstance(exc, LatticeError) else type(exc).__name__


@contextmanager
def timing(name: str) -> Iterator[None]:
    """Have the duration of a block counted in the histogram `name`, such as `PLAN_DURATION`."""
    if not is_measuring():
        yield
        return
    began_s = time.perf_counter()
    try:
        yield
    finally:
        _DURATIONS[name].record(time.perf_counter() - began_s)


def trace_ids() -> tuple[str, str]:
    """Return the ids of the trace and the span at work, in hex; "" twice outside of any."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return "", ""
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


# --- gauges -----------------------------------------------------------------------------------

Readings = Mapping[str, Callable[[], float]]
"""How to read gauges, by their names in `GAUGES`."""

_READERS: list[tuple[Mapping[str, str], Readings]] = []
_MADE: set[str] = set()


@contextmanager
def gauges(attributes: Mapping[str, str], readings: Readings) -> Iterator[None]:
    """Have gauges read whenever metrics are collected, while the context lasts.

    They are read on the collector's thread: a reading must only look.
    """
    for name in readings:
        if name not in _MADE:
            _MADE.add(name)
            unit, description = GAUGES[name]
            _METER.create_observable_gauge(
                name, callbacks=[partial(_read, name)], unit=unit, description=description
            )
    entry = (attributes, readings)
    _READERS.append(entry)
    try:
        yield
    finally:
        _READERS.remove(entry)


def _read(name: str, _: CallbackOptions) -> Iterable[Observation]:
    for attributes, readings in _READERS:
        if (read := readings.get(name)) is not None:
            try:
                yield Observation(read(), dict(attributes))
            except (RuntimeError, LookupError):
                continue  # changed under the reader's hands; the next collection reads it
