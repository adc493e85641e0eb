"""Failures of HTTP as lines between host and adapter, for people, and as statuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.engine.errorcodes import (
    ERROR_NAMES,
    TEXT_CHARACTERS_MAX,
    HttpFailure,
    error_code,
    failure_in,
)
from hosts.engine.webvalues import EgressError


@given(
    st.sampled_from(ERROR_NAMES),
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.text(min_size=1, max_size=50),
)
def test_a_line_says_all_of_a_failure(code, number, text):
    failure = HttpFailure(code, number, text)
    assert failure_in(failure.line) == failure
    assert failure.line.startswith(f"!{error_code(code)}\n")


def test_long_texts_are_cut():
    failure = failure_in(HttpFailure("internal-error", None, "x" * 10_000).line)
    assert failure.text == "x" * TEXT_CHARACTERS_MAX


@pytest.mark.parametrize(
    ("failure", "text", "status"),
    [
        (HttpFailure("DNS-error", None, "NXDOMAIN"), "DNS-error: NXDOMAIN", 502),
        (HttpFailure("TLS-alert-received", 40, "x"), "TLS-alert-received: x, 40", 502),
        (HttpFailure("connection-read-timeout"), "connection-read-timeout", 504),
        (HttpFailure("HTTP-request-body-size", 5), "HTTP-request-body-size: 5", 413),
        (HttpFailure("internal-error"), "internal-error", 500),
    ],
)
def test_failures_are_told_and_have_a_status(failure, text, status):
    assert (str(failure), failure.status) == (text, status)


def test_only_an_internal_error_tells_its_message():
    assert EgressError("internal-error", "why").failure.text == "why"
    assert EgressError("connection-refused", "inside name").failure.text is None
