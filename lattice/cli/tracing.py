"""Sends traces, metrics and logs where the standard variables of OpenTelemetry say.

`OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER` and `OTEL_LOGS_EXPORTER` name exporters that are
installed; an endpoint of OTLP alone asks for `otlp`. The SDK itself heeds the variables for the
service's name, sampling, batches and intervals (OpenTelemetry specification, environment
variables). Without any of them nothing is set up, which costs nothing.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from lattice.errors import InvalidError
from lattice.telemetry import trace_ids

Signal = Literal["traces", "metrics", "logs"]

SERVICE_VARIABLE = "OTEL_SERVICE_NAME"

PROTOCOL = "http/protobuf"
"""How OTLP is spoken unless `OTEL_EXPORTER_OTLP_PROTOCOL` says otherwise, as its specification
recommends."""

FLUSH_S = 2.0
"""Seconds that the last of it gets to leave: a collector that is away must not hold up the end."""

_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


@contextmanager
def exporting(service: str) -> Iterator[None]:
    """Have telemetry exported while the context lasts; `service` is who it is of, by default.

    Raises:
        InvalidError: no exporter of a name is installed, or it cannot be set up.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield
        return
    exporters = {signal: _exporters(signal) for signal in ("traces", "metrics", "logs")}
    if not any(exporters.values()):
        yield
        return
    os.environ.setdefault(SERVICE_VARIABLE, service)
    ends: list[Callable[[], object]] = []
    with ExitStack() as stack:
        if exporters["traces"]:
            ends.append(_trace(exporters["traces"]))
            stack.enter_context(_ids_in_log())
        if exporters["metrics"]:
            ends.append(_measure(exporters["metrics"]))
        if exporters["logs"]:
            ends.append(_log(exporters["logs"], stack))
        try:
            yield
        finally:
            _end(ends)


def _trace(exporters: list[Any]) -> Callable[[], object]:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _measure(exporters: list[Any]) -> Callable[[], object]:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    readers = [PeriodicExportingMetricReader(exporter) for exporter in exporters]
    provider = MeterProvider(readers, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return provider.shutdown


def _log(exporters: list[Any], stack: ExitStack) -> Callable[[], object]:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    handler = _Exported(provider)
    root = logging.getLogger()
    root.addHandler(handler)
    stack.callback(root.removeHandler, handler)
    return provider.shutdown


def _end(ends: list[Callable[[], object]]) -> None:
    """Flush and end what exports. Threads, since exporters may wait for their time-outs."""
    threads = [threading.Thread(target=end, daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(FLUSH_S)


# --- which exporters --------------------------------------------------------------------------


def _exporters(signal: Signal) -> list[Any]:
    """Return the exporters that the variables name for a signal."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    default = "otlp" if _has_endpoint(signal) else "none"
    wanted = [name.strip() for name in (os.environ.get(variable) or default).split(",")]
    return [_exporter(variable, signal, name) for name in wanted if name and name != "none"]


def _has_endpoint(signal: Signal) -> bool:
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def _exporter(variable: str, signal: Signal, name: str) -> Any:
    from importlib.metadata import entry_points

    group = f"opentelemetry_{signal}_exporter"
    names = [name]
    if name == "otlp":
        # The package of one protocol has its own name only; the one of both has the plain one too.
        own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        protocol = own or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or PROTOCOL
        names = [_OTLP.get(protocol, name), name]
    found = next((each for name in names for each in entry_points(group=group, name=name)), None)
    if found is None:
        raise InvalidError(
            f"{variable}: no exporter {name!r} is installed; 'otlp' comes with lattice[otlp], the "
            "package opentelemetry-exporter-otlp-proto-http"
        )
    # The standard output has the line that tells where requests can come, and nothing else.
    options: dict[str, Any] = {"out": sys.stderr} if name == "console" else {}
    try:
        return found.load()(**options)
    except Exception as exc:  # noqa: BLE001 - code of others, which may raise anything
        raise InvalidError(f"{variable}: exporter {name!r}: {exc}") from None


# --- logs -------------------------------------------------------------------------------------


@contextmanager
def _ids_in_log() -> Iterator[None]:
    """Have each line of the process's log end with the ids of the trace that it belongs to."""
    handlers = [(each, each.formatter) for each in logging.getLogger().handlers]
    for handler, formatter in handlers:
        handler.setFormatter(_WithIds(formatter or logging.Formatter()))
    try:
        yield
    finally:
        for handler, formatter in handlers:
            handler.setFormatter(formatter)


class _WithIds(logging.Formatter):
    """Formats as another one does, and adds ids."""

    def __init__(self, plain: logging.Formatter) -> None:
        super().__init__()
        self._plain = plain

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; outside of traces as it would be anyway."""
        line = self._plain.format(record)
        trace_id, span_id = trace_ids()
        return f"{line} trace_id={trace_id} span_id={span_id}" if trace_id else line


class _Exported(logging.Handler):
    """Hands records of the process's log to OpenTelemetry, which adds the ids of the trace."""

    def __init__(self, provider: Any) -> None:
        super().__init__()
        self._provider = provider

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record on. What the exporter itself logs stays here."""
        if record.name.startswith(("opentelemetry", "urllib3", "requests")):
            return
        from opentelemetry._logs import LogRecord

        failure = record.exc_info[1] if record.exc_info else None
        self._provider.get_logger(record.name).emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                severity_text=record.levelname,
                severity_number=_severity(record.levelno),
                body=record.getMessage(),
                attributes={
                    "code.line.number": record.lineno,
                    "code.function.name": record.funcName,
                },
                exception=failure,
            )
        )


def _severity(number: int) -> Any:
    from opentelemetry._logs import SeverityNumber

    if number >= logging.CRITICAL:
        return SeverityNumber.FATAL
    if number >= logging.ERROR:
        return SeverityNumber.ERROR
    if number >= logging.WARNING:
        return SeverityNumber.WARN
    return SeverityNumber.INFO if number >= logging.INFO else SeverityNumber.DEBUG
