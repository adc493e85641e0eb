"""Sends one call until it is answered: over any replica, again where that is safe, held if need be.

Both who calls from outside and hosts use it, so that the guarantees are the same. A call runs at
most once without a key and at least once with one (`lattice.routing.attempts` has the rules). It
never looks into the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field

import anyio

from lattice.bus.base import Bus, Packet
from lattice.client.holding import Held, Holder
from lattice.clock import Clock
from lattice.errors import (
    DeadlineExceededError,
    LatticeError,
    NoRouteError,
    OutcomeUnknownError,
    UnavailableError,
)
from lattice.routing.attempts import Attempts
from lattice.wire.codec import decode_as
from lattice.wire.messages import CallReply
from lattice.wire.pulse import PULSE_HEADERS, SILENCE_S, is_pulse

DEPLOYMENTS_MAX = 1024
"""Deployments of which the hosts are remembered that answered last."""

HOSTS_MAX = 8
"""Hosts of one deployment that are remembered: a lost call goes to the one that answered last."""


Aim = tuple[str, int]
"""A host, and the generation of the replica that is meant there."""


class LostError(Exception):
    """Whoever had the call is gone or silent: it may have run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One call to send. Times are by the sender's clock."""

    deployment: str
    what: str  # for messages
    subject: str  # of any ready replica
    subject_at: Callable[[str, int], str]  # of a host and generation
    body: Callable[[int, int], bytes]  # for an attempt's number and the milliseconds it is granted
    nobody: str  # the message when nobody took it
    give_up_s: float
    is_keyed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    as_json: bool = False
    is_patient: bool = False  # waits for a replica until the end even if none is known to come
    reply_share: float = 1.0  # part of the time left that the callee is granted
    reply_margin_s: float = 0.0  # waited beyond the time left, so that its own error arrives


class Sender:
    """Sends calls over one bus; remembers which hosts answered last."""

    def __init__(self, bus: Bus, clock: Clock, *, holder: Holder) -> None:
        self._bus = bus
        self._clock = clock
        self._holder = holder
        self._answered: dict[str, dict[str, int]] = {}  # host -> generation, the last one last

    async def send(self, order: Order) -> tuple[CallReply, int]:
        """Return the reply, which may tell of an error, and the number of attempts.

        Raises:
            NoRouteError: nobody took the call; nothing was run.
            DeadlineExceededError: no answer in time, or it was lost too often; whether it took
                effect is unknown.
            OverloadedError: too many calls wait for replicas already.
            LatticeError: as `Bus.request`.
        """
        attempts = Attempts(order.is_keyed)
        tried: set[str] = set()  # hosts that were chosen
        with _Waiting(self._holder, order) as waiting:
            while True:
                aim = self._choose(order, attempts, tried)
                try:
                    reply = await self._attempt(order, attempts, aim)
                except NoRouteError:
                    if aim is None and not await waiting.turn():
                        await self._again(order, attempts, _nobody(order))
                except LostError as lost:
                    await self._after_loss(order, attempts, lost)
                except UnavailableError as error:
                    if not order.is_keyed:
                        raise
                    await self._again(order, attempts, error)  # unsent, and the bus comes back
                else:
                    if not _is_unrun(reply):
                        return reply, attempts.made
                    await self._again(order, attempts, _nobody(order))

    async def send_at(self, order: Order, aims: Iterable[Aim]) -> CallReply | None:
        """Return the reply of the first of some replicas that begins a call, None when none did.

        With a key, one that was lost counts as not begun. `Raises:` as `send`, no NoRouteError.
        """
        attempts = Attempts(order.is_keyed)
        for aim in aims:
            try:
                reply = await self._attempt(order, attempts, aim)
            except (NoRouteError, LostError):
                continue
            if not _is_unrun(reply):
                return reply
        return None

    def _choose(self, order: Order, attempts: Attempts, tried: set[str]) -> Aim | None:
        """Return where to send a lost call: to the host that answered last; None: to any."""
        if not attempts.lost:
            return None
        known = self._answered.get(order.deployment, {})
        host = next((host for host in reversed(known) if host not in tried), None)
        if host is None:
            return None
        tried.add(host)
        return host, known[host]

    async def _attempt(self, order: Order, attempts: Attempts, aim: Aim | None) -> CallReply:
        """Return the reply of one attempt.

        Raises:
            NoRouteError: nobody is there.
            LostError: whoever had it is gone, and the call has a key.
        """
        left_s = max(order.give_up_s - self._clock.monotonic_s(), 0.001)
        body = order.body(attempts.begin(), max(int(left_s * 1000 * order.reply_share), 1))
        subject = order.subject if aim is None else order.subject_at(*aim)
        wait_s = left_s + order.reply_margin_s
        try:
            if order.is_keyed:
                packet = await self._while_it_lives(subject, body, order.headers, wait_s)
            else:
                packet = await self._bus.request(
                    subject, body, timeout_s=wait_s, headers=order.headers or None
                )
        except (NoRouteError, LostError):
            if aim is not None:
                self._answered.get(order.deployment, {}).pop(aim[0], None)
            raise
        except DeadlineExceededError:
            raise DeadlineExceededError(
                f"call of {order.what}: no answer in time; whether it took effect is unknown",
                deployment=order.deployment,
            ) from None
        reply = decode_as(CallReply, packet.body, as_json=order.as_json)
        if order.is_keyed and _was_ended(reply):
            self._answered.get(order.deployment, {}).pop(reply.host, None)
            raise LostError("the host ended it")
        if reply.host:
            self._remember(order.deployment, reply.host, reply.generation)
        return reply

    async def _while_it_lives(
        self, subject: str, body: bytes, headers: Mapping[str, str], wait_s: float
    ) -> Packet:
        """Return the reply of somebody who gives signs of life until then. `Raises:` as above."""
        end_s = self._clock.monotonic_s() + wait_s
        packets = self._bus.request_many(
            subject, body, timeout_s=wait_s, headers={**headers, **PULSE_HEADERS}
        )
        try:
            async with aclosing(packets):
                while True:
                    packet: Packet | None = None
                    with anyio.move_on_after(SILENCE_S) as silence:
                        packet = await anext(packets, None)
                    if packet is None:
                        if self._clock.monotonic_s() >= end_s:
                            raise DeadlineExceededError("no answer in time")
                        if silence.cancelled_caught:
                            raise LostError(f"no sign of life for {SILENCE_S:g} s")
                        raise NoRouteError(f"nobody answers on {subject}")
                    if not is_pulse(packet.body, packet.headers):
                        return packet
        except OutcomeUnknownError as error:
            raise LostError(error.message) from error

    async def _again(self, order: Order, attempts: Attempts, error: LatticeError) -> None:
        """Wait before the next attempt of a call that nobody began.

        Raises:
            LatticeError: the one given, when there is no next attempt.
        """
        pause_s = attempts.after_unrun(order.give_up_s - self._clock.monotonic_s())
        if pause_s is None:
            raise error
        await anyio.sleep(pause_s)

    async def _after_loss(self, order: Order, attempts: Attempts, lost: LostError) -> None:
        left_s = order.give_up_s - self._clock.monotonic_s()
        pause_s = attempts.after_loss(left_s)
        if pause_s is None:
            raise DeadlineExceededError(
                f"call of {order.what} was lost {attempts.lost} times ({lost}); whether it took "
                "effect is unknown",
                deployment=order.deployment,
            ) from lost
        await anyio.sleep(pause_s)

    def _remember(self, deployment: str, host: str, generation: int) -> None:
        known = self._answered.get(deployment)
        if known is None:
            if len(self._answered) >= DEPLOYMENTS_MAX:
                self._answered.clear()
            known = self._answered[deployment] = {}
        known.pop(host, None)
        known[host] = generation
        if len(known) > HOSTS_MAX:
            del known[next(iter(known))]


class _Waiting:
    """The place of one call among the held ones, which it takes when nobody answers."""

    def __init__(self, holder: Holder, order: Order) -> None:
        self._holder = holder
        self._order = order
        self._stack = ExitStack()
        self._held: Held | None = None

    def __enter__(self) -> _Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._stack.close()

    async def turn(self) -> bool:
        """Return True when the call is to be tried, False when nobody is known to come.

        Raises:
            NoRouteError: nobody is, and the call does not wait for that.
            OverloadedError: there is no place.
        """
        order = self._order
        if self._held is None:
            self._held = self._stack.enter_context(self._holder.hold(order.deployment))
        self._held.missed()
        if await self._held.turn(order.give_up_s):
            return True
        if not order.is_patient:
            raise _nobody(order)
        self._held = None
        self._stack.close()
        return False


def _nobody(order: Order) -> NoRouteError:
    return NoRouteError(order.nobody, deployment=order.deployment)


def _is_unrun(reply: CallReply) -> bool:
    """Tell whether the call was turned down before it began.

    A host that has no ready replica (any more) answers without its name. With its name, the callee
    itself found no route for a call that it made.
    """
    return not reply.host and (reply.err or {}).get("kind") == NoRouteError.kind


def _was_ended(reply: CallReply) -> bool:
    """Tell whether a host that stops ended the call, before its time was over."""
    err = reply.err
    if err is None or err.get("kind") != DeadlineExceededError.kind:
        return False
    details = err.get("details")
    return isinstance(details, dict) and bool(details.get("ended"))
