"""Calls of exposed functions from outside: look up, send, and repeat what may be repeated.

A call without a key is at most once: after it was handed to a host, an error or the deadline ends
it, because whether it took effect is then unknown. One with a key is sent again when its host is
lost, so it may run more than once. The client never looks into the values.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lattice.bus.base import PAYLOAD_BYTES_MAX
from lattice.client.asking import Asker
from lattice.client.functions import Operation, choose
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import Order, Sender
from lattice.errors import (
    DeadlineExceededError,
    IncompatibleError,
    InvalidError,
    NotFoundError,
    from_wire,
)
from lattice.telemetry import call_span
from lattice.wire import codec
from lattice.wire.messages import CallReply, Invocation, Leg
from lattice.wire.requests import OneDeployment

CALL_DEADLINE_S = 30.0
"""Seconds for a call when the caller does not say."""

CACHE_MAX = 1024
"""Deployments whose functions are remembered; a client seldom calls more."""

LOOKUP_S = 1.0
"""Seconds for one look-up of a deployment before it is repeated: a scheduler that was cut off is
still asked for a while, and another one answers the next time."""

REPLY_SHARE = 0.95
"""The part of the time left that the host is granted: the rest is for its answer to arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """A call's value and how it was reached.

    `legs` are the calls that the callee made on its way, in order. `route` is how this call
    itself travelled: always `remote`, since a client is no host.
    """

    value: Any
    function: str  # with its interface
    host: str  # id of the host that ran it
    generation: int
    route: str
    took_s: float  # from the first attempt to the answer, by the caller's clock
    attempts: int
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What a caller asked for; `give_up_s` by the asker's clock."""

    deployment: str
    function: str
    args: list[Any]
    key: str | None
    as_json: bool
    give_up_s: float


class Caller:
    """Calls functions of deployments; remembers which functions they expose."""

    def __init__(self, asker: Asker, *, caller_id: str) -> None:
        self._asker = asker
        self._caller_id = caller_id
        self._exposed: dict[str, Mapping[str, Mapping[str, str]]] = {}
        holder = Holder(leader_of(asker.bus, asker.names), asker.clock)
        self._sender = Sender(asker.bus, asker.clock, holder=holder)

    async def call(
        self,
        deployment: str,
        function: str,
        args: Sequence[Any] = (),
        *,
        deadline_s: float = CALL_DEADLINE_S,
        key: str | None = None,
        as_json: bool = False,
    ) -> CallResult:
        """Return what the function returned, and how it was reached.

        With `as_json`, arguments and value have their JSON form (bytes as `{"base64": ...}`),
        which the host converts by the function's type: for callers that do not know the types.

        Raises:
            NotFoundError: no such deployment or function.
            InvalidError: the function's name is ambiguous, or the arguments do not fit its type.
            NoRouteError: no replica was ready within `deadline_s`; nothing was run.
            DeadlineExceededError: no answer in time; whether it took effect is unknown.
            OverloadedError: also when too many calls of this client wait for replicas.
            GuestTrapError, OverloadedError, ConflictError, DeniedError: what the host answers.
        """
        if deadline_s <= 0:
            raise InvalidError(f"deadline of {deadline_s} s, expected more than 0")
        started_s = self._asker.clock.monotonic_s()
        wish = _Wish(
            deployment=deployment,
            function=function,
            args=list(args),
            key=key,
            as_json=as_json,
            give_up_s=started_s + deadline_s,
        )
        operation, reply, attempts = await self._fulfil(wish)
        return CallResult(
            value=reply.ok[0] if reply.ok else None,
            function=str(operation),
            host=reply.host,
            generation=reply.generation,
            route="remote",
            took_s=self._asker.clock.monotonic_s() - started_s,
            attempts=attempts,
            legs=tuple(reply.legs),
        )

    async def _fulfil(self, wish: _Wish) -> tuple[Operation, CallReply, int]:
        operation = await self._operation(wish)
        attributes = {"lattice.deployment": wish.deployment}
        with call_span(f"call {wish.deployment} {operation}", attributes=attributes) as span:
            invocation = Invocation(
                op=operation.op,
                args=wish.args,
                id=uuid.uuid4().hex,
                key=wish.key,
                type=operation.fingerprint,
                trace=span.traceparent,
                caller=self._caller_id,
            )
            try:
                reply, attempts = await self._send(wish, operation, invocation)
            except IncompatibleError:
                # A rollout changed the function after it was looked up: the host refused before
                # running anything, so one more try with the type of today is safe.
                self._exposed.pop(wish.deployment, None)
                fresh = await self._operation(wish)
                if fresh == operation:
                    raise
                operation = fresh
                invocation = replace(invocation, op=fresh.op, type=fresh.fingerprint)
                reply, attempts = await self._send(wish, operation, invocation)
            span.mark("lattice.host", reply.host)
        return operation, reply, attempts

    async def _operation(self, wish: _Wish) -> Operation:
        """Return the function from memory, or from a fresh look when it is not remembered."""
        deployment, function = wish.deployment, wish.function
        known = self._exposed.get(deployment)
        if known is not None:
            try:
                return choose(deployment, known, function)
            except (NotFoundError, InvalidError):
                del self._exposed[deployment]
        answer = await self._look_up(wish)
        record = answer.get("record")
        exposed = record.get("exposed") if isinstance(record, dict) else None
        if len(self._exposed) >= CACHE_MAX:
            self._exposed.clear()
        self._exposed[deployment] = exposed if isinstance(exposed, dict) else {}
        return choose(deployment, self._exposed[deployment], function)

    async def _look_up(self, wish: _Wish) -> dict[str, Any]:
        """Return what a scheduler says of the deployment; reading may be repeated."""
        while (left_s := wish.give_up_s - self._asker.clock.monotonic_s()) > 0:
            try:
                return await self._asker.api(
                    "get", OneDeployment(name=wish.deployment), timeout_s=min(LOOKUP_S, left_s)
                )
            except DeadlineExceededError:
                continue  # the time left decides
        raise DeadlineExceededError(
            f"call of {wish.function!r}: deployment {wish.deployment!r} was not looked up in time; "
            "nothing was run"
        )

    async def _send(
        self, wish: _Wish, operation: Operation, invocation: Invocation
    ) -> tuple[CallReply, int]:
        """Return the reply and the number of attempts. `Raises:` what the reply tells, too."""
        deployment, names = wish.deployment, self._asker.names

        def body(attempt: int, granted_ms: int) -> bytes:
            once = replace(invocation, attempt=attempt, deadline_ms=granted_ms)
            encoded = codec.encode(once, as_json=wish.as_json)
            if len(encoded) > PAYLOAD_BYTES_MAX:
                raise InvalidError(
                    f"arguments of {operation} take {len(encoded)} bytes, "
                    f"at most {PAYLOAD_BYTES_MAX} fit in one call"
                )
            return encoded

        def subject_at(host: str, generation: int) -> str:
            interface, function = operation.interface, operation.function
            return names.call_at(host, deployment, generation, interface, function)

        order = Order(
            deployment=deployment,
            what=f"{operation} on deployment {deployment!r}",
            subject=names.call(deployment, operation.interface, operation.function),
            subject_at=subject_at,
            body=body,
            nobody=(
                f"no replica of deployment {deployment!r} is ready for {operation}: "
                f"`lattice describe {deployment}` tells why"
            ),
            give_up_s=wish.give_up_s,
            is_keyed=wish.key is not None,
            headers={codec.CONTENT_TYPE: codec.JSON_TYPE} if wish.as_json else {},
            as_json=wish.as_json,
            is_patient=True,
            reply_share=REPLY_SHARE,
        )
        reply, attempts = await self._sender.send(order)
        if reply.err is not None:
            raise from_wire(reply.err)
        return reply, attempts
