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
from dataclasses import dataclass, field
from functools import partial

import anyio

from hosts.callcontext import CallContext
from hosts.http.base import IDEMPOTENT, Exchange, Handler, HttpError, trace_of
from hosts.http.flow import CHUNK_BYTES
from hosts.http.lane import Lane, LostError
from hosts.http.lanes import Lanes
from hosts.invoker import REPLY_MARGIN_S, RETRY_PAUSES_S
from lattice.bus.base import Bus
from lattice.clock import Clock
from lattice.errors import (
    DeadlineExceededError,
    LatticeError,
    NoRouteError,
    OutcomeUnknownError,
    from_wire,
)
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


@dataclass(slots=True, kw_only=True)
class Forwarded:
    """What became of a request, for reports: who ran it, and the calls behind it."""

    host: str = ""
    generation: int = 0
    legs: list[Leg] = field(default_factory=list[Leg])


class Forwarder:
    """The requests that leave this host for others."""

    def __init__(self, *, bus: Bus, names: Names, clock: Clock, lanes: Lanes) -> None:
        self._bus = bus
        self._names = names
        self._clock = clock
        self._lanes = lanes

    def forward(self, deployment: str) -> Handler:
        """Return what answers requests of clients by any ready replica of a deployment.

        `Raises:` as `send`.
        """

        async def handle(exchange: Exchange) -> None:
            context = CallContext(
                deadline_at_s=self._clock.monotonic_s() + DEADLINE_S,
                trace=trace_of(exchange.head.headers),
            )
            await self.send(deployment, exchange, context)

        return handle

    async def send(self, deployment: str, exchange: Exchange, context: CallContext) -> Forwarded:
        """Answer one request by a ready replica of a deployment; the guarantees stand above.

        Raises:
            NoRouteError: no host has a ready replica, or each turned the request down.
            OutcomeUnknownError: it was lost on the way, and may have run.
            LatticeError: what the host that ran it told.
            HttpError: the client went away, or sent what is no body.
        """
        attempt = _Attempt(self._bus, self._names.http(deployment), exchange)
        body = await _held(exchange)
        attempt.is_held = body is not None
        pauses = iter(RETRY_PAUSES_S)
        losses = 0
        while True:
            left_s = context.left_s(self._clock.monotonic_s())
            try:
                with self._lanes.lane() as lane:
                    lane.what = f"{exchange.head.method} to {deployment}"
                    lane.watch = partial(_until_left, exchange, lane)
                    await attempt.run(lane, _request(exchange, body, context, lane, left_s), left_s)
            except _TurnedDownError as error:
                pause_s = next(pauses, None)
                if pause_s is None or left_s <= pause_s:
                    raise error.reason from None
                await anyio.sleep(pause_s)
            except LostError as lost:
                losses += 1
                if not attempt.may_run_again or losses >= LOST_MAX:
                    raise _unknown(lost, attempt) from lost
            except NoRouteError as error:
                if attempt.told.host:
                    raise  # by the guest, for a call that it made
                raise NoRouteError(
                    f"no host has a ready replica of {deployment} that answers HTTP now "
                    "(see `lattice get replicas`)"
                ) from error
            else:
                return attempt.told


class _TurnedDownError(Exception):
    """A host did not begin with the request, since its replica is on its way out."""

    def __init__(self, reason: NoRouteError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Attempt:
    """One request on its way to whatever host takes it, once or again."""

    def __init__(self, bus: Bus, subject: str, exchange: Exchange) -> None:
        self.told = Forwarded()
        self._bus = bus
        self._subject = subject
        self._exchange = exchange
        self.is_held = False
        """Whether the request's body goes along with its head, and so can go again."""
        self._has_begun = False

    @property
    def may_run_again(self) -> bool:
        """Tell whether it does no harm to send the request once more."""
        is_idempotent = self._exchange.head.method in IDEMPOTENT
        return is_idempotent and self.is_held and not self._has_begun

    async def run(self, lane: Lane, request: HttpRequest, left_s: float) -> None:
        """Send the request and give its answer to the client."""
        try:
            packet = await self._bus.request(
                self._subject, encode(request), timeout_s=left_s + REPLY_MARGIN_S
            )
            reply = decode_as(HttpReply, packet.body)
            self.told = Forwarded(host=reply.host, generation=reply.generation, legs=reply.legs)
            _require_no_error(reply)
            if reply.body is not None and not reply.trailers:
                self._has_begun = True
                self._exchange.answer(reply.status, fields(reply.headers), reply.body)
            elif reply.body is not None:
                await self._begin(reply.status, reply.headers)
                await self._exchange.write(reply.body)
                await self._exchange.finish(fields(reply.trailers))
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
            if not self.is_held:
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
            while part := await self._exchange.read(CHUNK_BYTES):
                await lane.send_data(part)
            await lane.send("end", headers=self._exchange.trailers)
        except (HttpError, LatticeError, LostError) as error:
            lane.fail(error)

    async def _download(self, lane: Lane, reply: HttpReply) -> None:
        exchange = self._exchange
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
        await self._exchange.begin(status, fields(headers))


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
