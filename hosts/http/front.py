"""The HTTP side of a host: its sockets, the table of routes, the router and the server.

It lives beside the replicas: it is there before the first and gone before the last, so that a host
that stops answers what it has taken.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio
from anyio.abc import TaskStatus

from hosts.callees import ReadyReplicas
from hosts.http.accesslog import Served
from hosts.http.base import Handler
from hosts.http.internal import InternalOptions
from hosts.http.router import Forward, HandOver, Router
from hosts.http.server import HttpServer
from hosts.http.table import RouteTable
from hosts.http.tls import Certificate
from lattice.bus.base import Store
from lattice.clock import Clock
from lattice.routing.weights import Routes

HTTP_DRAIN_S = 3.0
"""Seconds that a stopping host gives the requests that it has taken, before its replicas stop: the
longest in all that `lattice up` waits for a host is 5.5 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """Where a host takes requests: bound sockets, which are the host's from now on."""

    plain: Sequence[socket.socket] = ()
    encrypted: Sequence[socket.socket] = ()
    certificate: Certificate | None = None
    is_dev: bool = False  # test addresses, and pages for developers
    internal: InternalOptions = field(default_factory=InternalOptions)
    # internal: how requests between deployments travel
    around: Callable[[Handler], Handler] = lambda router: router  # stands before the router
    on_served: Callable[[Served], None] | None = None  # told of each request

    @property
    def urls(self) -> tuple[str, ...]:
        """Return what clients are told of the sockets."""
        return tuple(
            url_of(each.getsockname()[:2], scheme)
            for scheme, sockets in (("http", self.plain), ("https", self.encrypted))
            for each in sockets
        )


NO_HTTP = HttpOptions()
"""No requests are taken."""


def url_of(address: tuple[str, int], scheme: str) -> str:
    """Return the URL by which clients find an address; that of all addresses is the machine's."""
    host, port = address
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class Front:
    """Takes requests while `run` runs; `drain` ends it."""

    def __init__(
        self,
        options: HttpOptions,
        control: Store,
        ready: ReadyReplicas,
        clock: Clock,
        *,
        forward: Forward | None = None,
        hand_over: HandOver | None = None,
        routes: Routes | None = None,
    ) -> None:
        self._options = options
        self._table = RouteTable(control, has_test_addresses=options.is_dev)
        router = Router(
            self._table, ready, clock,
            forward=forward, hand_over=hand_over, routes=routes, is_dev=options.is_dev,
        )  # fmt: skip
        self._server = HttpServer(
            options.around(router),
            clock=clock,
            is_dev=options.is_dev,
            on_served=options.on_served,
        )
        self._drained = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take requests until drained; "started" when they can come. Done without sockets."""
        if not self._options.urls:
            task_status.started()
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._table.watch)
            options = self._options
            serve = partial(
                self._server.serve,
                options.plain,
                options.encrypted,
                certificate=options.certificate,
            )
            await group.start(serve)
            task_status.started()
            await self._drained.wait()
            group.cancel_scope.cancel()

    async def drain(self, grace_s: float = HTTP_DRAIN_S) -> None:
        """Take no more requests; return when those at work are done, after `grace_s` at most."""
        await self._server.drain(grace_s)
        self._drained.set()
