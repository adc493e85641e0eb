"""Alerts of TLS in the words of OpenSSL."""

from __future__ import annotations

import ssl

import pytest

from hosts.http.alerts import alert_in


@pytest.mark.parametrize(
    ("reason", "alert"),
    [
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", ("handshake_failure", 40)),
        ("TLSV1_ALERT_PROTOCOL_VERSION", ("protocol_version", 70)),
        ("TLSV1_ALERT_UNKNOWN_CA", ("unknown_ca", 48)),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", ("certificate_required", 116)),
        ("TLSV1_UNRECOGNIZED_NAME", ("unrecognized_name", 112)),
        ("WRONG_VERSION_NUMBER", None),
        ("UNEXPECTED_MESSAGE", None),
        (None, None),
    ],
)
def test_an_alert_is_told_by_name_and_number(reason: str | None, alert: tuple[str, int] | None):
    error = ssl.SSLError()
    error.reason = reason
    assert alert_in(error) == alert
