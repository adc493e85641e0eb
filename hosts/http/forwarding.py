"""Sends HTTP requests to a host that has a ready replica, and gives its answer to the client.

A small request with a small answer is one request and one reply on the bus; bodies above that
travel on lanes (`hosts.http.lanes`), both ways at once, and never as a whole in memory.

What it promises. A request runs **at most once**, with one exception: one with an idempotent method
(RFC 9110, 9.2.2), whose body is held whole, is sent again to another replica when the host that had
it is lost before the first byte of the answer has gone to the client; so it **may run twice**. A
request that a host turned down before it began is sent again whatever its method. Everything else
that is lost on the way is answered with 502, or cuts the answer off that has begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import anyio

from hosts.callcontext import CallContext
from hosts.http.base import IDEMPOTENT, Exchange, Handler, HttpError, trace_of
from hosts.http.flow import CHUNK_BYTES
from hosts.http.lane import Lane, LostError
from hosts.http.lanes import Lanes
from hosts.invoker import REPLY_MARGIN_S
from lattice.bus.base import Bus
from lattice.client.holding import Held, Holder
from lattice.clock import Clock
from lattice.errors import (
    DeadlineExceededError,
    LatticeError,
    NoRouteError,
    OutcomeUnknownError,
    from_wire,
)
from lattice.routing.attempts import Attempts
from lattice.routing.weights import Routes
from lattice.wire.codec import decode_as, encode
from lattice.wire.http import HttpReply, HttpRequest, fields, flat
from lattice.wire.messages import Leg
from lattice.wire.subjects import Names

DEADLINE_S = 3600.0
"""Seconds for a request of a client from outside, bodies included: the replica that answers knows
its own, shorter limit, and a host that is gone is noticed by its silence."""

HELD_BYTES_MAX = 64 * 1024
"""Bytes of a request's body that go along with its head, and can go twice; more is streamed."""

LOST_MAX = 2
"""How often one request may be lost on its way before its client is told: a replica that its
requests kill must not take the others along one after the other."""


UNTAKEN_S = 30.0
"""Seconds for which a request waits for a replica that comes, at most: as long as a typed call does
by default."""

TURNED_DOWN_S = 5.0
"""Seconds for which a request that hosts turn down is sent again: their replicas are about to end,
and the servers forget them within milliseconds."""


@dataclass(slots=True, kw_only=True)
class Forwarded:
    """What became of a request, for reports: who ran it, and the calls behind it."""

    host: str = ""
    generation: int = 0
    legs: list[Leg] = field(default_factory=list[Leg])


class Forwarder:
    """The requests that leave this host for others."""

    def __init__(
        self,
        *,
        host: str,
        bus: Bus,
        names: Names,
        clock: Clock,
        lanes: Lanes,
        holder: Holder,
        routes: Routes | None = None,
    ) -> None:
        self._host = host
        self._bus = bus
        self._names = names
        self._clock = clock
        self._lanes = lanes
        self._holder = holder
        self._routes = routes if routes is not None else Routes()

    def forward(self, deployment: str) -> Handler:
        """Return what answers requests of clients by any ready replica of a deployment.

        `Raises:` as `send`.
        """

        async def handle(exchange: Exchange) -> None:
            await self.send(deployment, exchange, self._context(exchange))

        return handle

    async def send(self, deployment: str, exchange: Exchange, context: CallContext) -> Forwarded:
        """Answer one request by a ready replica of a deployment; the guarantees stand above.

        While nobody answers it is held, if the leader says that a replica will come.

        Raises:
            NoRouteError: no host has a ready replica, or each turned the request down.
            OverloadedError: too many requests wait for replicas.
            OutcomeUnknownError: it was lost on the way, and may have run.
            LatticeError: what the host that ran it told.
            HttpError: the client went away, or sent what is no body.
        """
        attempt = _Attempt(self._bus, exchange)
        attempt.body = await _held(exchange)
        attempts = Attempts(is_keyed=False)
        began_s = self._clock.monotonic_s()
        subject = self._names.http(deployment)
        with ExitStack() as stack:
            held: Held | None = None
            while True:
                attempts.begin()
                try:
                    return await self._once(attempt, subject, deployment, context)
                except _TurnedDownError as error:
                    spent_s = self._clock.monotonic_s() - began_s
                    pause_s = attempts.after_unrun(TURNED_DOWN_S - spent_s)
                    if pause_s is None:
                        raise error.reason from None
                    await anyio.sleep(pause_s)
                except LostError as lost:
                    attempts.lost += 1
                    if not attempt.may_run_again or attempts.lost >= LOST_MAX:
                        raise _unknown(lost, attempt) from lost
                except _UntakenError:
                    if held is None:
                        held = stack.enter_context(self._holder.hold(deployment))
                    held.missed()
                    if not await held.turn(min(context.deadline_at_s, began_s + UNTAKEN_S)):
                        raise NoRouteError(
                            f"no host has a ready replica of {deployment} that answers HTTP now "
                            "(see `lattice get replicas`)"
                        ) from None

    async def send_to(
        self,
        deployment: str,
        generation: int,
        exchange: Exchange,
        context: CallContext | None = None,
    ) -> Forwarded | None:
        """Answer one request by a host of one generation; None when none of them began with it, and
        nothing of its body was read. `Raises:` as `send`, no NoRouteError of its own.
        """
        context = context or self._context(exchange)
        attempt = _Attempt(self._bus, exchange)
        if exchange.body is not None and len(exchange.body) <= HELD_BYTES_MAX:
            attempt.body = exchange.body
        for host in self._routes.hosts_of(deployment, generation, besides=self._host):
            subject = self._names.http_at(host, deployment, generation)
            try:
                return await self._once(attempt, subject, deployment, context)
            except (_TurnedDownError, _UntakenError):
                continue
            except LostError as lost:
                if not attempt.may_run_again:
                    raise _unknown(lost, attempt) from lost
        return None

    async def _once(
        self, attempt: _Attempt, subject: str, deployment: str, context: CallContext
    ) -> Forwarded:
        """Send a request once, and give its answer to the client."""
        left_s = context.left_s(self._clock.monotonic_s())
        exchange = attempt.exchange
        with self._lanes.lane() as lane:
            lane.what = f"{exchange.head.method} to {deployment}"
            lane.watch = partial(_until_left, exchange, lane)
            request = _request(exchange, attempt.body, context, lane, left_s)
            await attempt.run(lane, subject, request, left_s)
        return attempt.told

    def _context(self, exchange: Exchange) -> CallContext:
        """Return the context of a client's request."""
        return CallContext(
            deadline_at_s=self._clock.monotonic_s() + DEADLINE_S,
            trace=trace_of(exchange.head.headers),
        )


class _UntakenError(Exception):
    """Nobody listens for the request."""


class _TurnedDownError(Exception):
    """A host did not begin with the request, since its replica is on its way out."""

    def __init__(self, reason: NoRouteError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Attempt:
    """One request on its way to whatever host takes it, once or again."""

    def __init__(self, bus: Bus, exchange: Exchange) -> None:
        self.told = Forwarded()
        self.exchange = exchange
        self.body: bytes | None = None
        """The request's body, if it goes along with its head, and so can go again."""
        self._bus = bus
        self._has_begun = False

    @property
    def may_run_again(self) -> bool:
        """Tell whether it does no harm to send the request once more."""
        is_idempotent = self.exchange.head.method in IDEMPOTENT
        return is_idempotent and self.body is not None and not self._has_begun

    async def run(self, lane: Lane, subject: str, request: HttpRequest, left_s: float) -> None:
        """Send the request and give its answer to the client."""
        try:
            try:
                packet = await self._bus.request(
                    subject, encode(request), timeout_s=left_s + REPLY_MARGIN_S
                )
            except NoRouteError:
                raise _UntakenError from None
            reply = decode_as(HttpReply, packet.body)
            self.told = Forwarded(host=reply.host, generation=reply.generation, legs=reply.legs)
            _require_no_error(reply)
            if reply.body is not None and not reply.trailers:
                self._has_begun = True
                self.exchange.answer(reply.status, fields(reply.headers), reply.body)
            elif reply.body is not None:
                await self._begin(reply.status, reply.headers)
                await self.exchange.write(reply.body)
                await self.exchange.finish(fields(reply.trailers))
            else:
                lane.attach(reply.lane, reply.window)
                await self._converse(lane, reply)
        except BaseException:
            await lane.give_up()
            raise

    async def _converse(self, lane: Lane, reply: HttpReply) -> None:
        """Send the body that the client still sends, while the answer comes."""
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            if self.body is None:
                group.start_soon(self._upload, lane)
            try:
                await self._download(lane, reply)
            except Exception as error:  # noqa: BLE001 - raised again below, outside the task group
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _upload(self, lane: Lane) -> None:
        try:
            while part := await self.exchange.read(CHUNK_BYTES):
                await lane.send_data(part)
            await lane.send("end", headers=self.exchange.trailers)
        except (HttpError, LatticeError, LostError) as error:
            lane.fail(error)

    async def _download(self, lane: Lane, reply: HttpReply) -> None:
        exchange = self.exchange
        if reply.status:
            await self._begin(reply.status, reply.headers)
        while True:
            frame = await lane.receive()
            match frame.kind:
                case "inform":
                    await exchange.inform(frame.status, fields(frame.headers))
                case "head":
                    await self._begin(frame.status, frame.headers)
                case "data":
                    await exchange.write(frame.data)
                case _:
                    self.told.legs = frame.legs
                    await exchange.finish(fields(frame.headers))
                    return

    async def _begin(self, status: int, headers: Sequence[bytes]) -> None:
        self._has_begun = True
        await self.exchange.begin(status, fields(headers))


def _request(
    exchange: Exchange, body: bytes | None, context: CallContext, lane: Lane, left_s: float
) -> HttpRequest:
    head = exchange.head
    return HttpRequest(
        method=head.method,
        scheme=head.scheme,
        authority=head.authority,
        target=head.target,
        headers=flat(head.headers),
        body=body,
        trailers=[] if body is None else flat(exchange.trailers),
        peer=head.peer,
        lane=lane.address,
        window=lane.inflow.granted,
        deadline_ms=max(1, round(left_s * 1000)),
        hops=context.hops,
        trace=context.trace,
        caller=context.caller,
        chain=list(context.chain),
    )


async def _held(exchange: Exchange) -> bytes | None:
    """Return the whole body when it is short, None when it is to be streamed.

    A short one that is still on its way is waited for, so that it can go twice; unless the client
    waits itself, to be told whether to send it.
    """
    body = exchange.body
    if body is not None:
        return body if len(body) <= HELD_BYTES_MAX else None
    names = dict(exchange.head.headers)
    length = names.get(b"content-length", b"")
    if not length.isdigit() or int(length) > HELD_BYTES_MAX or b"expect" in names:
        return None
    held = bytearray()
    while part := await exchange.read(HELD_BYTES_MAX):
        held += part
    return bytes(held)


def _require_no_error(reply: HttpReply) -> None:
    """Raise the error of a reply, if it has one; without a host it is no word of the guest."""
    if reply.err is None:
        return
    error = from_wire(reply.err)
    if not reply.host and isinstance(error, NoRouteError):
        raise _TurnedDownError(error)
    if not reply.host and isinstance(error, DeadlineExceededError):
        raise LostError(str(error))  # the host closed before the guest had answered
    raise error


def _unknown(lost: LostError, attempt: _Attempt) -> OutcomeUnknownError:
    where = f" on {attempt.told.host}" if attempt.told.host else ""
    return OutcomeUnknownError(f"{lost}; whether the request took effect{where} is unknown")


async def _until_left(exchange: Exchange, lane: Lane) -> None:
    await exchange.closed()
    lane.fail(HttpError("the client went away before the answer was finished"))
