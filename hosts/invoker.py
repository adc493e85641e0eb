"""Where a call leaves for: a replica on this host in memory, or any ready one over NATS.

The context of a call (what is left of its time, its chain, its trace) goes along on every route,
and each hop is reported back to whoever began, so that the way of a call can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from hosts.callcontext import CallContext
from lattice.bus.base import Bus
from lattice.clock import Clock
from lattice.component.resolution import LinkTarget
from lattice.errors import ConflictError, NoRouteError, from_wire
from lattice.telemetry import call_span
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import HOPS_MAX, CallReply, Invocation, Leg
from lattice.wire.subjects import Names

if TYPE_CHECKING:
    from hosts.http.internal import Internal

REPLY_MARGIN_S = 0.25
"""What a caller waits beyond the deadline it gives away, so that the callee's own error arrives."""

RETRY_PAUSES_S = (0.02, 0.1, 0.3)
"""Waits before a call is sent again that a host turned down unrun, since its replica is on its way
out: long enough for the servers to forget that host, within any deadline that makes sense."""


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
    ) -> None:
        self.internal = internal
        """Carries requests over HTTP between deployments; None: nobody does."""
        self._host = host
        self._bus = bus
        self._names = names
        self._clock = clock
        self._callees = callees

    async def call(
        self, link: LinkTarget, function: str, args: Sequence[Any], context: CallContext
    ) -> Any:
        """Return the result of the linked deployment's function.

        `route: auto` is in memory when a ready replica shares this host, else over NATS.

        Raises:
            NoRouteError: no replica is ready (`local`: none on this host).
            DeadlineExceededError: the link's time-out or the call's own deadline passed.
            ConflictError: the chain of calls is longer than `HOPS_MAX`.
            LatticeError: what the callee raised.
        """
        op = f"{link.interface}#{function}"
        if context.hops >= HOPS_MAX:
            raise ConflictError(
                f"call of {link.deployment} {op} is hop {context.hops + 1}, at most {HOPS_MAX}: "
                f"{' -> '.join((*context.chain, link.deployment))}",
                chain=list(context.chain),
            )
        now_s = self._clock.monotonic_s()
        inner = replace(
            context,
            deadline_at_s=now_s + min(context.left_s(now_s), link.timeout_s),
            hops=context.hops + 1,
            legs=[],
        )
        callee = self._callees.pick(link.deployment) if link.route != "remote" else None
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
                    return await callee.call(link.interface, function, args, inner)
                reply = await self._remote(link, function, args, inner, now_s)
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

    async def _remote(
        self,
        link: LinkTarget,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        now_s: float,
    ) -> CallReply:
        """Return the reply, which may tell of an error; one that was turned down is repeated."""
        for pause_s in (*RETRY_PAUSES_S, None):
            reply = await self._remote_once(link, function, args, context, now_s)
            # With a host's name, the callee itself found no route for a call that it made.
            is_unrun = (reply.err or {}).get("kind") == NoRouteError.kind and not reply.host
            if not is_unrun or pause_s is None or context.left_s(now_s) <= pause_s:
                return reply
            await anyio.sleep(pause_s)
            now_s = self._clock.monotonic_s()
        raise AssertionError("the last attempt returns")

    async def _remote_once(
        self,
        link: LinkTarget,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        now_s: float,
    ) -> CallReply:
        left_s = context.left_s(now_s)
        body = encode(
            Invocation(
                op=f"{link.interface}#{function}",
                args=list(args),
                deadline_ms=max(1, round(left_s * 1000)),
                key=context.key,
                hops=context.hops,
                type=link.types.get(function, ""),
                trace=context.trace,
                caller=context.caller,
                chain=list(context.chain),
            )
        )
        subject = self._names.call(link.deployment, link.interface, function)
        try:
            packet = await self._bus.request(subject, body, timeout_s=left_s + REPLY_MARGIN_S)
        except NoRouteError:
            raise NoRouteError(
                f"no host has a ready replica of {link.deployment} now (see `lattice get replicas`)"
            ) from None
        return decode_as(CallReply, packet.body)
