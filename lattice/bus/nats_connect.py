"""One connection to NATS out of `ConnectOptions`, and a clear error when there is none.

Reading configuration is not done here, nor is anything of the lattice opened.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from nats import errors

from lattice.bus.connect_failures import CertificateWantedError, NoTlsError, connect_failure
from lattice.bus.credentials import read_credentials, tls_context
from lattice.bus.link import CLOSE_S, PENDING_BYTES_MAX, PING_INTERVAL_S, PINGS_MAX
from lattice.bus.nats_client import NatsClient
from lattice.bus.nats_link import NatsLink
from lattice.bus.options import ConnectOptions

RECONNECT_WAIT_S = (0.05, 0.35)
"""Range of the wait between attempts to one server. Each process draws its own, so that a
restarted server is not met by all of them at once."""

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
        is_wanted = options.tls_cert is None and client.wants_certificate
        raise connect_failure(options, _failures(attempts, is_certificate_wanted=is_wanted))


async def _close(client: NatsClient, limit_s: float) -> None:
    """Close within a time limit; what nats-py complains of while closing changes nothing."""
    with anyio.move_on_after(limit_s), suppress(errors.Error, OSError):
        if client.is_connected:
            await client.flush()
    with anyio.move_on_after(limit_s), suppress(errors.Error, OSError):
        await client.close()


def _failures(attempts: list[Exception], *, is_certificate_wanted: bool) -> list[Exception]:
    """Return what the attempts raised, with nats-py's own words about TLS as ours."""
    found: list[Exception] = []
    for error in attempts:
        if isinstance(error, errors.SecureConnWantedError):
            found.append(NoTlsError())
        elif is_certificate_wanted and isinstance(error, ConnectionError | errors.UnexpectedEOF):
            found.append(CertificateWantedError())
        else:
            found.append(error)
    return found


def _identity(options: ConnectOptions) -> dict[str, Any]:
    """Return nats-py's arguments for the identity, its files checked before it reads them."""
    identity = read_credentials(options)
    if options.creds is not None:
        return {"user_credentials": str(options.creds)}
    if identity.seed:
        return {"nkeys_seed_str": identity.seed.decode("ascii")}
    if identity.user:
        return {"user": identity.user, "password": identity.password}
    return {"token": identity.token} if identity.token else {}


def _tls(options: ConnectOptions) -> dict[str, Any]:
    """Return nats-py's argument for TLS, empty unless TLS is asked for."""
    context = tls_context(options)
    return {} if context is None else {"tls": context}


def _draw(bounds: tuple[float, float]) -> float:
    low, high = bounds
    return low + (high - low) * secrets.randbelow(1000) / 1000
