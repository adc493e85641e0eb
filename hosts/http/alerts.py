"""What a peer of TLS says before it ends a connection: its alerts, by the names OpenSSL has."""

from __future__ import annotations

import ssl

ALERTS = {
    "close_notify": 0, "unexpected_message": 10, "bad_record_mac": 20, "record_overflow": 22,
    "decompression_failure": 30, "handshake_failure": 40, "no_certificate": 41,
    "bad_certificate": 42, "unsupported_certificate": 43, "certificate_revoked": 44,
    "certificate_expired": 45, "certificate_unknown": 46, "illegal_parameter": 47,
    "unknown_ca": 48, "access_denied": 49, "decode_error": 50, "decrypt_error": 51,
    "export_restriction": 60, "protocol_version": 70, "insufficient_security": 71,
    "internal_error": 80, "inappropriate_fallback": 86, "user_cancelled": 90,
    "no_renegotiation": 100, "missing_extension": 109, "unsupported_extension": 110,
    "certificate_unobtainable": 111, "unrecognized_name": 112,
    "bad_certificate_status_response": 113, "bad_certificate_hash_value": 114,
    "unknown_psk_identity": 115, "certificate_required": 116, "no_application_protocol": 120,
}  # fmt: skip
"""The alerts of TLS 1.3 and the versions before it (RFC 8446, appendix B.2)."""

_OF_VERSIONS = ("sslv3_alert_", "tlsv1_alert_", "tlsv13_alert_", "tlsv1_")


def alert_in(error: ssl.SSLError) -> tuple[str, int] | None:
    """Return the alert that a failure of TLS tells of, and its number; None: it tells of none."""
    reason = (error.reason or "").lower()
    for version in _OF_VERSIONS:
        name = reason.removeprefix(version)
        if name != reason and name in ALERTS:
            return name, ALERTS[name]
    return None
