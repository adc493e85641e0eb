"""Telemetry leaves a process by OTLP over HTTP when the standard variables say so."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PROGRAM = """
import logging
from lattice.cli.process import log_to_stderr
from lattice.cli.tracing import exporting
from lattice.telemetry import call_span, gauges

log_to_stderr()
with gauges({}, {"lattice.host.replicas": lambda: 5}), exporting("of-the-test"):
    with call_span("a:b/c#f", attributes={"lattice.deployment": "d"}):
        logging.getLogger("lattice.test").warning("at work")
    logging.getLogger("lattice.test").warning("idle")
"""


@contextmanager
def collector() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    """Yield the endpoint of a receiver, and what it was sent by path."""
    received: dict[str, list[bytes]] = {}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ran(**variables: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**plain, "OTEL_EXPORTER_OTLP_COMPRESSION": "none", **variables},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_an_endpoint_gets_spans_metrics_and_logs_that_belong_together() -> None:
    with collector() as (endpoint, received):
        done = ran(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    spans = [
        span
        for body in received["/v1/traces"]
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    [span] = spans
    logs = {
        record.body.string_value: record
        for body in received["/v1/logs"]
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    }
    assert (logs["at work"].trace_id, logs["at work"].span_id) == (span.trace_id, span.span_id)
    assert logs["idle"].trace_id == b""
    metrics = {
        metric.name
        for body in received["/v1/metrics"]
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert {"rpc.client.call.duration", "lattice.host.replicas"} <= metrics
    said = {line.split(" lattice.test ")[1] for line in done.stderr.splitlines()}
    assert f"at work trace_id={span.trace_id.hex()} span_id={span.span_id.hex()}" in said
    assert "idle" in said


def test_a_signal_that_is_switched_off_is_not_sent() -> None:
    with collector() as (endpoint, received):
        done = ran(
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_LOGS_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
        )
    assert done.returncode == 0, done.stderr
    assert set(received) == {"/v1/traces"}


def test_a_disabled_sdk_sends_nothing() -> None:
    with collector() as (endpoint, received):
        done = ran(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_SDK_DISABLED="true")
    assert done.returncode == 0, done.stderr
    assert received == {}
