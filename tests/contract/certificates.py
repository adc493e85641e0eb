"""Self-signed certificates for tests of TLS, made anew for each run so that no key lies around.

Just enough DER (X.690) and X.509 (RFC 5280) with Ed25519 (RFC 8410) to be taken by OpenSSL and Go.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nacl.signing import SigningKey

_ED25519 = b"\x06\x03\x2b\x65\x70"  # object identifier 1.3.101.112
_COMMON_NAME = b"\x06\x03\x55\x04\x03"
_PKCS8_PREFIX = bytes.fromhex("302e020100300506032b657004220420")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """PEM files of a certificate that is its own authority, and of its key."""

    cert: Path
    key: Path


def make_certificate(directory: Path, name: str) -> Certificate:
    """Write a certificate for 127.0.0.1 and `localhost`."""
    signer = SigningKey.generate()
    public = bytes(signer.verify_key)
    algorithm = _sequence(_ED25519)
    subject = _sequence(_tlv(0x31, _sequence(_COMMON_NAME, _tlv(0x0C, name.encode()))))
    now = datetime.now(UTC)
    body = _sequence(
        _tlv(0xA0, _integer(2)),  # version 3
        _integer(secrets.randbits(63) | 1),
        algorithm,
        subject,
        _sequence(_time(now - timedelta(hours=1)), _time(now + timedelta(days=1))),
        subject,
        _sequence(algorithm, _bits(public)),
        _tlv(0xA3, _sequence(*_extensions(public))),
    )
    certificate = _sequence(body, algorithm, _bits(signer.sign(body).signature))
    files = Certificate(cert=directory / f"{name}.pem", key=directory / f"{name}-key.pem")
    files.cert.write_text(_pem("CERTIFICATE", certificate))
    files.key.write_text(_pem("PRIVATE KEY", _PKCS8_PREFIX + bytes(signer)))
    return files


def _extensions(public: bytes) -> tuple[bytes, ...]:
    names = _sequence(
        _tlv(0x82, b"localhost"), _tlv(0x87, ipaddress.ip_address("127.0.0.1").packed)
    )
    return (
        _extension(19, _sequence(_tlv(0x01, b"\xff")), is_critical=True),  # an authority
        _extension(15, _tlv(0x03, b"\x02\x84"), is_critical=True),  # signs data and certificates
        _extension(14, _tlv(0x04, hashlib.sha256(public).digest()[:20])),  # key identifier
        _extension(17, names),
    )


def _extension(number: int, value: bytes, *, is_critical: bool = False) -> bytes:
    identifier = _tlv(0x06, bytes((0x55, 0x1D, number)))
    critical = _tlv(0x01, b"\xff") if is_critical else b""
    return _sequence(identifier, critical, _tlv(0x04, value))


def _tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        length = bytes((len(content),))
    else:
        digits = len(content).to_bytes(2, "big").lstrip(b"\0")
        length = bytes((0x80 | len(digits),)) + digits
    return bytes((tag,)) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _tlv(0x03, b"\0" + content)


def _time(moment: datetime) -> bytes:
    return _tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())


def _pem(label: str, content: bytes) -> str:
    lines = base64.encodebytes(content).decode()
    return f"-----BEGIN {label}-----\n{lines}-----END {label}-----\n"
