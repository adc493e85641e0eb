"""Where a call leaves for: a replica on this host in memory, or any ready one over NATS.

The context of a call (what is left of its time, its chain, its trace) goes along on every route,
and each hop is reported back to whoever began, so that the way of a call can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from hosts.callcontext import CallContext
from lattice.bus.base import Bus
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import Aim, Order, Sender
from lattice.clock import Clock
from lattice.component.resolution import LinkTarget
from lattice.errors import ConflictError, DeadlineExceededError, NoRouteError, from_wire
from lattice.routing.weights import Routes
from lattice.telemetry import call_span
from lattice.wire.codec import encode
from lattice.wire.messages import HOPS_MAX, CallReply, Invocation, Leg
from lattice.wire.subjects import Names

if TYPE_CHECKING:
    from hosts.http.internal import Internal

REPLY_MARGIN_S = 0.25
"""What a caller waits beyond the deadline it gives away, so that the callee's own error arrives."""


class LocalCallee(Protocol):
    """A replica of a deployment on this host that answers calls."""

    generation: int

    async def call(
        self, interface: str, function: str, args: Sequence[Any], context: CallContext
    ) -> Any:
        """Return the result value; errors as `hosts.engine.base.Instance.call`."""
        ...


class Callees(Protocol):
    """The ready replicas of this host."""

    def pick(self, deployment: str, generation: int = 0) -> LocalCallee | None:
        """Return the replica that should take the next call, None when none is ready here."""
        ...


class Invoker:
    """Sends calls of guests on this host to other deployments."""

    def __init__(
        self,
        *,
        host: str,
        bus: Bus,
        names: Names,
        clock: Clock,
        callees: Callees,
        internal: Internal | None = None,
        sender: Sender | None = None,
        routes: Routes | None = None,
    ) -> None:
        """Begin; `sender` is shared by all that leaves this host, `routes` say how calls are
        divided."""
        self.internal = internal
        """Carries requests over HTTP between deployments; None: nobody does."""
        self._host = host
        self._names = names
        self._clock = clock
        self._callees = callees
        self._routes = routes if routes is not None else Routes()
        self._sender = sender or Sender(bus, clock, holder=Holder(leader_of(bus, names), clock))

    def _place(self, link: LinkTarget) -> tuple[LocalCallee | None, Sequence[Aim]]:
        """Return the replica of this host that takes the next call, or where else it should go.

        Where calls are divided among generations and it is the turn of one that runs elsewhere,
        its hosts are asked first, unless the link keeps calls on this host.
        """
        deployment = link.deployment
        generation = self._routes.choose(deployment)
        callee = self._callees.pick(deployment, generation)
        if callee is not None or not generation:
            return callee, ()
        if link.route == "local":
            return self._callees.pick(deployment), ()
        hosts = self._routes.hosts_of(deployment, generation, besides=self._host)
        return None, [(host, generation) for host in hosts]

    async def call(
        self, link: LinkTarget, function: str, args: Sequence[Any], context: CallContext
    ) -> Any:
        """Return the result of the linked deployment's function.

        `route: auto` is in memory when a ready replica shares this host, else over NATS.

        Raises:
            NoRouteError: no replica is ready (`local`: none on this host), and none is to come.
            OverloadedError: too many calls of this host wait for replicas.
            DeadlineExceededError: the link's time-out or the call's own deadline passed.
            ConflictError: the chain of calls is longer than `HOPS_MAX`.
            LatticeError: what the callee raised.
        """
        op = f"{link.interface}#{function}"
        if context.hops >= HOPS_MAX:
            raise _too_far(link, op, context)
        now_s = self._clock.monotonic_s()
        inner = context.onward(now_s + min(context.left_s(now_s), link.timeout_s))
        callee: LocalCallee | None = None
        aims: Sequence[Aim] = ()
        if link.route != "remote":
            if self._routes.shares:
                callee, aims = self._place(link)
            else:
                callee = self._callees.pick(link.deployment)
        if callee is None and link.route == "local":
            raise NoRouteError(
                f"no ready replica of {link.deployment} on this host, and the link to it "
                "says route: local"
            )
        route = "local" if callee is not None else "remote"
        with call_span(
            op,
            parent=context.trace,
            attributes={"lattice.deployment": link.deployment, "lattice.route": route},
        ) as span:
            inner.trace = span.traceparent
            # Of a call that went away, only its reply tells where it ran, if one comes.
            host = self._host if callee is not None else ""
            try:
                if callee is not None:
                    try:
                        return await callee.call(link.interface, function, args, inner)
                    except DeadlineExceededError as error:
                        if context.key is None or not error.details.get("ended"):
                            raise
                    # The replica was stopped in the middle: with a key, another one begins anew.
                    route = "remote"
                reply = await self._send(self._order(link, function, args, inner), aims)
                host, inner.legs = reply.host, reply.legs
                if reply.err is not None:
                    raise from_wire(reply.err)
                return (reply.ok or [None])[0]
            finally:
                took_us = round((self._clock.monotonic_s() - now_s) * 1e6)
                leg = Leg(
                    deployment=link.deployment, op=op, route=route, host=host, took_us=took_us
                )
                context.report(leg, inner.legs)

    async def _send(self, order: Order, aims: Sequence[Aim]) -> CallReply:
        """Return the reply to a call that leaves this host, which may tell of an error."""
        reply = await self._sender.send_at(order, aims) if aims else None
        if reply is None:
            reply, _ = await self._sender.send(order)
        return reply

    def _order(
        self, link: LinkTarget, function: str, args: Sequence[Any], context: CallContext
    ) -> Order:
        op = f"{link.interface}#{function}"
        invocation = Invocation(
            op=op,
            args=list(args),
            key=context.key,
            hops=context.hops,
            type=link.types.get(function, ""),
            trace=context.trace,
            caller=context.caller,
            chain=list(context.chain),
        )

        def subject_at(host: str, generation: int) -> str:
            return self._names.call_at(host, link.deployment, generation, link.interface, function)

        return Order(
            deployment=link.deployment,
            what=f"{link.deployment} {op}",
            subject=self._names.call(link.deployment, link.interface, function),
            subject_at=subject_at,
            body=lambda attempt, granted_ms: encode(
                replace(invocation, attempt=attempt, deadline_ms=granted_ms)
            ),
            nobody=f"no host has a ready replica of {link.deployment} now "
            "(see `lattice get replicas`)",
            give_up_s=context.deadline_at_s,
            is_keyed=context.key is not None,
            reply_margin_s=REPLY_MARGIN_S,
        )


def _too_far(link: LinkTarget, op: str, context: CallContext) -> ConflictError:
    return ConflictError(
        f"call of {link.deployment} {op} is hop {context.hops + 1}, at most {HOPS_MAX}: "
        f"{' -> '.join((*context.chain, link.deployment))}",
        chain=list(context.chain),
    )
