"""Takes HTTP requests from the bus and has replicas of this host answer them.

The other end of `hosts.http.forwarding`. A request is decoded, given to a ready replica as an
`Exchange`, and always answered: whole in one reply when the answer is short, else in frames. It
takes requests to a deployment as long as a replica of it is open here, and those that name this
host always.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import anyio
from anyio.abc import TaskStatus

from hosts.callcontext import DEADLINE_MS_MAX, CallContext
from hosts.http.base import Exchange, Headers, HttpError, trace_of
from hosts.http.lane import Lane, LostError
from hosts.http.lanes import Lanes
from hosts.http.remote import RemoteExchange, ReplyTo
from hosts.openings import Openings
from lattice.bus.base import Bus, Packet
from lattice.clock import Clock
from lattice.errors import (
    ConflictError,
    InvalidError,
    LatticeError,
    NoRouteError,
    OutcomeUnknownError,
)
from lattice.routing.weights import Routes
from lattice.telemetry import call_span, is_tracing
from lattice.wire.codec import decode_as
from lattice.wire.http import HttpRequest
from lattice.wire.messages import HOPS_MAX, Leg
from lattice.wire.subjects import HTTP_QUEUE, Names

REQUESTS_MAX = 1024
"""Requests from the bus that one deployment works on at once on this host; replicas have their own
limits, this one bounds what lies in memory before one is chosen."""

log = logging.getLogger(__name__)


class Site(Protocol):
    """A ready replica that answers requests over HTTP."""

    @property
    def generation(self) -> int:
        """Return the generation that it runs."""
        ...

    async def answer(self, exchange: Exchange, context: CallContext) -> None:
        """Answer a request; see `hosts.replica.Replica.answer`."""
        ...


class Sites(Protocol):
    """The ready replicas of this host."""

    def pick(self, deployment: str, generation: int = 0) -> Site | None:
        """Return the replica that should take the next request, None when none is ready here."""
        ...


class Told(Protocol):
    """What became of a request that another host answered."""

    legs: list[Leg]


HandOver = Callable[[str, int, Exchange, CallContext], Awaitable[Told | None]]
"""Has a host of a deployment's generation answer a request; None when none began with it."""


class ForwardedRequests:
    """The requests that come to this host from others. Replicas open and close their deployment."""

    def __init__(
        self,
        *,
        host: str,
        bus: Bus,
        names: Names,
        clock: Clock,
        sites: Sites,
        lanes: Lanes,
        hand_over: HandOver,
        routes: Routes | None = None,
    ) -> None:
        self._host = host
        self._bus = bus
        self._names = names
        self._clock = clock
        self._sites = sites
        self._lanes = lanes
        self._hand_over = hand_over
        self._routes = routes if routes is not None else Routes()
        self._openings = Openings(
            bus, names.http, self._answer, queue=HTTP_QUEUE, concurrency=REQUESTS_MAX
        )

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the subscriptions until cancelled; "started" when requests by host name arrive."""
        async with self._bus.serve(
            self._names.every_http_at(self._host), self._answer, concurrency=REQUESTS_MAX
        ):
            await self._openings.run(task_status=task_status)

    async def open(self, deployment: str) -> None:
        """Return when requests to a deployment arrive; each replica opens once and closes once.

        Raises:
            LatticeError: the bus refused the subscription; nothing is left to close.
        """
        await self._openings.open(deployment)

    async def close(self, deployment: str) -> None:
        """Give up what `open` gave; after the last one no new requests are taken, and the running
        ones have been answered.
        """
        await self._openings.close(deployment)

    async def _answer(self, packet: Packet) -> bytes | None:
        target = self._names.parse_http(packet.subject)
        request = decode_as(HttpRequest, packet.body)
        generation = target.generation
        if self._routes.shares and not generation:
            generation = self._routes.choose(target.deployment)
        site = self._sites.pick(target.deployment, generation)
        if site is None and generation != target.generation:
            site = self._elsewhere(target.deployment, generation)
        if site is None:
            raise NoRouteError(f"no replica of {target.deployment} is ready on this host now")
        if request.body is None and not request.lane:
            raise InvalidError("a body in frames needs a lane for what is said about it")
        reply_to = ReplyTo(self._bus, packet.reply_to, self._host, site.generation)
        try:
            with self._lanes.lane(
                request.lane, request.window, receives=request.body is None
            ) as lane:
                lane.what = f"{request.method} to {target.deployment}"
                return await self._run(site, RemoteExchange(request, lane, reply_to), lane, request)
        except LostError as lost:
            log.debug("%s", lost)
        return None

    def _elsewhere(self, deployment: str, generation: int) -> Site | None:
        """Return what has a host of a generation answer whose turn it is, None: none is known."""
        other = self._sites.pick(deployment)
        if other is None and not self._routes.hosts_of(deployment, generation, besides=self._host):
            return None
        return _Elsewhere(deployment, generation, self._hand_over, other)

    async def _run(
        self, site: Site, exchange: RemoteExchange, lane: Lane, request: HttpRequest
    ) -> bytes | None:
        """Return the reply, None when what is to be said has been."""
        deadline_ms = min(max(request.deadline_ms, 0), DEADLINE_MS_MAX)
        context = CallContext(
            deadline_at_s=self._clock.monotonic_s() + deadline_ms / 1000,
            hops=max(request.hops, 0),
            chain=tuple(request.chain),
            caller=request.caller,
            trace=request.trace,
            legs=exchange.legs,
        )
        try:
            require_hop(context)
            await self._serve(site, exchange, context)
            return await exchange.end()
        except LatticeError as error:
            return await exchange.fail(error)
        except HttpError as broken:
            if not exchange.is_replied:
                return await exchange.fail(OutcomeUnknownError(str(broken)))
            log.debug("%s", broken)
            await lane.give_up()
        except BaseException:
            if exchange.is_replied:  # otherwise the bus replies with what this is
                await lane.give_up()
            raise
        return None

    async def _serve(self, site: Site, exchange: RemoteExchange, context: CallContext) -> None:
        """Have the replica answer, under a span of this host's where spans go anywhere."""
        if not is_tracing():
            await site.answer(exchange, context)
            return
        head = exchange.head
        attributes = {"http.request.method": head.method, "url.path": head.path}
        parent = context.trace or trace_of(head.headers)
        with call_span(
            f"http {head.method}", parent=parent, is_server=True, attributes=attributes
        ) as span:
            context.trace = span.traceparent
            exchange.head = replace(head, headers=_traced(head.headers, span.traceparent))
            await site.answer(exchange, context)


class _Elsewhere:
    """A `Site` of other hosts; `other` answers when none of them begins."""

    def __init__(
        self, deployment: str, generation: int, hand_over: HandOver, other: Site | None
    ) -> None:
        self.generation = generation
        self._deployment = deployment
        self._hand_over = hand_over
        self._other = other

    async def answer(self, exchange: Exchange, context: CallContext) -> None:
        """See `Site.answer`."""
        told = await self._hand_over(self._deployment, self.generation, exchange, context)
        if told is not None:
            context.legs.extend(told.legs)
        elif self._other is not None:
            self.generation = self._other.generation
            await self._other.answer(exchange, context)
        else:
            raise NoRouteError(f"no replica of {self._deployment} is ready on this host now")


def _traced(headers: Headers, traceparent: str) -> Headers:
    """Return the headers with another `traceparent`."""
    others = [each for each in headers if each[0] != b"traceparent"]
    return [*others, (b"traceparent", traceparent.encode("latin-1"))]


def require_hop(context: CallContext) -> None:
    """Return when a request is not too many hops from where it began.

    Raises:
        ConflictError: it is; the chain is told.
    """
    if context.hops > HOPS_MAX:
        raise ConflictError(
            f"request is hop {context.hops}, at most {HOPS_MAX}: {' -> '.join(context.chain)}",
            chain=list(context.chain),
        )
