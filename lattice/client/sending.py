"""Sends one call until it is answered: over any replica, again where that is safe, held if need be.

Both who calls from outside and hosts use it, so that the guarantees are the same. A call runs at
most once without a key and at least once with one (`lattice.routing.attempts` has the rules). It
never looks into the values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field

import anyio

from lattice.bus.base import Bus, Packet
from lattice.client.holding import Held, Holder
from lattice.client.large import LargeBodies
from lattice.client.spreading import Spread, is_unrun, was_ended
from lattice.clock import Clock
from lattice.errors import (
    DeadlineExceededError,
    LatticeError,
    NoRouteError,
    OutcomeUnknownError,
    OverloadedError,
    UnavailableError,
)
from lattice.routing.attempts import UNRUN_PAUSE_MAX_S, Attempts
from lattice.routing.breaking import Breakers
from lattice.routing.budgets import Budgets
from lattice.wire.codec import decode_as, decode_values
from lattice.wire.large import DIRECT_BYTES_MAX, kept_result
from lattice.wire.messages import CallReply
from lattice.wire.pulse import PULSE_HEADERS, SILENCE_S, is_pulse

DEPLOYMENTS_MAX = 1024
"""Deployments of which the hosts are remembered that answered last."""

HOSTS_MAX = 8
"""Hosts of one deployment that are remembered: a lost call goes to the one that answered last."""

COUNTS_S = 1.0
"""Seconds that a call must have been given for its silence to speak against its target: a caller
that grants a millisecond is not to close it for others."""

LEFT_S = 0.1
"""Seconds for telling a host that the caller has left: publishing hardly ever waits."""

_log = logging.getLogger(__name__)

Aim = tuple[str, int]
"""A host, and the generation of the replica that is meant there."""


class LostError(Exception):
    """Whoever had the call is gone or silent: it may have run."""


@dataclass(slots=True, kw_only=True)
class Order:
    """One call to send, which nobody changes. Times are by the sender's clock.

    It is not frozen, because that takes three times as long to make, once for each call.
    """

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
    leave: str = ""  # where hosts hear that the caller has left; "": nowhere


class Sender:
    """Sends calls over one bus; remembers which hosts answered last."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        *,
        holder: Holder,
        breakers: Breakers | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._holder = holder
        self._large = LargeBodies(bus, clock)
        self._breakers = breakers if breakers is not None else Breakers()
        self._budgets = budgets if budgets is not None else Budgets()
        self._spread = Spread(clock)
        self._answered: dict[str, dict[str, int]] = {}  # host -> generation, the last one last

    async def send(self, order: Order) -> tuple[CallReply, int]:
        """Return the reply, which may tell of an error, and the number of attempts.

        Raises:
            NoRouteError: nobody took the call; nothing was run.
            DeadlineExceededError: no answer in time, or it was lost too often; whether it took
                effect is unknown.
            OverloadedError: too many calls wait for replicas already, or calls of the deployment
                were not answered lately; `retry_after_ms` tells when they may be again.
            LatticeError: as `Bus.request`.
        """
        target, began_ms = order.deployment, self._now_ms()
        if retry_after_ms := self._breakers.admit(target, began_ms):
            raise _is_open(order, retry_after_ms)
        self._budgets.sent(target)
        try:
            reply, made = await self._until_answered(order)
        except DeadlineExceededError:
            if order.give_up_s * 1000 - began_ms >= COUNTS_S * 1000:
                self._breakers.failed(target, began_ms, self._now_ms())
            else:
                self._breakers.left(target, began_ms)
            raise
        except BaseException:
            self._breakers.left(target, began_ms)
            raise
        self._breakers.answered(target, began_ms, self._now_ms())
        return reply, made

    async def _until_answered(self, order: Order) -> tuple[CallReply, int]:
        """Return the reply and the number of attempts. `Raises:` as `send`."""
        attempts = Attempts(order.is_keyed)
        tried: set[str] = set()  # hosts that were chosen
        refused: list[str] = []  # hosts that were full
        with _Waiting(self._holder, order) as waiting:
            while True:
                aim = self._choose(order, attempts, tried) if attempts.lost else None
                aim = aim or self._spread.aim(order.deployment, refused)
                try:
                    attempt = self._attempt(order, attempts, aim)
                    reply = await self._spread.counted(order.deployment, aim, attempt)
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
                    if not is_unrun(reply):
                        if self._spread.is_refused(order.deployment, reply, refused):
                            continue
                        return reply, attempts.made
                    if aim is not None:
                        self._spread.gone(order.deployment, aim[0])
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
            if not is_unrun(reply):
                return reply
        return None

    def _choose(self, order: Order, attempts: Attempts, tried: set[str]) -> Aim | None:
        """Return where to send a lost call: to the host that answered last; None: to any."""
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
        headers = order.headers
        if len(body) > DIRECT_BYTES_MAX:
            subject, headers = await self._put(order, subject, body)
            body, left_s = b"", max(order.give_up_s - self._clock.monotonic_s(), 0.001)
        wait_s = left_s + order.reply_margin_s
        try:
            if order.is_keyed:
                packet = await self._while_it_lives(subject, body, headers, wait_s)
            else:
                packet = await self._bus.request(
                    subject, body, timeout_s=wait_s, headers=headers or None
                )
        except (NoRouteError, LostError):
            if aim is not None:
                self._answered.get(order.deployment, {}).pop(aim[0], None)
                self._spread.gone(order.deployment, aim[0])
            raise
        except DeadlineExceededError:
            raise DeadlineExceededError(
                f"call of {order.what}: no answer in time; whether it took effect is unknown",
                deployment=order.deployment,
            ) from None
        except anyio.get_cancelled_exc_class():
            await self._leave(order)
            raise
        reply = _reply_in(packet.body, as_json=order.as_json)
        if reply.err is not None and (kept := kept_result(reply.err)) is not None:
            whole = await self._large.get(kept, give_up_s=order.give_up_s)
            reply = _reply_in(whole, as_json=order.as_json)
        if order.is_keyed and was_ended(reply):
            self._answered.get(order.deployment, {}).pop(reply.host, None)
            raise LostError("the host ended it")
        if reply.host:
            self._remember(order.deployment, reply.host, reply.generation)
        return reply

    async def _put(self, order: Order, subject: str, body: bytes) -> tuple[str, Mapping[str, str]]:
        """Return where the empty message goes that runs a call, whose arguments are there then."""
        try:
            return await self._large.put(subject, body, order.headers, give_up_s=order.give_up_s)
        except DeadlineExceededError:
            raise DeadlineExceededError(
                f"call of {order.what}: its arguments of {len(body)} bytes did not get to a host "
                "in time; nothing was run",
                deployment=order.deployment,
            ) from None

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
        while not self._budgets.take(order.deployment, self._now_ms()):
            if order.give_up_s - self._clock.monotonic_s() <= UNRUN_PAUSE_MAX_S:
                raise DeadlineExceededError(
                    f"call of {order.what} was lost ({lost}), and too many calls of "
                    f"{order.deployment} are sent again already; whether it took effect is unknown",
                    deployment=order.deployment,
                ) from lost
            await anyio.sleep(UNRUN_PAUSE_MAX_S)

    async def _leave(self, order: Order) -> None:
        """Tell whoever works on a call that nobody waits for it any more."""
        if not order.leave:
            return
        with anyio.move_on_after(LEFT_S, shield=True):
            try:
                await self._bus.publish(order.leave)
            except LatticeError as error:
                _log.debug("nobody was told that the caller of %s left: %s", order.what, error)

    def _now_ms(self) -> int:
        return int(self._clock.monotonic_s() * 1000)

    def _remember(self, deployment: str, host: str, generation: int) -> None:
        known = self._answered.get(deployment)
        if known is not None and len(known) == 1 and known.get(host) == generation:
            return
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
        self._stack: ExitStack | None = None  # made when it is held, which is seldom
        self._held: Held | None = None

    def __enter__(self) -> _Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stack is not None:
            self._stack.close()

    async def turn(self) -> bool:
        """Return True when the call is to be tried, False when nobody is known to come.

        Raises:
            NoRouteError: nobody is, and the call does not wait for that.
            OverloadedError: there is no place.
        """
        order = self._order
        if self._held is None or self._stack is None:
            self._stack = ExitStack()
            self._held = self._stack.enter_context(self._holder.hold(order.deployment))
        self._held.missed()
        if await self._held.turn(order.give_up_s):
            return True
        if not order.is_patient:
            raise _nobody(order)
        self._stack.close()
        self._held = self._stack = None
        return False


def _nobody(order: Order) -> NoRouteError:
    return NoRouteError(order.nobody, deployment=order.deployment)


def _is_open(order: Order, retry_after_ms: int) -> OverloadedError:
    return OverloadedError(
        f"call of {order.what} was not sent: calls of {order.deployment} were not answered lately, "
        f"the next one is tried in {retry_after_ms} ms",
        retry_after_ms=retry_after_ms,
        breaker="open",
        deployment=order.deployment,
    )


def _reply_in(body: bytes, *, as_json: bool) -> CallReply:
    if as_json:
        return decode_as(CallReply, body, as_json=True)
    return decode_values(CallReply, body, "ok", "err")
