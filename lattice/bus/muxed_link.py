"""The link over our own client: see `lattice.bus.link`, held to it by tests/contract.

A reply goes from the socket straight to who waits for it: no task, no queue, no lock. Which
server is connected, and when, is decided by `lattice.bus.muxed_connect`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

import anyio

from lattice.bus.base import DRAIN_S, PAYLOAD_BYTES_MAX, ConnectionState, Packet
from lattice.bus.inbox import Inbox
from lattice.bus.intakes import Intakes
from lattice.bus.link import CONTROL_S, is_no_responders, read_violation
from lattice.bus.mailbox import Mailbox
from lattice.bus.matching import check_pattern, check_payload
from lattice.bus.muxed_protocol import MuxedProtocol
from lattice.bus.muxed_session import Deliver, Interest, MuxedSession, Slot, read_packet
from lattice.bus.muxed_wire import ServerInfo, publication_head, unsubscribe_line
from lattice.errors import (
    DeadlineExceededError,
    DeniedError,
    NoRouteError,
    OutcomeUnknownError,
    UnavailableError,
)

YIELD_BYTES = 64 * 1024
"""Bytes after which a publisher lets others run: one that never waits would starve the loop."""

_log = logging.getLogger(__name__)


class MuxedLink:
    """See `lattice.bus.link.Link`; made and closed by `lattice.bus.muxed_connect.connect_muxed`.

    `info` is what the server said of itself last.
    """

    def __init__(self, *, inbox_prefix: str) -> None:
        self.reconnects = 0
        self.reconnect_listeners: set[Callable[[], None]] = set()
        self.inbox = Inbox(inbox_prefix)
        self.intakes = Intakes()
        self.session = MuxedSession(self.inbox)
        self.info = ServerInfo()
        self._loop = asyncio.get_running_loop()
        self._connection: MuxedProtocol | None = None
        self._limit_bytes = PAYLOAD_BYTES_MAX
        self._is_new = True
        self._is_closed = False
        self._changed = anyio.Event()
        self._complaint = ""
        self._unyielded_bytes = 0

    @property
    def state(self) -> ConnectionState:
        """See `Link.state`."""
        if self._is_closed:
            return "closed"
        return "disconnected" if self._connection is None else "connected"

    @property
    def connection(self) -> MuxedProtocol | None:
        """Return the socket that is in use now."""
        return self._connection

    async def ask(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        ends_with_connection: bool = True,
    ) -> Packet:
        """See `Link.ask`."""
        connection, left_s = self._connection, timeout_s
        if connection is None or connection.is_full:
            connection, left_s = await self._ready(timeout_s)
        check_payload(subject, body, headers, limit_bytes=self._limit_bytes)
        slot: Slot = self._loop.create_future()
        token, address = self.session.expect(
            slot, subject, ends_with_connection=ends_with_connection
        )
        timer = self._loop.call_later(left_s, _end, slot)
        try:
            where = self.intakes.address(subject)
            connection.publish(publication_head(where, address, len(body), headers), body)
            reply = await slot
        finally:
            timer.cancel()
            self.session.forget(token)
        if reply is None:
            raise DeadlineExceededError(
                f"no reply on {subject} within {timeout_s:g} s",
                subject=subject,
                timeout_s=timeout_s,
            )
        if not reply.body and is_no_responders(reply):
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
        """See `Link.send`. It waits while the server takes no bytes."""
        check_payload(subject, body, headers, limit_bytes=self._limit_bytes)
        connection = self._usable()
        if connection.is_full:
            await connection.room()
            connection = self._usable()
        where = self.intakes.address(subject)
        connection.publish(publication_head(where, reply_to, len(body), headers), body)
        self._unyielded_bytes += len(body) + len(where)
        if self._unyielded_bytes > YIELD_BYTES:
            self._unyielded_bytes = 0
            await anyio.lowlevel.checkpoint()

    def post(self, subject: str, body: bytes) -> bool:
        """Publish at once what is no larger than a message, for who answers while the socket is
        read; False, and nothing is sent, while there is no connection or it takes no bytes.
        """
        connection = self._connection
        if connection is None or connection.is_full:
            return False
        connection.publish(publication_head(subject, "", len(body)), body)
        return True

    async def connected(self, timeout_s: float) -> None:
        """See `Link.connected`."""
        with anyio.move_on_after(timeout_s):
            while self.state == "disconnected":
                await self._changed.wait()
        self._usable()

    async def flush(self) -> None:
        """See `Link.flush`."""
        connection = self._usable()
        try:
            with anyio.fail_after(CONTROL_S):
                await connection.ping()
        except (UnavailableError, TimeoutError) as error:
            reason = str(error) or f"no answer within {CONTROL_S:g} s"
            raise UnavailableError(f"NATS did not confirm what was sent: {reason}") from None

    async def attach(self, subject: str, queue: str, mailbox: Mailbox[Packet]) -> Attached:
        """See `Link.attach`."""
        check_pattern(subject)

        def deliver(subject: bytes, reply_to: bytes, headers: bytes, body: bytes) -> None:
            mailbox.offer(read_packet(subject, reply_to, headers, body))

        return await self.listen(subject, queue, deliver)

    async def listen(self, subject: str, queue: str, deliver: Deliver) -> Attached:
        """Subscribe; `deliver` takes each message while the socket is read, so it must be quick
        and raise nothing. `Raises:` as `attach`.
        """
        await self.connected(CONTROL_S)
        interest = self.session.attach(subject, queue, deliver)
        attached = Attached(self, interest)
        try:
            if self._connection is not None:
                self._connection.write(interest.line)
            await self._settle()
        except BaseException:
            attached.leave()
            raise
        interest.is_settled = True
        if interest.is_denied:
            attached.leave()
            raise DeniedError(
                f"this identity may not subscribe to {subject}",
                subject=subject,
                operation="subscribe",
            )
        return attached

    async def _ready(self, timeout_s: float) -> tuple[MuxedProtocol, float]:
        """Return a connection that takes bytes, and the seconds that are left then.

        Raises:
            UnavailableError: there is none in time.
        """
        end_s = self._loop.time() + timeout_s
        await self.connected(timeout_s)
        connection = self._usable()
        with anyio.move_on_after(end_s - self._loop.time()):
            await connection.room()
        if connection.is_full:
            raise UnavailableError("NATS takes no messages now, and too many wait already")
        return self._usable(), max(0.0, end_s - self._loop.time())

    async def _settle(self) -> None:
        """Return when the server knows every interest; after a loss the next one is told."""
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

    def _usable(self) -> MuxedProtocol:
        if self._connection is not None:
            return self._connection
        if self._is_closed:
            raise UnavailableError("this connection to NATS is closed")
        raise UnavailableError("the connection to NATS is down, reconnecting")

    # --- what `muxed_connect` tells -------------------------------------------------------------

    async def start(self) -> None:
        """Open the inbox of a link that has just been made.

        Raises:
            DeniedError: this identity may not subscribe to its own inbox.
        """
        await self.listen(self.inbox.pattern, "", self.session.reply)

    def use(self, connection: MuxedProtocol, info: ServerInfo, told: frozenset[bytes]) -> None:
        """Go on over a connection whose server knows the identity, and the interests `told`."""
        for sid in told - self.session.interests.keys():  # ended meanwhile
            connection.write(unsubscribe_line(sid))
        for sid in self.session.interests.keys() - told:
            connection.write(self.session.interests[sid].line)
        is_first, self._is_new = self._is_new, False
        self._complaint = ""
        self._connection = connection
        self.on_info(info)
        connection.take_into_use()
        if not is_first:
            self.reconnects += 1
            self.intakes.forget()  # the server may have lost its data
            _log.info("connected to NATS again")
        self._wake()
        if not is_first:
            for listener in tuple(self.reconnect_listeners):
                listener()

    async def changed(self) -> None:
        """Return when the connection was lost or made, or the server said something of itself."""
        await self._changed.wait()

    def complain(self, reason: str) -> None:
        """Log what goes wrong with the connection, once while it goes on."""
        level = logging.DEBUG if reason == self._complaint else logging.WARNING
        self._complaint = reason
        _log.log(level, "NATS: %s", reason)

    def close(self) -> None:
        """Wake everybody who waits for a connection that will not come."""
        self._is_closed = True
        self._connection = None
        closed = UnavailableError("this connection to NATS was closed")
        self.session.lose(closed)
        self.session.close(closed)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    # --- what the socket tells: see `muxed_protocol.Owner` --------------------------------------

    def on_info(self, info: ServerInfo) -> None:
        """See `Owner.on_info`."""
        self.info = info
        self._limit_bytes = min(PAYLOAD_BYTES_MAX, info.max_payload_bytes)
        self._wake()

    def on_error(self, text: str) -> None:
        """Give a refusal to who caused it, and log everything else. After what it does not
        forgive the server closes the connection.
        """
        violation = read_violation(text)
        if violation is None:
            self.complain(text)
        elif violation.operation == "publish":
            subject = self.intakes.subject(violation.subject)
            denial = DeniedError(
                f"this identity may not publish to {subject}", subject=subject, operation="publish"
            )
            if not self.session.deny(subject, denial):
                _log.warning("NATS refused a message: no permission to publish to %s", subject)
        elif not self.session.refuse(violation):
            _log.error(
                "NATS refused a subscription: no permission to receive %s", violation.subject
            )

    def on_lost(self, connection: MuxedProtocol) -> None:
        """See `Owner.on_lost`: fail what was lost with the connection."""
        if connection is not self._connection:
            return
        self._connection = None
        self.session.lose(OutcomeUnknownError("the connection to NATS was lost before an answer"))
        _log.warning("connection to NATS lost, reconnecting")
        self._wake()


class Attached:
    """See `lattice.bus.link.Attachment`."""

    def __init__(self, link: MuxedLink, interest: Interest) -> None:
        self._link = link
        self._interest = interest

    async def end(self) -> None:
        """See `Attachment.end`."""
        self.leave()

    async def drain(self) -> None:
        """See `Attachment.drain`: what the server sent before the pong has arrived before it."""
        connection = self._link.connection
        if connection is not None and self._interest.sid in self._link.session.interests:
            connection.write(unsubscribe_line(self._interest.sid))
            with anyio.move_on_after(DRAIN_S), suppress(UnavailableError):
                await connection.ping()
        self._link.session.detach(self._interest)

    def leave(self) -> None:
        """Deliver no more, and tell the server, if there is one."""
        connection = self._link.connection
        if self._link.session.detach(self._interest) and connection is not None:
            connection.write(unsubscribe_line(self._interest.sid))


def _end(slot: Slot) -> None:
    """Tell who waits for a reply that its time is over."""
    if not slot.done():
        slot.set_result(None)
