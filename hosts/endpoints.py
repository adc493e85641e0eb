"""Where calls arrive from the bus: subjects of ready deployments, and of this host by name.

A call is decoded, type-checked, run by a ready replica, and always answered, errors included. JSON
callers are answered in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import anyio
from anyio.abc import TaskStatus

from hosts.callcontext import DEADLINE_MS_MAX, CallContext
from hosts.callees import ReadyReplicas
from hosts.http.internal import InternalOptions
from hosts.http.relay import Relay
from hosts.invoker import Invoker
from hosts.openings import Openings
from hosts.pulses import Pulses
from hosts.replica import Replica
from lattice.bus.base import PAYLOAD_BYTES_MAX, Bus, Packet
from lattice.client.sending import Order, Sender
from lattice.clock import Clock
from lattice.errors import IncompatibleError, InvalidError, LatticeError
from lattice.routing.weights import Routes
from lattice.telemetry import call_span
from lattice.wire.codec import decode_as, encode, is_json
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.pulse import PULSE_HEADERS, wants_pulses
from lattice.wire.subjects import CALL_QUEUE, CallTarget, Names
from lattice.wire.values import args_from_json, check_args, to_json

CALLS_MAX = 1024
"""Calls from the bus that one deployment works on at once on this host; replicas have their own
limits, this one bounds what lies in memory before a replica is chosen."""

HANDED_MARGIN_S = 0.1
"""Seconds that the answer of another host is waited for beyond the deadline of a call: who asked
waits longer than that, too."""


class Endpoints:
    """The subscriptions through which this host answers calls."""

    def __init__(
        self,
        *,
        host: str,
        bus: Bus,
        names: Names,
        clock: Clock,
        ready: ReadyReplicas,
        http: InternalOptions | None = None,
        routes: Routes | None = None,
    ) -> None:
        self._host = host
        self._bus = bus
        self._names = names
        self._clock = clock
        self._ready = ready
        self.routes = routes if routes is not None else Routes()
        """How calls are divided among generations."""
        self._pulses = Pulses(bus)
        self.relay = Relay(
            host=host, bus=bus, names=names, clock=clock, sites=ready, options=http,
            routes=self.routes,
        )  # fmt: skip
        """What requests over HTTP come and go through."""
        self.sender = Sender(bus, clock, holder=self.relay.holder)
        """Sends the calls that leave this host; what nobody answers for is held in one place."""
        self.invoker = Invoker(
            host=host, bus=bus, names=names, clock=clock, callees=ready,
            internal=self.relay.internal, sender=self.sender, routes=self.routes,
        )  # fmt: skip
        """What calls of guests on this host go through."""
        self._openings = Openings(
            bus, names.calls_of, self._answer, queue=CALL_QUEUE, concurrency=CALLS_MAX
        )

    @property
    def ready(self) -> ReadyReplicas:
        """Return the replicas that answer the calls."""
        return self._ready

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the subscriptions until cancelled; "started" when calls by host name arrive."""
        names, serve = self._names, partial(self._bus.serve, concurrency=CALLS_MAX)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serve(names.typed_calls_at(self._host), self._answer))
            for subject in names.misaimed_at(self._host):
                await stack.enter_async_context(serve(subject, self._answer))
            group = await stack.enter_async_context(anyio.create_task_group())
            await group.start(self._openings.run)
            await group.start(self.relay.run)
            group.start_soon(self._pulses.run)
            task_status.started()

    async def open(self, deployment: str, *, http: bool = False) -> None:
        """Return when calls of a deployment arrive, and its requests over HTTP if it answers any;
        each replica opens once and closes once.

        Raises:
            LatticeError: the bus refused the subscription; nothing is left to close.
        """
        await self._openings.open(deployment)
        if http:
            try:
                await self.relay.open(deployment)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._openings.close(deployment)
                raise
        self.relay.holder.shown(deployment)

    async def close(self, deployment: str, *, http: bool = False) -> None:
        """Give up what `open` gave; after the last one no new calls are taken, and the running
        ones have been answered.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._openings.close, deployment)
            if http:
                group.start_soon(self.relay.close, deployment)

    async def _answer(self, packet: Packet) -> bytes:
        if wants_pulses(packet.headers):
            with self._pulses.of(packet.reply_to):
                return await self._answer_once(packet)
        return await self._answer_once(packet)

    async def _answer_once(self, packet: Packet) -> bytes:
        as_json = is_json(packet.headers)
        target = self._names.parse_call(packet.subject)
        invocation = decode_as(Invocation, packet.body, as_json=as_json)
        generation = target.generation
        if self.routes.shares and not generation:
            generation = self.routes.choose(target.deployment)
        replica = self._ready.pick(target.deployment, generation)
        if replica is None and generation != target.generation:
            handed = await self._hand_over(target, generation, packet, invocation)
            if handed is not None:
                return encode(handed, as_json=as_json)
            replica = self._ready.pick(target.deployment)
        if replica is None:
            raise self._ready.none(target.deployment)
        replica.require_open()  # told without this host's name: the call was not begun
        reply = await self._run(replica, target, invocation, packet.headers, as_json=as_json)
        body = encode(reply, as_json=as_json)
        if len(body) > PAYLOAD_BYTES_MAX:
            fault = InvalidError(
                f"result of {target.deployment} {target.interface}#{target.function} takes "
                f"{len(body)} bytes, at most {PAYLOAD_BYTES_MAX} fit in one reply; it did run"
            )
            body = encode(replace(reply, ok=None, err=fault.to_wire()), as_json=as_json)
        return body

    async def _hand_over(
        self, target: CallTarget, generation: int, packet: Packet, invocation: Invocation
    ) -> CallReply | None:
        """Return the reply of a host of the generation whose turn it is, None: none began it."""

        def subject_at(host: str, generation: int) -> str:
            interface, function = target.interface, target.function
            return self._names.call_at(host, target.deployment, generation, interface, function)

        deadline_ms = min(max(invocation.deadline_ms, 0), DEADLINE_MS_MAX)
        headers = packet.headers
        order = Order(
            deployment=target.deployment,
            what=f"{target.deployment} {invocation.op}",
            subject=packet.subject,
            subject_at=subject_at,
            body=lambda _attempt, _granted_ms: packet.body,
            nobody="",
            give_up_s=self._clock.monotonic_s() + deadline_ms / 1000,
            is_keyed=invocation.key is not None,
            headers={name: headers[name] for name in headers if name not in PULSE_HEADERS},
            as_json=is_json(headers),
            reply_margin_s=HANDED_MARGIN_S,
        )
        hosts = self.routes.hosts_of(target.deployment, generation, besides=self._host)
        return await self.sender.send_at(order, [(host, generation) for host in hosts])

    async def _run(
        self,
        replica: Replica,
        target: CallTarget,
        invocation: Invocation,
        headers: Mapping[str, str],
        *,
        as_json: bool,
    ) -> CallReply:
        deadline_ms = min(max(invocation.deadline_ms, 0), DEADLINE_MS_MAX)
        context = CallContext(
            deadline_at_s=self._clock.monotonic_s() + deadline_ms / 1000,
            hops=max(invocation.hops, 0),
            chain=tuple(invocation.chain),
            caller=invocation.caller,
            key=invocation.key,
        )
        parent = invocation.trace or headers.get("traceparent", "")
        with call_span(invocation.op or target.function, parent=parent, is_server=True) as span:
            context.trace = span.traceparent
            try:
                interface, function, found = replica.lookup(target.interface, target.function)
                _require_same_type(invocation, found, target)
                if as_json:
                    args = args_from_json(function, invocation.args)
                else:
                    args = check_args(function, invocation.args)
                value = await replica.call(interface, target.function, args, context)
            except LatticeError as exc:
                span.mark("lattice.error", exc.kind)
                return CallReply(
                    err=exc.to_wire(),
                    host=self._host,
                    generation=replica.generation,
                    legs=context.legs,
                )
        if function.result is None:
            ok = []
        else:
            ok = [to_json(function.result, value) if as_json else value]
        return CallReply(ok=ok, host=self._host, generation=replica.generation, legs=context.legs)


def _require_same_type(invocation: Invocation, found: str, target: CallTarget) -> None:
    if invocation.type and invocation.type != found:
        raise IncompatibleError(
            f"{target.deployment} {target.interface}#{target.function} has type {found}, "
            f"the caller was built for {invocation.type}; apply the caller again",
            expected=invocation.type,
            found=found,
        )
