"""Carries requests of guests to other deployments, which they name in `.lattice.internal`.

In memory when a replica is ready on this host and both sides allow it, else over the bus, else by
the gateway that the host names; which of them it was is reported to the call at work. Who may ask
whom is decided by `hosts.http.internaloutlet`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from msgspec.structs import replace as changed

from hosts.callcontext import CallContext
from hosts.engine.fetches import Outlet, OutletCall
from hosts.engine.webvalues import Body, EgressError, OutgoingHead
from hosts.http.base import HttpError
from hosts.http.destination import origin_of
from hosts.http.failures import answer_to
from hosts.http.flow import CHUNK_BYTES
from hosts.http.forwarded import Site
from hosts.http.innercall import InnerCall, InnerExchange
from lattice.clock import Clock
from lattice.errors import InvalidError, LatticeError, NoRouteError, UnavailableError
from lattice.routing.targets import InternalName, parse_segments
from lattice.routing.weights import Routes
from lattice.telemetry import call_span
from lattice.wire.messages import Leg

if TYPE_CHECKING:
    from hosts.http.relay import Relay

FORWARDED_HOST = b"x-forwarded-host"
"""The header by which a gateway learns which deployment is meant."""

log = logging.getLogger(__name__)


class Neighbour(Site, Protocol):
    """A ready replica of this host, as requests in memory see it."""

    @property
    def answers_http(self) -> bool:
        """Tell whether a part of the workload answers requests over HTTP."""
        ...

    @property
    def http_in_memory(self) -> bool:
        """Tell whether its manifest lets requests come and go in memory."""
        ...


class Neighbours(Protocol):
    """The ready replicas of this host."""

    def pick(self, deployment: str, generation: int = 0) -> Neighbour | None:
        """Return the replica that should take the next request, None when none is ready here."""
        ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where requests go whose deployment no host of the lattice answers for."""

    scheme: str
    authority: str
    path: str  # before that of a request; no slash at its end

    @staticmethod
    def parse(url: str) -> Gateway:
        """Return the gateway of a URL.

        Raises:
            InvalidError: it is no URL of a gateway.
        """
        parts = urlsplit(url)
        try:
            origin_of(parts.scheme, parts.netloc)
        except EgressError as error:
            raise InvalidError(f"gateway {url!r} is none: {error.message}") from None
        if parts.query or parts.fragment:
            raise InvalidError(f"gateway {url!r} has more than scheme, host, port and path")
        return Gateway(parts.scheme, parts.netloc, parts.path.removesuffix("/"))

    @property
    def origin(self) -> str:
        """Return it without its path, as a grant names it."""
        return f"{self.scheme}://{self.authority}"

    def head(self, head: OutgoingHead) -> OutgoingHead:
        """Return the head of a request as it goes to the gateway.

        Raises:
            EgressError: what reads its path could be led out of that of the gateway.
        """
        if self.path and head.target != "*":
            try:
                parse_segments(head.target)
            except InvalidError as error:
                raise EgressError("HTTP-request-URI-invalid", error.message) from None
        kept = [each for each in head.headers if each[0].lower() != FORWARDED_HOST]
        return replace(
            head,
            scheme=self.scheme,
            authority=self.authority,
            target=head.target if head.target == "*" else self.path + head.target,
            headers=(*kept, (FORWARDED_HOST, head.authority.encode("latin-1"))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalOptions:
    """How a host carries requests between deployments."""

    in_memory: bool = True  # between replicas that share the host
    gateway: Gateway | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of a guest, and what it may use."""

    name: InternalName
    head: OutgoingHead
    body: Body
    context: CallContext  # of the call at work that asks
    traceparent: str
    in_memory: bool  # as far as its own manifest says
    gateway: Outlet | None  # what leads to the gateway, if the host names one


class Internal:
    """The requests between deployments that begin on one host."""

    def __init__(
        self,
        *,
        host: str,
        lattice: str,
        clock: Clock,
        neighbours: Neighbours,
        relay: Relay,
        options: InternalOptions,
        routes: Routes | None = None,
    ) -> None:
        self._routes = routes if routes is not None else Routes()
        self.lattice = lattice
        self.clock = clock
        self.options = options
        self._host = host
        self._neighbours = neighbours
        self._relay = relay

    def start(self, call: InnerCall, asked: Asked) -> None:
        """Begin to carry out a request.

        Raises:
            EgressError: this host stops.
        """
        if not self._relay.start(self._serve, call, asked):
            raise EgressError("connection-terminated", "this host stops")

    async def _serve(self, call: InnerCall, asked: Asked) -> None:
        """Carry out one request; the top of its task."""
        try:
            with call.scope:
                await self._carry(call, asked)
        except EgressError as error:
            call.fail(error)
        except HttpError as error:
            call.fail(EgressError("connection-terminated", str(error)))
        except LatticeError as error:
            _tell(call, error)
        except Exception:
            log.exception("request to %s failed for a reason of the host's own", asked.name)
            call.fail(EgressError("internal-error", "the host's log says more"))
        finally:
            call.fail(EgressError("connection-terminated", "the request was ended"))

    async def _carry(self, call: InnerCall, asked: Asked) -> None:
        began_s = self.clock.monotonic_s()
        deployment = asked.name.deployment
        op = f"http {asked.head.method} {asked.head.target.partition('?')[0]}"
        leg = Leg(deployment=deployment, op=op, route="remote", host="", took_us=0)
        inner = replace(asked.context, hops=asked.context.hops + 1, key=None, legs=[])
        with call_span(
            op, parent=asked.traceparent, attributes={"lattice.deployment": deployment}
        ) as span:
            inner.trace = span.traceparent
            exchange = InnerExchange(
                call, asked.head, asked.body, peer=inner.caller, traceparent=span.traceparent
            )
            try:
                site, generation = self._in_memory(asked)
                if site is None and generation:
                    told = await self._relay.hand_over(deployment, generation, exchange, inner)
                    if told is not None:
                        leg = changed(leg, host=told.host)
                        inner.legs = told.legs
                        return
                if site is not None:
                    leg = changed(leg, route="local", host=self._host)
                    await site.answer(exchange, inner)
                    return
                try:
                    self._require_own(asked.name)
                    told = await self._relay.send(deployment, exchange, inner)
                    leg = changed(leg, host=told.host)
                    inner.legs = told.legs
                except NoRouteError:
                    body = exchange.again()
                    if asked.gateway is None or body is None or call.answer is not None:
                        raise
                    leg = changed(leg, route="gateway")
                    head = self._gateway.head(asked.head)
                    beyond = asked.gateway.begin(head, body, traceparent=span.traceparent)
                    await _pass_on(beyond, exchange)
            finally:
                span.mark("lattice.route", leg.route)
                took_us = round((self.clock.monotonic_s() - began_s) * 1e6)
                asked.context.report(changed(leg, took_us=took_us), inner.legs)

    def _in_memory(self, asked: Asked) -> tuple[Neighbour | None, int]:
        """Return the replica of this host that answers, None when the request has to travel; and
        the generation whose turn it is, 0: any.
        """
        if not (self.options.in_memory and asked.in_memory and asked.name.lattice == self.lattice):
            return None, 0
        deployment = asked.name.deployment
        generation = self._routes.choose(deployment) if self._routes.shares else 0
        site = self._neighbours.pick(deployment, generation)
        if site is None or not site.answers_http or not site.http_in_memory:
            return None, generation
        return site, generation

    def _require_own(self, name: InternalName) -> None:
        if name.lattice != self.lattice:
            raise NoRouteError(f"lattice {name.lattice} is not this one, {self.lattice}")

    @property
    def _gateway(self) -> Gateway:
        assert self.options.gateway is not None, "asked only when there is one"
        return self.options.gateway


async def _pass_on(call: OutletCall, exchange: InnerExchange) -> None:
    """Give the guest the answer of the gateway."""
    try:
        answer = await call.answered()
        await exchange.begin(answer.status, answer.headers)
        while data := await call.read(CHUNK_BYTES):
            await exchange.write(data)
        await exchange.finish(call.trailers)
    finally:
        call.cancel()


def _tell(call: InnerCall, error: LatticeError) -> None:
    """Give the guest what a client from outside would get: an answer, or a broken one."""
    if isinstance(error, NoRouteError):
        call.fail(EgressError("destination-unavailable", error.message))
    elif isinstance(error, UnavailableError):
        call.fail(EgressError("connection-terminated", error.message))
    elif call.answer is not None:
        call.fail(EgressError("HTTP-response-incomplete", error.message))
    else:
        status, headers, body = answer_to(error, is_dev=False)
        call.take_head(status, headers)
        call.take(body)
        call.end(())
