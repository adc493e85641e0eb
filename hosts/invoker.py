"""Where a call leaves for: a replica on this host in memory, or any ready one over NATS.

The context of a call (what is left of its time, its chain, its trace) goes along on every route,
and each hop is reported back to whoever began, so that the way of a call can be seen.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from hosts.callcontext import CallContext
from hosts.durable_links import call_durably
from lattice.bus.base import Bus
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import Aim, Order, Sender
from lattice.client.spreading import FULL
from lattice.clock import Clock
from lattice.component.resolution import LinkTarget
from lattice.component.types import Function
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    IncompatibleError,
    LatticeError,
    NoRouteError,
    OverloadedError,
    from_wire,
)
from lattice.model.wit import interface_key
from lattice.routing.weights import Routes
from lattice.telemetry import call_span
from lattice.wire.codec import CONTENT_TYPE, JSON_TYPE, encode
from lattice.wire.messages import HOPS_MAX, CallReply, Invocation, Leg
from lattice.wire.subjects import Names
from lattice.wire.values import args_from_json, to_json

if TYPE_CHECKING:
    from hosts.http.internal import Internal
    from lattice.client.jobs import Jobs

JSON_HEADERS = {CONTENT_TYPE: JSON_TYPE}

REPLY_MARGIN_S = 0.25
"""What a caller waits beyond the deadline it gives away, so that the callee's own error arrives."""


class LocalCallee(Protocol):
    """A replica of a deployment on this host that answers calls."""

    generation: int

    def lookup(self, interface: str, function: str) -> tuple[str, Function, str]:
        """Return the exact name of an exposed interface, a function's type, and its fingerprint.

        Raises:
            NotFoundError: it is not exposed.
        """
        ...

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


@dataclass(slots=True)
class _Way:
    """How a call travels, as far as is known: of one that went away, only its reply tells where it
    ran, if one comes."""

    route: str
    host: str


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
        self.jobs: Jobs | None = None
        """What durable links submit to."""
        self._calls = secrets.token_hex(8)  # nobody else knows how the ids of calls begin
        self._numbers = itertools.count(1)
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
        self,
        link: LinkTarget,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        *,
        as_json: bool = False,
    ) -> Any:
        """Return the result of the linked deployment's function.

        `route: auto` is in memory when a ready replica shares this host, else over NATS; a
        `durable` call is stored as a job, whose outcome is waited for. With `as_json`, arguments
        and result have their JSON form, which whoever runs the callee converts by its types.

        Raises:
            NoRouteError: no replica is ready (`local`: none on this host), and none is to come.
            NotFoundError: the callee does not expose the function.
            IncompatibleError: its type is not what the link was made for.
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
        callee, aims = self._chosen(link)
        way = _Way("local", self._host) if callee is not None else _Way(_outward(link), "")
        with call_span(
            op,
            parent=context.trace,
            attributes={"lattice.deployment": link.deployment, "lattice.route": way.route},
        ) as span:
            inner.trace = span.traceparent
            try:
                if callee is not None:
                    try:
                        return await _in_memory(callee, link, function, args, inner, as_json)
                    except (DeadlineExceededError, OverloadedError) as error:
                        if not _goes_elsewhere(error, link, context):
                            raise
                    way.route = "remote"
                reply = await self._leave(link, function, args, inner, aims, as_json, context.legs)
                way.host, inner.legs = reply.host, reply.legs
                if reply.err is not None:
                    raise from_wire(reply.err)
                return (reply.ok or [None])[0]
            finally:
                took_us = round((self._clock.monotonic_s() - now_s) * 1e6)
                leg = Leg(
                    deployment=link.deployment, op=op, route=way.route, host=way.host,
                    took_us=took_us,
                )  # fmt: skip
                context.report(leg, inner.legs)

    def _chosen(self, link: LinkTarget) -> tuple[LocalCallee | None, Sequence[Aim]]:
        """Return the replica of this host that takes a call, or where else it should go first.

        Raises:
            NoRouteError: the link keeps calls on this host, and none is ready here.
        """
        if link.route in ("remote", "durable"):
            return None, ()
        if self._routes.shares:
            callee, aims = self._place(link)
        else:
            callee, aims = self._callees.pick(link.deployment), ()
        if callee is None and link.route == "local":
            raise NoRouteError(
                f"no ready replica of {link.deployment} on this host, and the link to it "
                "says route: local"
            )
        return callee, aims

    async def _leave(
        self,
        link: LinkTarget,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        aims: Sequence[Aim],
        as_json: bool,
        before: Sequence[Leg],
    ) -> CallReply:
        """Return the reply to a call that leaves this host, which may tell of an error.

        `before` are the calls that its guest has made until now.
        """
        if link.route == "durable":
            assert self.jobs is not None, "hosts have durable jobs"
            left_s = context.left_s(self._clock.monotonic_s())
            return await call_durably(
                self.jobs, link, function, args, context, before, left_s=left_s, as_json=as_json
            )
        order = self._order(link, function, args, context, as_json)
        reply = await self._sender.send_at(order, aims) if aims else None
        if reply is None:
            reply, _ = await self._sender.send(order)
        return reply

    def _order(
        self,
        link: LinkTarget,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        as_json: bool,
    ) -> Order:
        op = f"{link.interface}#{function}"
        call = f"{self._calls}-{next(self._numbers)}"
        invocation = Invocation(
            op=op,
            args=list(args),
            id=call,
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
                replace(invocation, attempt=attempt, deadline_ms=granted_ms), as_json=as_json
            ),
            headers=JSON_HEADERS if as_json else {},
            as_json=as_json,
            nobody=f"no host has a ready replica of {link.deployment} now "
            "(see `lattice get replicas`)",
            give_up_s=context.deadline_at_s,
            is_keyed=context.key is not None,
            leave=self._names.departure(link.deployment, call),
            reply_margin_s=REPLY_MARGIN_S,
        )


async def _in_memory(
    callee: LocalCallee,
    link: LinkTarget,
    function: str,
    args: Sequence[Any],
    context: CallContext,
    as_json: bool,
) -> Any:
    """Return what a replica of this host answers. `Raises:` as a host that gets it over NATS."""
    interface, type_, fingerprint = callee.lookup(link.interface, function)
    require_same_type(
        link.types.get(function, ""), fingerprint, link.deployment, link.interface, function
    )
    if not as_json:
        return await callee.call(interface, function, args, context)
    value = await callee.call(interface, function, args_from_json(type_, args), context)
    return to_json(type_.result, value)


def _goes_elsewhere(error: LatticeError, link: LinkTarget, context: CallContext) -> bool:
    """Tell whether a call that a replica of this host answered so goes to another one.

    It does when the replica was full and began nothing, and with a key also when it was stopped in
    the middle.
    """
    if isinstance(error, OverloadedError):
        return error.details.pop(FULL, None) is not None and link.route != "local"
    return context.key is not None and bool(error.details.get("ended"))


def require_same_type(
    expected: str, found: str, deployment: str, interface: str, function: str
) -> None:
    """Return when a function has the type that its caller was built for, "": any.

    Raises:
        IncompatibleError: it has another; both are told.
    """
    if expected and expected != found:
        raise IncompatibleError(
            f"{deployment} {interface_key(interface)}#{function} has type {found}, "
            f"the caller was built for {expected}; apply the caller again",
            expected=expected,
            found=found,
        )


def value_of(ok: Sequence[Any] | None, err: Mapping[str, Any] | None) -> Any:
    """Return the value that a reply or an outcome has. `Raises:` the error that it has."""
    if err is not None:
        raise from_wire(dict(err))
    return (ok or [None])[0]


def _outward(link: LinkTarget) -> str:
    """Return the route of a call by this link that leaves the host."""
    return "durable" if link.route == "durable" else "remote"


def _too_far(link: LinkTarget, op: str, context: CallContext) -> ConflictError:
    return ConflictError(
        f"call of {link.deployment} {op} is hop {context.hops + 1}, at most {HOPS_MAX}: "
        f"{' -> '.join((*context.chain, link.deployment))}",
        chain=list(context.chain),
    )
