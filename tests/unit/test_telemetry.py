"""What of a caller's trace goes on to others."""

from __future__ import annotations

import pytest

from hosts.http.base import trace_of
from lattice.telemetry import call_span, well_formed

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def test_a_well_formed_trace_goes_on_without_a_tracer() -> None:
    with call_span("x", parent=TRACE) as span:
        assert span.traceparent == TRACE


def test_a_trace_of_a_later_version_is_taken_for_what_is_known_of_it() -> None:
    later = TRACE.replace("00-", "01-", 1) + "-more"
    assert well_formed(later) == later
    with call_span("x", parent=later) as span:
        assert span.traceparent == TRACE


@pytest.mark.parametrize(
    "trace",
    ["", "garbage", "\xe4", f"{TRACE}\r\nx: y", f" {TRACE}", f"00-{'0' * 32}-{'b' * 16}-01",
     f"00-{'a' * 32}-{'0' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01", TRACE.upper(),
     f"{TRACE}-{'x' * 1000}"],
)  # fmt: skip
def test_what_is_no_trace_goes_nowhere(trace: str, caplog: pytest.LogCaptureFixture) -> None:
    assert well_formed(trace) == ""
    with call_span("x", parent=trace) as span:
        assert span.traceparent == ""
    assert trace_of([(b"host", b"a"), (b"traceparent", trace.encode("latin-1"))]) == ""
    assert not caplog.records  # clients must not be able to fill the log


def test_the_trace_of_a_request_is_its_header() -> None:
    assert trace_of([(b"host", b"a"), (b"traceparent", TRACE.encode())]) == TRACE
    assert trace_of([]) == ""
