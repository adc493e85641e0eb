"""Where calls arrive from the bus: subjects of ready deployments, and of this host by name.

A call is decoded, type-checked, run by a ready replica, and always answered, errors included. JSON
callers are answered in JSON.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import anyio
from anyio.abc import TaskStatus

from hosts.bytestream import given
from hosts.callcontext import DEADLINE_MS_MAX, CallContext
from hosts.callees import ReadyReplicas
from hosts.departures import Departures
from hosts.durable_attempt import Tell, Workplace
from hosts.durable_worker import DurableWorker
from hosts.http.internal import InternalOptions
from hosts.http.relay import Relay
from hosts.invoker import Invoker, require_same_type
from hosts.largecalls import LargeCalls
from hosts.openings import Openings
from hosts.pulses import Pulses
from hosts.replica import Replica
from hosts.streamcalls import StreamCalls
from lattice.bus.base import Bus, Packet
from lattice.client.jobs import Jobs
from lattice.client.sending import Order, Sender
from lattice.clock import Clock
from lattice.errors import InvalidError, LatticeError
from lattice.routing.weights import Routes
from lattice.telemetry import call_span
from lattice.wire.codec import decode_as, decode_values, encode, is_json
from lattice.wire.large import DETAIL, DIRECT_BYTES_MAX, HEADER, LARGE_BYTES_MAX, read_word
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.pulse import PULSE_HEADERS, wants_pulses
from lattice.wire.streaming import HEADER as STREAM_HEADER
from lattice.wire.streaming import STREAM_S_MAX
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

    def __init__(  # noqa: PLR0913 - what a host is made of, by name
        self,
        *,
        host: str,
        bus: Bus,
        names: Names,
        clock: Clock,
        ready: ReadyReplicas,
        http: InternalOptions | None = None,
        routes: Routes | None = None,
        jobs: Jobs | None = None,
        tell: Tell = lambda _kind, _entity, _data: None,
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
        self.invoker.jobs = jobs
        self._departures = Departures(bus, lambda deployment: names.departure(deployment, "*"))
        self.durable = None if jobs is None else DurableWorker(
            Workplace(
                host=host, names=names, clock=clock, jobs=jobs.kept.stream,
                answer=self._answer_once, tell=tell,
            ),
            bus,
        )  # fmt: skip
        """Runs the durable jobs of what is open here."""
        self._large = LargeCalls(
            host=host, bus=bus, names=names, clock=clock, answer=self._answer
        )  # fmt: skip
        """Arguments and results that no message holds."""
        self._streams = StreamCalls(
            host=host, bus=bus, names=names, clock=clock, answer=self._direct_answer
        )  # fmt: skip
        """Calls that stream bytes while they run."""
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
            await group.start(self._departures.run)
            await group.start(self._large.run)
            await group.start(self._streams.run)
            if self.durable is not None:
                await group.start(self.durable.run)
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
        self._departures.open(deployment)
        if self.durable is not None:
            self.durable.open(deployment)
        self.relay.holder.shown(deployment)

    async def close(self, deployment: str, *, http: bool = False) -> None:
        """Give up what `open` gave; after the last one no new calls are taken, and the running
        ones have been answered.
        """
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._openings.close, deployment)
                if self.durable is not None:
                    group.start_soon(self.durable.close, deployment)
                if http:
                    group.start_soon(self.relay.close, deployment)
        finally:
            self._departures.close(deployment)

    async def _answer(self, packet: Packet) -> bytes:
        if packet.headers and HEADER in packet.headers:
            return self._open_large(packet)
        if packet.headers and STREAM_HEADER in packet.headers:
            return await self._streams.open(packet)
        return await self._direct_answer(packet)

    async def _direct_answer(self, packet: Packet) -> bytes:
        """Return the answer to a call, which fits into a message."""
        if wants_pulses(packet.headers):
            with self._pulses.of(packet.reply_to):
                body = await self._whole_answer(packet)
        else:
            body = await self._whole_answer(packet)
        if len(body) > DIRECT_BYTES_MAX:
            return self._shortened(packet, body, self._large.keep(body))
        return body

    async def _answer_once(self, packet: Packet) -> bytes:
        """Return an answer that fits into a message."""
        body = await self._whole_answer(packet)
        return self._shortened(packet, body, None) if len(body) > DIRECT_BYTES_MAX else body

    def _shortened(self, packet: Packet, body: bytes, kept: dict[str, object] | None) -> bytes:
        """Return an error in place of an answer that is too large; its details name where to get
        it, if it is kept.
        """
        target = self._names.parse_call(packet.subject)
        limit = LARGE_BYTES_MAX if len(body) > LARGE_BYTES_MAX else DIRECT_BYTES_MAX
        fault = InvalidError(
            f"result of {target.deployment} {target.interface}#{target.function} takes "
            f"{len(body)} bytes, at most {limit} fit in one reply; it did run"
        )
        if kept is not None:
            fault.details[DETAIL] = kept
        reply = CallReply(err=fault.to_wire(), host=self._host, generation=target.generation)
        return encode(reply, as_json=is_json(packet.headers))

    def _open_large(self, packet: Packet) -> bytes:
        """Return the answer to who has arguments that no message holds: where to put them."""
        word = read_word(packet.headers[HEADER])
        if word.kind != "open":
            raise InvalidError(f"{HEADER}: {word} is for the place of a large body, not for a call")
        target = self._names.parse_call(packet.subject)
        if self._ready.pick(target.deployment, target.generation) is None:
            raise self._ready.none(target.deployment)
        return self._large.open(packet, word)

    async def _whole_answer(self, packet: Packet) -> bytes:
        as_json = is_json(packet.headers)
        target = self._names.parse_call(packet.subject)
        if as_json:
            invocation = decode_as(Invocation, packet.body, as_json=True)
        else:
            invocation = decode_values(Invocation, packet.body, "args")
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
        self._departures.require_there(invocation.id)
        replica.require_open()  # told without this host's name: the call was not begun
        reply = await self._run(replica, target, invocation, packet, as_json=as_json)
        return encode(reply, as_json=as_json)

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
            leave=self._names.departure(target.deployment, invocation.id) if invocation.id else "",
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
        packet: Packet,
        *,
        as_json: bool,
    ) -> CallReply:
        left_s = min(max(invocation.deadline_ms, 0), DEADLINE_MS_MAX) / 1000
        stream = given.get()
        if stream is not None:
            if invocation.key is not None:
                raise InvalidError("a call with streams has no key: bytes are not sent again")
            stream.bound(left_s)  # from byte to byte: the call itself may take as long as they do
            left_s = STREAM_S_MAX
        context = CallContext(
            deadline_at_s=self._clock.monotonic_s() + left_s,
            hops=max(invocation.hops, 0),
            chain=tuple(invocation.chain),
            caller=invocation.caller,
            key=invocation.key,
            stream=stream,
        )
        parent = invocation.trace or packet.headers.get("traceparent", "")
        with call_span(invocation.op or target.function, parent=parent, is_server=True) as span:
            span.mark("lattice.caller", invocation.caller)
            context.trace = span.traceparent
            try:
                interface, function, found = replica.lookup(target.interface, target.function)
                require_same_type(
                    invocation.type, found, target.deployment, target.interface, target.function
                )
                if as_json:
                    args = args_from_json(function, invocation.args)
                else:
                    args = check_args(function, invocation.args)
                call = replica.call(interface, target.function, args, context)
                value = await self._departures.ended_when_left(invocation.id, call, packet.reply_to)
            except LatticeError as exc:
                span.mark("lattice.error", exc.kind)
                return CallReply(
                    err=exc.to_wire(),
                    host=self._host,
                    generation=replica.generation,
                    legs=context.legs,
                    load=replica.in_flight,
                )
        if function.result is None:
            ok = []
        else:
            ok = [to_json(function.result, value) if as_json else value]
        return CallReply(
            ok=ok, host=self._host, generation=replica.generation, legs=context.legs,
            load=replica.in_flight,
        )  # fmt: skip
