"""The link over nats-py: see `lattice.bus.link`, held to it by tests/contract.

It sends, subscribes, waits for replies, knows whether the server can be reached, and turns what
nats-py reports into the errors of the lattice. It adds no meaning to what NATS does and keeps
nothing while the connection is down.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio
from nats import errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from lattice.bus.base import DRAIN_S, PAYLOAD_BYTES_MAX, ConnectionState, Packet
from lattice.bus.inbox import Inbox, OneReply
from lattice.bus.intakes import Intakes
from lattice.bus.link import CONTROL_S, is_no_responders, read_violation
from lattice.bus.mailbox import Mailbox
from lattice.bus.matching import check_pattern, check_payload
from lattice.bus.nats_client import NatsClient
from lattice.errors import (
    DeadlineExceededError,
    DeniedError,
    NoRouteError,
    OutcomeUnknownError,
    UnavailableError,
)

PENDING_MAX = 65_536
"""Messages between nats-py's reader and our own bounded queues, which take them at once."""

RECHECK_S = 0.01
"""Seconds between looks while nats-py knows of a loss and has not told us yet."""

_log = logging.getLogger(__name__)

Deliver = Callable[[Msg], Awaitable[None]]


@dataclass(eq=False, slots=True, kw_only=True)
class _Interest:
    """A subscription on its way to the server, which may refuse it."""

    subject: str
    queue: str
    is_denied: bool = False


class NatsLink:
    """A live connection, made and closed by `lattice.bus.nats_connect.connect_nats`.

    `reconnects` counts the connections after the first, and `reconnect_listeners` are called
    after each of them. `inbox` is where replies are expected, `intakes` where guarded stores
    listen.
    """

    def __init__(self, client: NatsClient, *, inbox_prefix: str) -> None:
        self.reconnects = 0
        self.reconnect_listeners: set[Callable[[], None]] = set()
        self.inbox = Inbox(inbox_prefix)
        self.intakes = Intakes()
        self._client = client
        self._interests: set[_Interest] = set()
        self._up = anyio.Event()
        self._complaint = ""

    @property
    def state(self) -> ConnectionState:
        """Return whether the server can be reached now."""
        if self._client.is_closed:
            return "closed"
        is_up = self._up.is_set() and self._client.is_connected
        return "connected" if is_up else "disconnected"

    async def ask(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        ends_with_connection: bool = True,
    ) -> Packet:
        """Return the first reply; with `ends_with_connection` do not outwait a lost connection.

        Raises:
            UnavailableError: no connection came within `timeout_s`; nothing was sent.
            OutcomeUnknownError: the connection was lost while waiting for the reply.
            NoRouteError: nobody listens.
            DeadlineExceededError: no reply came in time.
            DeniedError: this identity may not publish to the subject.
        """
        end_s = anyio.current_time() + timeout_s
        await self.connected(timeout_s)
        slot = OneReply()
        with self.inbox.expect(slot, subject, ends_with_connection=ends_with_connection) as address:
            await self.send(subject, body, headers=headers, reply_to=address)
            with anyio.CancelScope(deadline=end_s) as scope:
                reply = await slot.future
            if scope.cancelled_caught:
                raise DeadlineExceededError(
                    f"no reply on {subject} within {timeout_s:g} s",
                    subject=subject,
                    timeout_s=timeout_s,
                )
        if is_no_responders(reply):
            raise NoRouteError(f"nobody answers on {subject}", subject=subject)
        return reply

    async def send(
        self,
        subject: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str = "",
    ) -> None:
        """Publish, to a subject that the caller has checked. `Raises:` as `Bus.publish`."""
        limit_bytes = min(PAYLOAD_BYTES_MAX, self._client.max_payload)
        check_payload(subject, body, headers, limit_bytes=limit_bytes)
        self._check_connected()
        try:
            await self._client.publish(
                self.intakes.address(subject),
                body,
                reply=reply_to,
                headers=dict(headers) if headers else None,
            )
        except errors.Error as error:
            raise UnavailableError(f"cannot publish to {subject}: {_reason(error)}") from None

    async def connected(self, timeout_s: float) -> None:
        """Return when there is a connection, at once if there is one now.

        Raises:
            UnavailableError: there is none within `timeout_s`, or this one was closed.
        """
        with anyio.move_on_after(timeout_s):
            while not self._client.is_closed:
                await self._up.wait()
                if self.state == "connected":
                    return
                await anyio.sleep(RECHECK_S)
        self._check_connected()

    async def flush(self) -> None:
        """Return when the server has everything that was sent before.

        Raises:
            UnavailableError: it does not say so.
        """
        self._check_connected()
        try:
            with anyio.fail_after(CONTROL_S):
                await self._client.flush(timeout=int(CONTROL_S))
        except (errors.Error, TimeoutError, OSError) as error:
            raise UnavailableError(
                f"NATS did not confirm what was sent: {_reason(error)}"
            ) from None

    async def attach(self, subject: str, queue: str, mailbox: Mailbox[Packet]) -> _Attached:
        """Subscribe into a mailbox; on return the server knows the interest.

        Raises:
            DeniedError: this identity may not subscribe to it.
            UnavailableError: the server cannot be reached.
        """
        check_pattern(subject)

        async def deliver(message: Msg) -> None:
            mailbox.offer(_packet(message))

        await self.connected(CONTROL_S)
        return _Attached(await self._subscribe(subject, queue, deliver))

    # --- what connect_nats and nats-py tell -------------------------------------------------

    async def start(self) -> None:
        """Open the inbox of a connection that has just been made.

        Raises:
            DeniedError: this identity may not subscribe to its own inbox.
        """

        async def deliver(message: Msg) -> None:
            self.inbox.deliver(_packet(message))

        self._up.set()
        await self._subscribe(self.inbox.pattern, "", deliver)

    async def on_error(self, error: Exception) -> None:
        """Give a refusal to who caused it, and log everything else without a traceback."""
        violation = read_violation(str(error))
        if violation is None:
            self._complain(_reason(error))
            return
        subject, queue = violation.subject, violation.queue
        if violation.operation == "publish":
            subject = self.intakes.subject(subject)
            denial = DeniedError(
                f"this identity may not publish to {subject}", subject=subject, operation="publish"
            )
            if not self.inbox.deny(subject, denial):
                _log.warning("NATS refused a message: no permission to publish to %s", subject)
            return
        concerned = [
            one
            for one in self._interests
            if (one.subject.lower(), one.queue.lower()) == (subject.lower(), queue.lower())
        ]
        for one in concerned:
            one.is_denied = True
        if not concerned:
            _log.error("NATS refused a subscription: no permission to receive %s", subject)

    def _complain(self, reason: str) -> None:
        """Log what goes wrong with the connection, once while it goes on."""
        level = logging.DEBUG if reason == self._complaint else logging.WARNING
        self._complaint = reason
        _log.log(level, "NATS: %s", reason)

    async def on_disconnected(self) -> None:
        """Fail what was lost with the connection."""
        if self._up.is_set():
            self._up = anyio.Event()
        self.inbox.lose(OutcomeUnknownError("the connection to NATS was lost before an answer"))
        if not self._client.is_closed:
            _log.warning("connection to NATS lost, reconnecting")

    async def on_reconnected(self) -> None:
        """Let everybody go on who waits for a connection."""
        self.reconnects += 1
        self._complaint = ""
        self.intakes.forget()  # the server may have lost its data
        self._up.set()
        _log.info("connected to NATS again")
        for listener in tuple(self.reconnect_listeners):
            listener()

    async def on_closed(self) -> None:
        """Wake everybody who waits for a connection that will not come."""
        self._up.set()
        self.inbox.close(UnavailableError("this connection to NATS was closed"))

    async def _subscribe(self, subject: str, queue: str, deliver: Deliver) -> Subscription:
        """Subscribe and return when the server has taken the interest or refused it."""
        interest = _Interest(subject=subject, queue=queue)
        self._interests.add(interest)
        try:
            subscription = await self._client.subscribe(
                subject, queue, cb=deliver, pending_msgs_limit=PENDING_MAX
            )
            try:
                await self._settle()
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await _unsubscribe(subscription)
                raise
        except errors.Error as error:
            raise UnavailableError(f"cannot subscribe to {subject}: {_reason(error)}") from None
        finally:
            self._interests.discard(interest)
        if interest.is_denied:
            await _unsubscribe(subscription)
            raise DeniedError(
                f"this identity may not subscribe to {subject}",
                subject=subject,
                operation="subscribe",
            )
        return subscription

    async def _settle(self) -> None:
        """Flush; after a loss once more, because nats-py subscribes again when it reconnects."""
        for _ in range(2):
            reconnects = self.reconnects
            try:
                await self.flush()
            except UnavailableError:
                await self.connected(CONTROL_S)
                if self.reconnects == reconnects:
                    raise
            else:
                return

    def _check_connected(self) -> None:
        match self.state:
            case "connected":
                return
            case "disconnected":
                raise UnavailableError("the connection to NATS is down, reconnecting")
            case "closed":
                raise UnavailableError("this connection to NATS is closed")


@dataclass(eq=False, slots=True)
class _Attached:
    """See `lattice.bus.link.Attachment`."""

    subscription: Subscription

    async def end(self) -> None:
        """See `Attachment.end`."""
        await _unsubscribe(self.subscription)

    async def drain(self) -> None:
        """See `Attachment.drain`."""
        with anyio.move_on_after(DRAIN_S):
            try:
                await self.subscription.drain()  # type: ignore[no-untyped-call]  # by nats-py
            except errors.Error as error:
                _log.debug("subscription ends without draining: %s", _reason(error))
        await _unsubscribe(self.subscription)


async def _unsubscribe(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except errors.Error as error:
        _log.debug("subscription was over already: %s", _reason(error))


def _packet(message: Msg) -> Packet:
    return Packet(
        subject=message.subject,
        body=message.data,
        headers=message.headers or {},
        reply_to=message.reply,
    )


def _reason(error: BaseException) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__
