"""Calls of exposed functions from outside: look up, send, and repeat what may be repeated.

A call without a key is at most once: after it was handed to a host, an error or the deadline ends
it, because whether it took effect is then unknown. One with a key is sent again when its host is
lost, so it may run more than once. The client never looks into the values.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec.structs import replace as changed

from lattice.client.asking import Asker
from lattice.client.functions import Operation, choose
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import Order, Sender
from lattice.client.streaming import ByteCall, Source, carried
from lattice.errors import (
    DeadlineExceededError,
    IncompatibleError,
    InvalidError,
    NotFoundError,
    from_wire,
)
from lattice.telemetry import call_span
from lattice.wire import codec
from lattice.wire.large import LARGE_BYTES_MAX
from lattice.wire.messages import CallReply, Invocation, Leg
from lattice.wire.requests import OneDeployment
from lattice.wire.streaming import HEADER as STREAM_HEADER
from lattice.wire.streaming import OPEN, stream_place
from lattice.wire.subjects import Names

CALL_DEADLINE_S = 30.0
"""Seconds for a call when the caller does not say."""

CACHE_MAX = 1024
"""Deployments whose functions are remembered; a client seldom calls more."""

LOOKUP_S = 1.0
"""Seconds for one look-up of a deployment before it is repeated: a scheduler that was cut off is
still asked for a while, and another one answers the next time."""

Exposed = Mapping[str, Mapping[str, str]]
"""Interface -> function -> fingerprint of its type."""

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


class _Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asked for; `give_up_s` by the asker's clock."""

    deployment: str
    function: str
    args: list[Any]
    key: str | None
    as_json: bool
    give_up_s: float
    expects: str
    streams: bool = False

    def choose(self, exposed: Mapping[str, Mapping[str, str]]) -> Operation:
        """Return the one function meant, of the type that the caller was built for, if any."""
        found = choose(self.deployment, exposed, self.function)
        return replace(found, fingerprint=self.expects) if self.expects else found


class _Target:
    """A function of a deployment, and all that calls of it have in common."""

    __slots__ = (
        "attributes", "departures", "deployment", "exposed", "names", "nobody", "op", "operation",
        "subject", "what",
    )  # fmt: skip

    def __init__(
        self, names: Names, deployment: str, operation: Operation, exposed: Exposed
    ) -> None:
        self.names = names
        self.deployment = deployment
        self.operation = operation
        self.exposed = exposed  # the look-up that it was found by
        self.op = operation.op
        self.what = f"{operation} on deployment {deployment!r}"
        self.subject = names.call(deployment, operation.interface, operation.function)
        self.departures = names.departure(deployment, "")
        self.nobody = (
            f"no replica of deployment {deployment!r} is ready for {operation}: "
            f"`lattice describe {deployment}` tells why"
        )
        self.attributes = {"lattice.deployment": deployment}

    def subject_at(self, host: str, generation: int) -> str:
        """Return where calls go to a host and generation."""
        interface, function = self.operation.interface, self.operation.function
        return self.names.call_at(host, self.deployment, generation, interface, function)


class Caller:
    """Calls functions of deployments; remembers which functions they expose."""

    def __init__(self, asker: Asker, *, caller_id: str) -> None:
        self._asker = asker
        self._caller_id = caller_id
        self._calls = secrets.token_hex(8)  # nobody else knows how the ids of calls begin
        self._numbers = itertools.count(1)
        self._exposed: dict[str, Exposed] = {}
        self._chosen: dict[tuple[str, str, str], _Target] = {}
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
        expects: str = "",
    ) -> CallResult:
        """Return what the function returned, and how it was reached.

        With `as_json`, arguments and value have their JSON form (bytes as `{"base64": ...}`),
        which the host converts by the function's type: for callers that do not know the types.
        `expects` is the fingerprint of the type that the caller was built for, if it was for one.

        Raises:
            NotFoundError: no such deployment or function.
            InvalidError: the function's name is ambiguous, or the arguments do not fit its type.
            IncompatibleError: the function has not the type that the caller expects; not run.
            NoRouteError: no replica was ready within `deadline_s`; nothing was run.
            DeadlineExceededError: no answer in time; whether it took effect is unknown.
            OverloadedError: also when too many calls of this client wait for replicas.
            GuestTrapError, OverloadedError, ConflictError, DeniedError: what the host answers.
        """
        started_s = self._asker.clock.monotonic_s()
        wish = self._wish(deployment, function, args, deadline_s, key, as_json, expects)
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

    async def value(
        self,
        deployment: str,
        function: str,
        args: Sequence[Any] = (),
        *,
        deadline_s: float = CALL_DEADLINE_S,
        key: str | None = None,
        as_json: bool = False,
        expects: str = "",
    ) -> Any:
        """Return what the function returned, and nothing else. `Raises:` as `call`."""
        wish = self._wish(deployment, function, args, deadline_s, key, as_json, expects)
        _, reply, _ = await self._fulfil(wish)
        return reply.ok[0] if reply.ok else None

    def _wish(
        self,
        deployment: str,
        function: str,
        args: Sequence[Any],
        deadline_s: float,
        key: str | None,
        as_json: bool,
        expects: str,
    ) -> _Wish:
        if deadline_s <= 0:
            raise InvalidError(f"deadline of {deadline_s} s, expected more than 0")
        return _Wish(
            deployment=deployment,
            function=function,
            args=list(args),
            key=key,
            as_json=as_json,
            give_up_s=self._asker.clock.monotonic_s() + deadline_s,
            expects=expects,
        )

    @asynccontextmanager
    async def stream(
        self,
        deployment: str,
        function: str,
        args: Sequence[Any] = (),
        *,
        body: Source | None = None,
        deadline_s: float = CALL_DEADLINE_S,
        as_json: bool = False,
        expects: str = "",
    ) -> AsyncIterator[ByteCall]:
        """Yield a call while its guest runs, reads `body` and writes what iterating gives.

        `deadline_s` is the longest time without any byte that moves. `Raises:` as `call`, until the
        guest uses its streams; then as `ByteCall`.
        """
        if deadline_s <= 0:
            raise InvalidError(f"deadline of {deadline_s} s, expected more than 0")
        wish = _Wish(
            deployment=deployment, function=function, args=list(args), key=None, as_json=as_json,
            give_up_s=self._asker.clock.monotonic_s() + deadline_s, expects=expects, streams=True,
        )  # fmt: skip
        operation, reply, _ = await self._fulfil(wish)
        what = f"{operation} on deployment {deployment!r}"
        call = ByteCall(self._asker.bus, self._asker.clock, what, as_json=as_json)
        place = stream_place(reply.err) if reply.err is not None else None
        if place is None:
            call.end(reply)  # the guest used no stream
            yield call
            return
        call.begin(place)
        async with carried(call, body):
            yield call

    async def _fulfil(self, wish: _Wish) -> tuple[Operation, CallReply, int]:
        target = self._known(wish) or await self._found(wish)
        with call_span(target.op, attributes=target.attributes) as span:
            invocation = Invocation(
                op=target.op,
                args=wish.args,
                id=f"{self._calls}-{next(self._numbers)}",
                key=wish.key,
                type=target.operation.fingerprint,
                trace=span.traceparent,
                caller=self._caller_id,
            )
            try:
                reply, attempts = await self._send(wish, target, invocation)
            except IncompatibleError:
                # A rollout changed the function after it was looked up: the host refused before
                # running anything, so one more try with the type of today is safe.
                self._exposed.pop(wish.deployment, None)
                fresh = await self._found(wish)
                if fresh.operation == target.operation:
                    raise
                target, operation = fresh, fresh.operation
                invocation = changed(invocation, op=fresh.op, type=operation.fingerprint)
                reply, attempts = await self._send(wish, target, invocation)
            span.mark("lattice.host", reply.host)
        return target.operation, reply, attempts

    def _known(self, wish: _Wish) -> _Target | None:
        """Return the function from memory, None when it is not remembered as it is exposed now."""
        target = self._chosen.get((wish.deployment, wish.function, wish.expects))
        if target is None or self._exposed.get(wish.deployment) is not target.exposed:
            return None
        return target

    def _chose(self, wish: _Wish, exposed: Exposed) -> _Target:
        """Return the function meant, remembered from now on. `Raises:` as `choose`."""
        target = _Target(self._asker.names, wish.deployment, wish.choose(exposed), exposed)
        if len(self._chosen) >= CACHE_MAX:
            self._chosen.clear()
        self._chosen[wish.deployment, wish.function, wish.expects] = target
        return target

    async def _found(self, wish: _Wish) -> _Target:
        """Return the function among the remembered ones, or from a fresh look."""
        deployment = wish.deployment
        known = self._exposed.get(deployment)
        if known is not None:
            try:
                return self._chose(wish, known)
            except (NotFoundError, InvalidError):
                del self._exposed[deployment]
        answer = await self._look_up(wish)
        record = answer.get("record")
        exposed = record.get("exposed") if isinstance(record, dict) else None
        if len(self._exposed) >= CACHE_MAX:
            self._exposed.clear()
        self._exposed[deployment] = exposed = exposed if isinstance(exposed, dict) else {}
        return self._chose(wish, exposed)

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
        self, wish: _Wish, target: _Target, invocation: Invocation
    ) -> tuple[CallReply, int]:
        """Return the reply and the number of attempts. `Raises:` what the reply tells, too."""

        def body(attempt: int, granted_ms: int) -> bytes:
            once = changed(invocation, attempt=attempt, deadline_ms=granted_ms)
            encoded = codec.encode(once, as_json=wish.as_json)
            if len(encoded) > LARGE_BYTES_MAX:
                raise InvalidError(
                    f"arguments of {target.operation} take {len(encoded)} bytes, "
                    f"at most {LARGE_BYTES_MAX} fit in one call"
                )
            return encoded

        order = Order(
            deployment=wish.deployment,
            what=target.what,
            subject=target.subject,
            subject_at=target.subject_at,
            body=body,
            nobody=target.nobody,
            give_up_s=wish.give_up_s,
            is_keyed=wish.key is not None,
            headers=_headers(wish) if wish.as_json or wish.streams else {},
            as_json=wish.as_json,
            is_patient=True,
            leave=f"{target.departures}{invocation.id}",
            reply_share=REPLY_SHARE,
        )
        reply, attempts = await self._sender.send(order)
        if reply.err is not None and not (wish.streams and stream_place(reply.err)):
            raise from_wire(reply.err)
        return reply, attempts


def _headers(wish: _Wish) -> dict[str, str]:
    headers = {codec.CONTENT_TYPE: codec.JSON_TYPE} if wish.as_json else {}
    if wish.streams:
        headers[STREAM_HEADER] = OPEN
    return headers
