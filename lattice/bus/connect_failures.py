"""Why a first connection did not come about, as an error that says what to do.

It reads what the attempts raised and says it in the lattice's words; it attempts nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from lattice.bus.credentials import identity_name
from lattice.bus.options import ConnectOptions, server_address
from lattice.errors import DeniedError, LatticeError, UnavailableError


class NoTlsError(Exception):
    """The server offers no TLS, and nothing was told to it because TLS was asked for."""


class CertificateWantedError(Exception):
    """The server asks for a certificate, and hung up on a client that showed none.

    With TLS 1.3 the refusal comes after the handshake, and often the client's next write fails
    before it has read it.
    """


def connect_failure(options: ConnectOptions, attempts: Sequence[Exception]) -> LatticeError:
    """Return the error for attempts of which none came about.

    A refusal says more than a server that is away, so it is told first.
    """
    where = ", ".join(server_address(server) for server in options.servers)
    for error in attempts:
        text = str(error).lower()
        if "authorization" in text or "authentication" in text:
            given = identity_name(options)
            return DeniedError(
                f"NATS at {where} refuses {given}: pass the user's own with --creds or --nkey",
                servers=[server_address(server) for server in options.servers],
            )
    for error in attempts:
        if isinstance(error, ssl.SSLError | NoTlsError | CertificateWantedError):
            return _tls_failure(where, error)
    reason = "no answer in time"
    for error in attempts:
        if not isinstance(error, TimeoutError):
            reason = str(error).removeprefix("nats: ") or type(error).__name__
    return UnavailableError(
        f'cannot reach NATS at {where}: {reason}; start one with "lattice up", or pass --nats',
        servers=[server_address(server) for server in options.servers],
    )


def _tls_failure(where: str, error: Exception) -> LatticeError:
    if isinstance(error, NoTlsError):
        return UnavailableError(
            f"NATS at {where} offers no TLS, and TLS was asked for: use a nats:// URL without "
            "--tls-ca, or mend the server"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnavailableError(
            f"certificate of NATS at {where} is not trusted: {error.verify_message}; "
            "pass its authority with --tls-ca"
        )
    reason = getattr(error, "reason", None) or str(error)
    is_refused = "ALERT" in reason.upper() and "CERTIFICATE" in reason.upper()
    if is_refused or isinstance(error, CertificateWantedError):
        return DeniedError(
            f"NATS at {where} wants another client certificate ({reason}): "
            "pass one with --tls-cert and --tls-key"
        )
    return UnavailableError(f"TLS with NATS at {where} failed: {reason}")
