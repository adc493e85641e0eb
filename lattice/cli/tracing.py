"""Sends spans where the standard variables of OpenTelemetry say, while a process runs guests.

`OTEL_TRACES_EXPORTER` names exporters that are installed; the SDK itself heeds the variables for
the service's name, sampling and batches (OpenTelemetry specification, environment variables).
Without it no spans are made, which costs nothing.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lattice.errors import InvalidError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

EXPORTERS_VARIABLE = "OTEL_TRACES_EXPORTER"
"""Names of exporters, separated by commas; `none` for none."""

SERVICE_VARIABLE = "OTEL_SERVICE_NAME"

FLUSH_S = 2.0
"""Seconds that the last spans get to leave: a collector that is away must not hold up the end."""


@contextmanager
def exporting(service: str) -> Iterator[None]:
    """Have spans exported while the context lasts; `service` is who they are of, by default.

    Raises:
        InvalidError: no exporter of a name is installed, or it cannot be set up.
    """
    wanted = [name.strip() for name in os.environ.get(EXPORTERS_VARIABLE, "").split(",")]
    names = [name for name in wanted if name and name != "none"]
    if not names:
        yield
        return
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ.setdefault(SERVICE_VARIABLE, service)
    provider = TracerProvider(shutdown_on_exit=False)
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # A thread, since exporters may wait for their time-outs and nothing can stop them.
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_S)


def _exporter(name: str) -> SpanExporter:
    from importlib.metadata import entry_points

    found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)
    if found is None:
        raise InvalidError(
            f"{EXPORTERS_VARIABLE}: no exporter {name!r} is installed; 'otlp' is in the "
            "package opentelemetry-exporter-otlp"
        )
    # The standard output has the line that tells where requests can come, and nothing else.
    options: dict[str, Any] = {"out": sys.stderr} if name == "console" else {}
    try:
        exporter: SpanExporter = found.load()(**options)
    except Exception as exc:  # noqa: BLE001 - code of others, which may raise anything
        raise InvalidError(f"{EXPORTERS_VARIABLE}: exporter {name!r}: {exc}") from None
    return exporter
