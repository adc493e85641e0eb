"""Picks who answers a request: by host and path a deployment, and of it a replica of this host.

Without one here the request goes to another host (`forward`). It decides nothing about replicas:
who is ready, and what a request may cost there, is theirs to say.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from dataclasses import replace

from hosts.callcontext import CallContext
from hosts.callees import ReadyReplicas
from hosts.http.base import Exchange, Handler, Via, trace_of, via
from hosts.http.failures import plain
from hosts.http.table import RouteTable
from lattice.clock import Clock
from lattice.errors import NoRouteError, UnavailableError
from lattice.routing.targets import parse_target
from lattice.routing.weights import Routes

Forward = Callable[[str], Handler]
"""Makes what answers requests for a deployment with a replica of another host."""

HandOver = Callable[[str, int, Exchange], Awaitable[object | None]]
"""Has a host of a deployment's generation answer a request; None when none began with it."""

FOUND_MAX = 1024
"""Authorities and paths whose deployment is remembered: looking it up takes 10 µs, most of what a
small guest needs for its answer, and requests repeat."""

ROUTES_SHOWN_MAX = 200
"""Routes that the page for developers lists."""


class Router:
    """A `hosts.http.base.Handler`: has a replica of the deployment answer that a route names."""

    def __init__(
        self,
        table: RouteTable,
        ready: ReadyReplicas,
        clock: Clock,
        *,
        forward: Forward | None = None,
        hand_over: HandOver | None = None,
        routes: Routes | None = None,
        is_dev: bool = False,
    ) -> None:
        """Begin; `routes` says how calls are divided among generations, and `hand_over` has a host
        of one of them answer."""
        self._table = table
        self._ready = ready
        self._clock = clock
        self._forward = forward
        self._hand_over = hand_over
        self._divided = routes if routes is not None else Routes()
        self._is_dev = is_dev
        self._routes = table.routes
        self._found: dict[tuple[str, str], Via] = {}  # of these routes, by authority and path

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a request.

        Raises:
            InvalidError: host or path are malformed, or mean two things.
            NoRouteError: no replica can answer now.
            UnavailableError: the routes are not known yet.
            LatticeError: as `hosts.replica.Replica.answer`.
            HttpError: as `Handler`.
        """
        found = self._find(exchange)
        if found is None:
            self._refuse(exchange)
            return
        generation = self._divided.choose(found.deployment) if self._divided.shares else 0
        replica = self._ready.pick(found.deployment, generation)
        if replica is None and generation and self._hand_over is not None:
            via.set(replace(found, leg="remote"))
            if await self._hand_over(found.deployment, generation, exchange) is not None:
                return
            replica = self._ready.pick(found.deployment)
        if replica is not None and replica.answers_http:
            via.set(found)
            await replica.answer(exchange, self._context(exchange, replica.answer_s))
            return
        via.set(replace(found, leg="remote"))
        if self._forward is None:
            raise NoRouteError(f"no replica of {found.deployment} is ready on this host now")
        await self._forward(found.deployment)(exchange)

    def _find(self, exchange: Exchange) -> Via | None:
        """Return who answers, as if a replica of this host did."""
        head, routes = exchange.head, self._table.routes
        if routes is not self._routes:
            self._routes = routes
            self._found.clear()
        asked = head.authority, head.path
        found = self._found.get(asked)
        if found is None:
            # `OPTIONS *` asks about the server: whoever answers for all paths of the host.
            target = parse_target(head.authority, "/" if head.path == "*" else head.path)
            match = routes.find(target)
            if match is None:
                return None
            if len(self._found) >= FOUND_MAX:
                self._found.clear()
            route = "" if match.route is None else str(match.route)
            found = self._found[asked] = Via(match.deployment, route, "local")
        return found

    def _context(self, exchange: Exchange, limit_s: float) -> CallContext:
        return CallContext(
            deadline_at_s=self._clock.monotonic_s() + limit_s,
            trace=trace_of(exchange.head.headers),
        )

    def _refuse(self, exchange: Exchange) -> None:
        """Answer a request that no route leads anywhere."""
        if not self._table.is_known:
            raise UnavailableError("the routes of this lattice are not known here yet")
        if not self._is_dev:
            exchange.answer(404, *plain(404))
            return
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
        exchange.answer(404, headers, self._page(exchange).encode())

    def _page(self, exchange: Exchange) -> str:
        """Return a page that says which routes there are."""
        head, routes = exchange.head, self._table.routes.routes
        port = head.authority.rpartition(":")[2]
        suffix = f":{port}" if port.isdigit() else ""
        asked = html.escape(f"{head.authority}{head.path}")
        rows = [
            f"<tr><td><code>{html.escape(str(each))}</code></td><td>"
            f'<a href="{head.scheme}://{each.deployment}.localhost{suffix}/">{each.deployment}</a>'
            "</td></tr>"
            for each in routes[:ROUTES_SHOWN_MAX]
        ]
        left = len(routes) - len(rows)
        more = f"<p>and {left} more</p>" if left > 0 else ""
        listed = (
            f"<table><tr><th>route</th><th>deployment</th></tr>{''.join(rows)}</table>{more}"
            if rows
            else "<p>No deployment has a route: give one <code>http: [{path: /}]</code> in its "
            "manifest.</p>"
        )
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>404 Not Found</title>'
            "<style>body{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:44rem}"
            "td,th{text-align:left;padding:.2rem 2rem .2rem 0}</style>"
            f"<h1>No route</h1><p>No deployment answers <code>{asked}</code>.</p>{listed}</html>\n"
        )
