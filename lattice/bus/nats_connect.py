"""One connection to NATS out of `ConnectOptions`, and a clear error when there is none.

Reading configuration is not done here, nor is anything of the lattice opened.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import nkeys
from nats import errors

from lattice.bus.nats_client import NatsClient
from lattice.bus.nats_link import NatsLink
from lattice.bus.options import ConnectOptions, server_address
from lattice.errors import DeniedError, InvalidError, LatticeError, UnavailableError

PING_INTERVAL_S = 10
"""Seconds between keep-alive pings: with `PINGS_MAX` a silent peer is noticed within 30 s."""

PINGS_MAX = 2
"""Pings without an answer after which the connection counts as dead."""

RECONNECT_WAIT_S = (0.05, 0.35)
"""Range of the wait between attempts to one server. Each process draws its own, so that a
restarted server is not met by all of them at once."""

PENDING_BYTES_MAX = 2 * 1024 * 1024
"""Bytes in the outgoing buffer above which a publisher waits: twice the largest message."""

CLOSE_S = 2.0
"""Seconds for the last messages of a closing connection to leave."""

ABANDON_S = 0.1
"""Seconds for closing a connection that did not come about: it has nothing to send."""


@asynccontextmanager
async def connect_nats(options: ConnectOptions) -> AsyncIterator[NatsLink]:
    """Yield a connection while the context lasts; it reconnects for ever.

    Raises:
        UnavailableError: no server can be reached, or TLS with it fails.
        DeniedError: the servers refuse the identity, or want one.
        InvalidError: a file with credentials or keys cannot be used.
    """
    client = NatsClient()
    link = NatsLink(client, inbox_prefix=options.inbox_prefix)
    await _connect(client, link, options)
    try:
        await link.start()
        yield link
    finally:
        with anyio.CancelScope(shield=True):
            await _close(client, CLOSE_S)


class _GaveUpError(Exception):
    """Breaks nats-py's endless first connection when each server was tried once."""


async def _connect(client: NatsClient, link: NatsLink, options: ConnectOptions) -> None:
    attempts: list[Exception] = []
    is_connected = is_over = False

    async def on_error(error: Exception) -> None:
        if is_connected:
            await link.on_error(error)
            return
        nonlocal is_over
        attempts.append(error)
        if len(attempts) >= len(options.servers) and not is_over:
            is_over = True
            raise _GaveUpError

    arguments = _identity(options) | _tls(options)
    client.requires_tls = "tls" in arguments
    try:
        with anyio.move_on_after(options.connect_timeout_s):
            await client.connect(
                servers=list(options.servers),
                name=options.name,
                inbox_prefix=options.inbox_prefix,
                error_cb=on_error,
                disconnected_cb=link.on_disconnected,
                reconnected_cb=link.on_reconnected,
                closed_cb=link.on_closed,
                connect_timeout=options.connect_timeout_s,  # type: ignore[arg-type]  # seconds
                max_reconnect_attempts=-1,
                reconnect_time_wait=_draw(RECONNECT_WAIT_S),  # type: ignore[arg-type]  # seconds
                ping_interval=PING_INTERVAL_S,
                max_outstanding_pings=PINGS_MAX,
                pending_size=PENDING_BYTES_MAX,
                **arguments,
            )
            is_connected = True
    except _GaveUpError:
        pass
    except errors.Error as error:
        attempts.append(error)
    except BaseException:  # cancelled: what was opened is closed, the attempts are nobody's matter
        with anyio.CancelScope(shield=True):
            await _close(client, ABANDON_S)
        raise
    if not is_connected:
        with anyio.CancelScope(shield=True):
            await _close(client, ABANDON_S)
        raise _failure(options, attempts)


async def _close(client: NatsClient, limit_s: float) -> None:
    """Close within a time limit; what nats-py complains of while closing changes nothing."""
    with anyio.move_on_after(limit_s), suppress(errors.Error, OSError):
        if client.is_connected:
            await client.flush()
    with anyio.move_on_after(limit_s), suppress(errors.Error, OSError):
        await client.close()


def _failure(options: ConnectOptions, attempts: list[Exception]) -> LatticeError:
    """Return the error for a first connection that did not come about.

    A refusal says more than a server that is away, so it is told first.
    """
    where = ", ".join(server_address(server) for server in options.servers)
    for error in attempts:
        text = str(error).lower()
        if "authorization" in text or "authentication" in text:
            given = _identity_name(options)
            return DeniedError(
                f"NATS at {where} refuses {given}: pass the user's own with --creds or --nkey",
                servers=[server_address(server) for server in options.servers],
            )
    for error in attempts:
        if isinstance(error, ssl.SSLError | errors.SecureConnWantedError):
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
    if isinstance(error, errors.SecureConnWantedError):
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
    if "ALERT" in reason.upper() and "CERTIFICATE" in reason.upper():
        return DeniedError(
            f"NATS at {where} wants another client certificate ({reason}): "
            "pass one with --tls-cert and --tls-key"
        )
    return UnavailableError(f"TLS with NATS at {where} failed: {reason}")


def _identity(options: ConnectOptions) -> dict[str, Any]:
    """Return nats-py's arguments for the identity, its files checked before it reads them."""
    if options.creds is not None:
        text = _read("creds", options.creds).decode("ascii", "replace")
        if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
            raise InvalidError(f"creds file {options.creds} has no user JWT and seed")
        return {"user_credentials": str(options.creds)}
    if options.nkey_seed_path is not None:
        seed = _read("nkey", options.nkey_seed_path).strip()
        return {"nkeys_seed_str": _seed(seed, f"nkey file {options.nkey_seed_path}")}
    if options.nkey_seed:
        return {"nkeys_seed_str": _seed(options.nkey_seed.strip(), "nkey seed")}
    if options.user:
        return {"user": options.user, "password": options.password}
    if options.token:
        return {"token": options.token}
    return {}


def _seed(seed: bytes, source: str) -> str:
    try:
        nkeys.from_seed(bytearray(seed)).wipe()
    except (nkeys.NkeysError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise InvalidError(f"{source} holds no nkey seed (S..., 58 characters): {reason}") from None
    return seed.decode("ascii")


def _tls(options: ConnectOptions) -> dict[str, Any]:
    """Return nats-py's argument for TLS, empty unless TLS is asked for."""
    is_tls_url = any(urlsplit(server).scheme in ("tls", "wss") for server in options.servers)
    if not (is_tls_url or options.tls_ca or options.tls_cert):
        return {}
    if options.tls_ca is not None:
        _read("tls-ca", options.tls_ca)
    try:
        context = ssl.create_default_context(cafile=options.tls_ca)
    except ssl.SSLError as error:
        raise InvalidError(f"tls-ca file {options.tls_ca} holds no certificate: {error}") from None
    if options.tls_cert is not None and options.tls_key is not None:
        _read("tls-cert", options.tls_cert)
        _read("tls-key", options.tls_key)
        try:
            context.load_cert_chain(options.tls_cert, options.tls_key)
        except ssl.SSLError as error:
            raise InvalidError(
                f"tls-cert {options.tls_cert} and tls-key {options.tls_key} do not fit: {error}"
            ) from None
    return {"tls": context}


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"{what} file {path} cannot be read: {error.strerror}") from None


def _identity_name(options: ConnectOptions) -> str:
    if options.creds is not None:
        return f"the credentials of {options.creds}"
    if options.nkey_seed_path is not None:
        return f"the nkey of {options.nkey_seed_path}"
    if options.nkey_seed:
        return "the given nkey"
    if options.user:
        return f"user {options.user} and its password"
    return "the given token" if options.token else "a client without credentials"


def _draw(bounds: tuple[float, float]) -> float:
    low, high = bounds
    return low + (high - low) * secrets.randbelow(1000) / 1000
