"""Where calls arrive from the bus: subjects of ready deployments, and of this host by name.

A call is decoded, type-checked, run by a ready replica, and always answered, errors included. JSON
callers are answered in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts.callees import ReadyReplicas
from hosts.invoker import CallContext
from hosts.replica import Replica
from lattice.bus.base import Bus, Packet
from lattice.clock import Clock
from lattice.component.fingerprint import function_fingerprint
from lattice.component.types import Function
from lattice.errors import IncompatibleError, LatticeError, NoRouteError
from lattice.telemetry import call_span
from lattice.wire.codec import decode_as, encode, is_json
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.subjects import CALL_QUEUE, CallTarget, Names
from lattice.wire.values import args_from_json, check_args, to_json

CALLS_MAX = 1024
"""Calls from the bus that one deployment works on at once on this host; replicas have their own
limits, this one bounds what lies in memory before a replica is chosen."""

DEADLINE_MS_MAX = 24 * 3600 * 1000
"""The longest deadline that a caller may ask for: a day."""


@dataclass(slots=True)
class _Opened:
    closing: anyio.Event
    closed: anyio.Event


class Endpoints:
    """The subscriptions through which this host answers calls."""

    def __init__(
        self, *, host: str, bus: Bus, names: Names, clock: Clock, ready: ReadyReplicas
    ) -> None:
        self._host = host
        self._bus = bus
        self._names = names
        self._clock = clock
        self._ready = ready
        self._opened: dict[str, _Opened] = {}
        self._group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the subscriptions until cancelled; "started" when calls by host name arrive."""
        async with (
            self._bus.serve(self._names.calls_at(self._host), self._answer, concurrency=CALLS_MAX),
            anyio.create_task_group() as self._group,
        ):
            task_status.started()
            await anyio.sleep_forever()

    async def open(self, deployment: str) -> None:
        """Take calls of a deployment; nothing happens when they are taken already.

        Raises:
            LatticeError: the bus refused the subscription.
        """
        assert self._group is not None, "endpoints run before a replica is ready"
        if deployment not in self._opened:
            self._opened[deployment] = opened = _Opened(anyio.Event(), anyio.Event())
            try:
                await self._group.start(self._serve, deployment, opened)
            except BaseException:
                self._opened.pop(deployment, None)
                raise

    async def close(self, deployment: str) -> None:
        """Take no new calls of a deployment, and return when the running ones are answered."""
        opened = self._opened.pop(deployment, None)
        if opened is not None:
            opened.closing.set()
            await opened.closed.wait()

    async def _serve(
        self, deployment: str, opened: _Opened, *, task_status: TaskStatus[None]
    ) -> None:
        subject = self._names.calls_of(deployment)
        try:
            async with self._bus.serve(
                subject, self._answer, queue=CALL_QUEUE, concurrency=CALLS_MAX
            ):
                task_status.started()
                await opened.closing.wait()
        finally:
            opened.closed.set()

    async def _answer(self, packet: Packet) -> bytes:
        as_json = is_json(packet.headers)
        target = self._names.parse_call(packet.subject)
        invocation = decode_as(Invocation, packet.body, as_json=as_json)
        replica = self._ready.pick(target.deployment, target.generation)
        if replica is None:
            raise NoRouteError(f"no replica of {target.deployment} is ready on this host now")
        reply = await self._run(replica, target, invocation, packet.headers, as_json=as_json)
        return encode(reply, as_json=as_json)

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
            hops=invocation.hops,
            chain=tuple(invocation.chain),
            caller=invocation.caller,
            key=invocation.key,
        )
        parent = invocation.trace or headers.get("traceparent", "")
        with call_span(invocation.op or target.function, parent=parent, is_server=True) as span:
            context.trace = span.traceparent
            try:
                interface, function = replica.lookup(target.interface, target.function)
                _require_same_type(invocation, function, target)
                if as_json:
                    args = args_from_json(function, invocation.args)
                else:
                    args = check_args(function, invocation.args)
                value = await replica.call(interface, target.function, args, context)
            except LatticeError as exc:
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


def _require_same_type(invocation: Invocation, function: Function, target: CallTarget) -> None:
    if not invocation.type:
        return
    found = function_fingerprint(function)
    if invocation.type != found:
        raise IncompatibleError(
            f"{target.deployment} {target.interface}#{target.function} has type {found}, "
            f"the caller was built for {invocation.type}; apply the caller again",
            expected=invocation.type,
            found=found,
        )
