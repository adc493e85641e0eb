"""One connection to NATS as the bus and the JetStream parts of this package use it: the seam.

Two clients stand behind it: `lattice.bus.muxed_link`, our own, and `lattice.bus.nats_link` over
nats-py. Both are held to this text by tests/contract. It adds no meaning to what NATS does, and
nothing is kept while the connection is down.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from lattice.bus.base import ConnectionState, Packet
from lattice.bus.inbox import Inbox
from lattice.bus.intakes import Intakes
from lattice.bus.mailbox import Mailbox

CONTROL_S = 5.0
"""Seconds for one exchange with the server itself (flush, subscribe), reconnecting included."""

PING_INTERVAL_S = 10
"""Seconds between keep-alive pings: with `PINGS_MAX` a silent peer is noticed within 30 s."""

PINGS_MAX = 2
"""Pings without an answer after which the connection counts as dead."""

PENDING_BYTES_MAX = 2 * 1024 * 1024
"""Bytes in the outgoing buffer above which a publisher waits: twice the largest message."""

CLOSE_S = 2.0
"""Seconds for the last messages of a closing connection to leave."""

_VIOLATION = re.compile(
    r'permissions violation for (publish|subscription) to "([^"]*)"(?: using queue "([^"]*)")?',
    re.IGNORECASE,
)


class Attachment(Protocol):
    """A subscription that the server knows."""

    async def end(self) -> None:
        """Take no more messages; what is on its way is dropped."""
        ...

    async def drain(self) -> None:
        """Take no more messages, and return when those on their way have arrived, or when the
        time for it is over or the connection lost.
        """
        ...


class Link(Protocol):
    """A live connection, which mends itself until it is closed.

    `reconnects` counts the connections after the first, and `reconnect_listeners` are called
    after each of them. `inbox` is where replies are expected, `intakes` where guarded stores
    listen.
    """

    reconnects: int
    reconnect_listeners: set[Callable[[], None]]
    inbox: Inbox
    intakes: Intakes

    @property
    def state(self) -> ConnectionState:
        """Return whether the server can be reached now."""
        ...

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
        ...

    async def send(
        self,
        subject: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str = "",
    ) -> None:
        """Publish, to a subject that the caller has checked. `Raises:` as `Bus.publish`."""
        ...

    async def connected(self, timeout_s: float) -> None:
        """Return when there is a connection, at once if there is one now.

        Raises:
            UnavailableError: there is none within `timeout_s`, or this one was closed.
        """
        ...

    async def flush(self) -> None:
        """Return when the server has everything that was sent before.

        Raises:
            UnavailableError: it does not say so.
        """
        ...

    async def attach(self, subject: str, queue: str, mailbox: Mailbox[Packet]) -> Attachment:
        """Subscribe into a mailbox; on return the server knows the interest.

        Raises:
            DeniedError: this identity may not subscribe to it.
            UnavailableError: the server cannot be reached.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What the server says of a right that this identity has not."""

    operation: Literal["publish", "subscription"]
    subject: str
    queue: str = ""


def read_violation(text: str) -> Violation | None:
    """Return what an error of the server refuses, or None when it is about something else."""
    match = _VIOLATION.search(text)
    if match is None:
        return None
    operation: Literal["publish", "subscription"] = (
        "publish" if match[1].lower() == "publish" else "subscription"
    )
    return Violation(operation=operation, subject=match[2], queue=match[3] or "")


def is_no_responders(packet: Packet) -> bool:
    """Tell whether a reply is the server's word that nobody listens (NATS ADR-2)."""
    return not packet.body and packet.headers.get("Status") == "503"
