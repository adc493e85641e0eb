"""The HTTP/1.1 server: listens, counts, watches the deadlines of its connections, and drains.

It answers through one `Handler` and knows neither guests nor routes. Connections that come over a
cap are told so; nothing is queued.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskStatus

from hosts.http.accesslog import Served
from hosts.http.base import Handler
from hosts.http.limits import DEFAULT_LIMITS, Limits
from hosts.http.protocol import Connection
from hosts.http.service import Service
from hosts.http.tls import Certificate
from hosts.sharing import BACKLOG
from lattice.clock import Clock, SystemClock
from lattice.telemetry import is_tracing

CHECK_PERIOD_S = 1.0
"""How often deadlines are looked at, or four times within the shortest: none is met to the
millisecond, and ten thousand connections cost a millisecond each time."""

log = logging.getLogger(__name__)


class HttpServer:
    """Serves one handler on any number of sockets. Use it once."""

    def __init__(
        self,
        handler: Handler,
        *,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock | None = None,
        is_dev: bool = False,
        on_served: Callable[[Served], None] | None = None,
    ) -> None:
        self._tasks: anyio.abc.TaskGroup | None = None
        self._emptied = anyio.Event()
        self._listeners: list[asyncio.Server] = []
        self._service = Service(
            handler=handler,
            limits=limits,
            clock=clock or SystemClock(),
            start=self._start,
            is_dev=is_dev,
            is_traced=is_tracing(),
            on_served=on_served,
            on_empty=self._on_empty,
        )

    @property
    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._service.connections)

    @property
    def in_flight(self) -> int:
        """Return how many requests are at work."""
        return self._service.in_flight

    async def serve(
        self,
        plain: Sequence[socket.socket],
        encrypted: Sequence[socket.socket] = (),
        *,
        certificate: Certificate | None = None,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on bound sockets, which are its own from now on, until `drain` has finished.

        `encrypted` ones need a certificate, whose files are watched from now on. Cancelled, it
        closes all connections at once and cancels their handlers.
        """
        assert certificate is not None or not encrypted, "nothing is encrypted without one"
        loop = asyncio.get_running_loop()
        limits = self._service.limits
        try:
            async with anyio.create_task_group() as self._tasks:
                for listening in plain:
                    self._listeners.append(
                        await loop.create_server(
                            lambda: Connection(self._service, scheme="http"),
                            sock=listening,
                            backlog=BACKLOG,
                        )
                    )
                for listening in encrypted:
                    self._listeners.append(
                        await loop.create_server(
                            lambda: Connection(self._service, scheme="https"),
                            sock=listening,
                            backlog=BACKLOG,
                            ssl=certificate.context if certificate else None,
                            ssl_handshake_timeout=limits.tls_handshake_timeout_s,
                        )
                    )
                self._tasks.start_soon(self._watch)
                if certificate is not None:
                    self._tasks.start_soon(certificate.watch)
                task_status.started()
        finally:
            self._stop_listening()
            for connection in tuple(self._service.connections):
                connection.abort()

    async def adopt(
        self,
        connection: socket.socket,
        prefix: bytes = b"",
        *,
        certificate: Certificate | None = None,
    ) -> None:
        """Serve a connection that somebody else accepted and read `prefix` of.

        It is the server's from now on, and is closed at once when the server drains. With a
        certificate, of which nothing was read, it is encrypted; returns after the handshake.

        Raises:
            OSError: the client left, or its side of TLS is none.
        """
        assert certificate is None or not prefix, "who reads of TLS cannot give it back"
        if self._service.is_draining or self._tasks is None:
            connection.close()
            return

        def begun() -> Connection:
            made = Connection(self._service, scheme="https" if certificate else "http")
            made.buffer += prefix
            return made

        connection.setblocking(False)
        limits = self._service.limits
        await asyncio.get_running_loop().connect_accepted_socket(
            begun,
            connection,
            ssl=certificate.context if certificate else None,
            ssl_handshake_timeout=limits.tls_handshake_timeout_s if certificate else None,
        )

    async def drain(self, grace_s: float) -> None:
        """Take no more connections, let requests finish within `grace_s`, and abort the rest.

        Answers from now on say `connection: close`; connections without a request close at once.
        """
        self._service.is_draining = True
        self._stop_listening()
        for connection in tuple(self._service.connections):
            connection.drain()
        if self._service.connections:
            with anyio.move_on_after(grace_s):
                await self._emptied.wait()
        remaining = tuple(self._service.connections)
        if remaining:
            log.warning("%d connections were cut off after %g s of grace", len(remaining), grace_s)
        for connection in remaining:
            connection.abort()
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    def _start(self, connection: Connection) -> None:
        assert self._tasks is not None, "connections come while the server runs"
        self._tasks.start_soon(connection.run)

    def _on_empty(self) -> None:
        if self._service.is_draining:
            self._emptied.set()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def _watch(self) -> None:
        """Look at the deadlines of all connections, again and again."""
        period_s = min(CHECK_PERIOD_S, self._service.limits.shortest_s / 4)
        while True:
            await anyio.sleep(period_s)
            now_s = self._service.clock.monotonic_s()
            for connection in tuple(self._service.connections):
                connection.check(now_s)
