"""What a muxed connection knows beyond its socket: who listens, who waits for a reply or a pong.

It outlives the sockets: interests and requests stay when one is lost, and go on over the next.
Bytes go in and come out; it has no socket and no clock, and writes to no log.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import MemberDescriptorType
from typing import cast

from lattice.bus.base import Packet
from lattice.bus.inbox import Inbox
from lattice.bus.link import Violation
from lattice.bus.muxed_wire import Line, Parser, read_headers, subscribe_line
from lattice.errors import LatticeError

Deliver = Callable[[bytes, bytes, bytes, bytes], None]
"""Takes a message at once: its subject, reply subject, header block and body."""

Slot = asyncio.Future[Packet | None]
"""Where the reply to one request goes; None says that its time is over."""


@dataclass(eq=False, slots=True, kw_only=True)
class Interest:
    """A subscription; `is_settled` once the server took it, or refused it (`is_denied`)."""

    sid: bytes
    subject: str
    queue: str
    deliver: Deliver
    is_settled: bool = False
    is_denied: bool = False

    @property
    def line(self) -> bytes:
        """Return what tells the server."""
        return subscribe_line(self.subject, self.queue, self.sid)


class MuxedSession:
    """The state of one link: `interests` by subscription id, the requests, the pings."""

    def __init__(self, inbox: Inbox) -> None:
        self.interests: dict[bytes, Interest] = {}
        self._inbox = inbox
        self._prefix = f"{inbox.base}."
        self._cut = len(self._prefix.encode())
        self._sids = itertools.count(1)
        self._asked: dict[bytes, tuple[Slot, str, bool]] = {}
        self._pings: deque[asyncio.Future[None] | None] = deque()
        self._parser = Parser()

    def receive(self, data: bytes) -> Sequence[Line]:
        """Deliver every message in `data`, and return what the server says besides.

        Raises:
            DecodeError: this is no NATS server's protocol.
        """
        lines: list[Line] = []
        interests = self.interests
        for frame in self._parser.feed(data):
            if isinstance(frame, Line):
                lines.append(frame)
            elif (interest := interests.get(frame[0])) is not None:
                interest.deliver(frame[1], frame[2], frame[3], frame[4])
        return lines

    # --- subscriptions ----------------------------------------------------------------------

    def attach(self, subject: str, queue: str, deliver: Deliver) -> Interest:
        """Return a new interest; its line has to be sent."""
        sid = b"%d" % next(self._sids)
        interest = Interest(sid=sid, subject=subject, queue=queue, deliver=deliver)
        self.interests[sid] = interest
        return interest

    def detach(self, interest: Interest) -> bool:
        """Deliver no more to an interest; tell whether it still was one."""
        return self.interests.pop(interest.sid, None) is not None

    def lines(self) -> bytes:
        """Return what tells a new server of every interest."""
        return b"".join([interest.line for interest in self.interests.values()])

    def refuse(self, violation: Violation) -> bool:
        """Mark the interests on their way that the server refuses; tell if there were any."""
        wanted = (violation.subject.lower(), violation.queue.lower())
        refused = [
            one
            for one in self.interests.values()
            if not one.is_settled and (one.subject.lower(), one.queue.lower()) == wanted
        ]
        for one in refused:
            one.is_denied = True
        return bool(refused)

    # --- requests ---------------------------------------------------------------------------

    def expect(self, slot: Slot, subject: str, *, ends_with_connection: bool) -> tuple[bytes, str]:
        """Return a token to `forget`, and the address whose first reply goes to `slot`."""
        number = self._inbox.next_token()
        token = b"%d" % number
        self._asked[token] = (slot, subject, ends_with_connection)
        return token, f"{self._prefix}{number}"

    def forget(self, token: bytes) -> None:
        """Expect no reply any more."""
        del self._asked[token]

    def reply(self, subject: bytes, reply_to: bytes, headers: bytes, body: bytes) -> None:
        """Hand what came to the inbox to who asked; it is the inbox's own `Deliver`."""
        packet = read_packet(subject, reply_to, headers, body)
        asked = self._asked.get(subject[self._cut :])
        if asked is None:
            self._inbox.deliver(packet)
        elif not asked[0].done():
            asked[0].set_result(packet)

    def deny(self, subject: str, error: LatticeError) -> bool:
        """Fail the requests to a subject that may not be published to; tell if there were any."""
        lower = subject.lower()
        denied = [slot for slot, to, _ in self._asked.values() if to.lower() == lower]
        for slot in denied:
            fail(slot, error)
        return self._inbox.deny(subject, error) or bool(denied)

    # --- the connection ---------------------------------------------------------------------

    def expect_pong(self, slot: asyncio.Future[None] | None) -> None:
        """Resolve `slot` when the ping is answered that is sent now; None for nobody's ping."""
        self._pings.append(slot)

    def pong(self) -> None:
        """Take the answer to the oldest ping."""
        slot = self._pings.popleft() if self._pings else None
        if slot is not None and not slot.done():
            slot.set_result(None)

    def begin(self) -> None:
        """Expect the first bytes of another server."""
        self._parser = Parser()

    def lose(self, error: LatticeError) -> None:
        """Fail the pings, and the requests whose answers were lost with the connection."""
        pings, self._pings = self._pings, deque()
        for ping in pings:
            if ping is not None:
                fail(ping, error)
        for slot, _, ends_with_connection in tuple(self._asked.values()):
            if ends_with_connection:
                fail(slot, error)
        self._inbox.lose(error)

    def close(self, error: LatticeError) -> None:
        """Fail all requests, because no connection will follow."""
        for slot, _, _ in tuple(self._asked.values()):
            fail(slot, error)
        self._inbox.close(error)


_new_packet = partial(object.__new__, Packet)
_set_subject, _set_body, _set_headers, _set_reply_to = (
    cast("MemberDescriptorType", vars(Packet)[name]).__set__
    for name in ("subject", "body", "headers", "reply_to")
)


def read_packet(subject: bytes, reply_to: bytes, headers: bytes, body: bytes) -> Packet:
    """Return a message as the bus hands it on; a subject that is no UTF-8 gets U+FFFD.

    It fills the packet's slots itself: the `__init__` of a frozen dataclass takes three times as
    long, which is a tenth of all that a request costs its asker.
    """
    packet = _new_packet()
    _set_subject(packet, subject.decode("utf-8", "replace"))
    _set_body(packet, body)
    _set_headers(packet, read_headers(headers) if headers else {})
    _set_reply_to(packet, reply_to.decode("utf-8", "replace") if reply_to else "")
    return packet


def fail(slot: asyncio.Future[Packet | None] | asyncio.Future[None], error: Exception) -> None:
    """Fail what somebody waits for, unless it is settled."""
    if not slot.done():
        slot.set_exception(error)
        slot.exception()  # its owner may have been cancelled; an error nobody reads is no fault
