"""A muxed connection out of `ConnectOptions`: its first socket, and every one after a loss.

It chooses the server, greets it and hands the socket to the link. What is sent over it is no
matter of this module.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio

from lattice.bus.connect_failures import CertificateWantedError, NoTlsError, connect_failure
from lattice.bus.credentials import Credentials, read_credentials, tls_context
from lattice.bus.link import CLOSE_S
from lattice.bus.muxed_link import MuxedLink
from lattice.bus.muxed_pool import Server, ServerPool, read_server
from lattice.bus.muxed_protocol import MuxedProtocol, ServerRefusedError
from lattice.bus.muxed_wire import ServerInfo, connect_line
from lattice.bus.options import ConnectOptions
from lattice.errors import LatticeError, UnavailableError

CLIENT_VERSION = "1"
"""What the server's monitoring shows of this client's protocol."""

ABANDON_S = 0.5
"""Seconds until a socket that was broken off is gone: the loop needs a turn or two."""

LAME_DUCK_S = 2.0
"""Seconds within which clients leave a server that asks them to, each at a moment of its own."""

REACH_S = 2.0
"""Seconds for one server to be reached: others may be there while one swallows everything."""

GREETING_S = 5.0
"""Seconds for a server, once reached, to take the identity; a fleet may be asking it to."""


_FAILURES = (
    OSError,
    ValueError,
    ServerRefusedError,
    NoTlsError,
    CertificateWantedError,
    LatticeError,
)
"""What an attempt raises; a TimeoutError and an error of TLS are an OSError, and a ValueError comes
from a name that no host can have, which a server may tell of."""


@asynccontextmanager
async def connect_muxed(options: ConnectOptions) -> AsyncIterator[MuxedLink]:
    """Yield a connection while the context lasts; it reconnects for ever.

    Raises:
        UnavailableError: no server can be reached, or TLS with it fails.
        DeniedError: the servers refuse the identity, or want one.
        InvalidError: a file with credentials or keys cannot be used.
    """
    dialer = _Dialer(options)
    link = MuxedLink(inbox_prefix=options.inbox_prefix)
    failure: Exception | None = None
    try:
        await dialer.connect_first(link)
        await link.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dialer.keep, link)
            try:
                yield link
            except Exception as error:  # noqa: BLE001 - raised again below, outside the task
                failure = error  # group, which would wrap the caller's own error into a group
            finally:
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _close(link)
    if failure is not None:
        raise failure


class _Dialer:
    """Connects one link to one server after the other."""

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        self._credentials: Credentials = read_credentials(options)
        self._tls = tls_context(options)
        self._random = secrets.SystemRandom()
        servers = [read_server(url) for url in options.servers]
        self._random.shuffle(servers)
        self._pool = ServerPool(servers)

    async def connect_first(self, link: MuxedLink) -> None:
        """Try each server once. `Raises:` as `connect_muxed`."""
        failures: list[Exception] = []
        end_s = anyio.current_time() + self._options.connect_timeout_s
        for left in range(len(self._pool), 0, -1):
            try:  # none of them may use up the time of the others
                with anyio.fail_after((end_s - anyio.current_time()) / left):
                    await self._connect(link, self._pool.next())
            except _FAILURES as error:
                failures.append(error)
            else:
                return
        raise connect_failure(self._options, failures)

    async def keep(self, link: MuxedLink) -> None:
        """Connect again after every loss, and leave a server that is about to end."""
        while True:
            if link.connection is None:
                await self._connect_again(link)
            elif link.info.is_lame_duck and len(self._pool) > 1:
                await self._leave(link)
            else:
                await link.changed()
                self._pool.learn(self._server, link.info.peers)

    async def _connect_again(self, link: MuxedLink) -> None:
        while link.connection is None:
            await anyio.sleep(self._pool.wait_s(self._random.random()))
            try:
                if self._options.creds is not None:  # their owner renews them before they expire
                    self._credentials = read_credentials(self._options)
                with anyio.fail_after(REACH_S + GREETING_S):
                    await self._connect(link, self._pool.next())
            except _FAILURES as error:
                link.complain(str(error) or type(error).__name__)

    async def _leave(self, link: MuxedLink) -> None:
        connection = link.connection
        assert connection is not None, "it is a connection that is left"
        with anyio.move_on_after(LAME_DUCK_S * self._random.random()):
            await connection.lost.wait()
        if connection.is_lost:
            return
        with anyio.move_on_after(CLOSE_S):
            await connection.close()
        connection.abort(ConnectionError("the server is about to end"))
        await connection.lost.wait()

    async def _connect(self, link: MuxedLink, server: Server) -> None:
        """Let a link use a socket to a server that has taken its identity and interests.

        Raises:
            OSError: it cannot be reached, or TLS fails; a TimeoutError is one, too.
            NoTlsError: it offers no TLS.
            CertificateWantedError: it hung up on a client without a certificate.
            ServerRefusedError: it refuses the identity, or is too old.
            LatticeError: it is no NATS server.
        """
        link.session.begin()
        connection = MuxedProtocol(link.session, link)
        info: ServerInfo | None = None
        try:
            with anyio.fail_after(REACH_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, server.host, server.port
                )
            info = await self._greet(connection, server)
            told = frozenset(link.session.interests)
            connection.write(connect_line(self._fields(server, info)))
            connection.write(link.session.lines())
            await connection.ping()
        except UnavailableError:  # lost while the ping was out
            raise self._loss(connection, info) from None
        except BaseException:
            with anyio.CancelScope(shield=True):
                await _abandon(connection)
            raise
        if connection.is_lost:  # after its pong
            raise self._loss(connection, info)
        self._server = server
        self._pool.connected(server, info.peers)
        link.use(connection, info, told)

    def _loss(self, connection: MuxedProtocol, info: ServerInfo | None) -> Exception:
        """Return why a server hung up before it took the identity."""
        error = connection.failure()
        if info is not None and info.wants_certificate and self._options.tls_cert is None:
            return CertificateWantedError() if isinstance(error, ConnectionError) else error
        return error

    async def _greet(self, connection: MuxedProtocol, server: Server) -> ServerInfo:
        """Return what the server says of itself, with TLS between if either side wants it."""
        info = await connection.info
        if not info.has_headers:
            raise ServerRefusedError("the server is too old: it knows no headers")
        if not info.offers_tls and self._tls is not None:
            raise NoTlsError
        if info.needs_tls or self._tls is not None:
            transport = await asyncio.get_running_loop().start_tls(
                connection.transport,
                connection,
                self._tls or ssl.create_default_context(),
                server_hostname=server.tls_name,
            )
            if transport is None:
                raise ConnectionError("the connection was lost during the TLS handshake")
            connection.use_transport(transport)
        return info

    def _fields(self, server: Server, info: ServerInfo) -> dict[str, object]:
        """Return what CONNECT says (NATS client protocol)."""
        return {
            "verbose": False,
            "pedantic": False,
            "lang": "python-lattice",
            "version": CLIENT_VERSION,
            "protocol": 1,
            "echo": True,
            "headers": True,
            "no_responders": True,
            "tls_required": self._tls is not None,
            "name": self._options.name,
            **(self._credentials.fields(info.nonce) or server.fields()),
        }


async def _abandon(connection: MuxedProtocol) -> None:
    """Break a socket off that will not be used; there may be none yet."""
    connection.abort(ConnectionError("abandoned"))
    if connection.is_made:
        with anyio.move_on_after(ABANDON_S):
            await connection.lost.wait()


async def _close(link: MuxedLink) -> None:
    """Close within a time limit, when the server has what was sent."""
    connection = link.connection
    if connection is not None:
        with anyio.move_on_after(CLOSE_S):
            with suppress(UnavailableError):
                await connection.ping()
    link.close()
    if connection is not None:
        with anyio.move_on_after(CLOSE_S):
            await connection.close()
        await _abandon(connection)
