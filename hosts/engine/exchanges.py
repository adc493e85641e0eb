"""What a guest and the host say to each other over HTTP, besides what one call carries.

An exchange has bodies that go and come, each through a queue: the guest's side never waits in
here, and tasks of the host move the bytes. Number 0 is the request that the guest answers now:
whoever calls the guest sets it (`serving`). `hosts.engine.webfunctions` has what the adapter uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property
from typing import Protocol

from hosts.engine.bodyqueue import BodyQueue
from hosts.engine.webvalues import Headers
from lattice.errors import GuestTrapError

STATE, RECEIVING, SENDING, TRAILERS = range(4)
"""What of an exchange a guest waits for; STATE is the answer's head, to a request of its own."""


class GuestExchange(Protocol):
    """One exchange as the guest's functions see it."""

    @property
    def outgoing(self) -> BodyQueue:
        """Return what the guest sends."""
        ...

    def receiving(self) -> BodyQueue:
        """Return what comes in; from the first time on, somebody fetches it."""
        ...

    def is_ready(self, kind: int, wake: Callable[[], None]) -> bool:
        """Tell whether what the guest waits for is there; else `wake` is called when it may be."""
        ...


class Serving(ABC):
    """The request that a guest answers: what it receives, and what it sends.

    What is abstract is called on the guest's stack, so it must be quick.
    """

    @abstractmethod
    def fetch_body(self) -> None:
        """Begin to put what comes into `incoming`. Called once, when the guest wants it."""

    @abstractmethod
    def begin(self, status: int, headers: Headers) -> None:
        """Begin to send an answer; its body follows in `outgoing`."""

    @abstractmethod
    def inform(self, status: int, headers: Headers) -> None:
        """Send an informational answer."""

    @property
    def traceparent(self) -> str:
        """Return the trace that the request belongs to, "" when it has none."""
        return ""

    # Both are made when they are needed: by most requests never.

    @cached_property
    def incoming(self) -> BodyQueue:
        """Return what came in."""
        return BodyQueue()

    @cached_property
    def outgoing(self) -> BodyQueue:
        """Return what the guest sends."""
        return BodyQueue()

    def receiving(self) -> BodyQueue:
        """Return what comes in; see `GuestExchange`."""
        if "incoming" not in self.__dict__:
            self.fetch_body()
        return self.incoming

    def is_ready(self, kind: int, wake: Callable[[], None]) -> bool:
        """Tell whether what the guest waits for is there; see `GuestExchange`."""
        if kind == SENDING and "outgoing" not in self.__dict__:
            return True
        if kind != SENDING:
            self.receiving()
        self.incoming.on_change = self.outgoing.on_change = wake
        if kind in (RECEIVING, TRAILERS):
            return self.receiving().is_ready(is_end=kind == TRAILERS)
        return self.outgoing.room > 0 or self.outgoing.is_over


serving: ContextVar[Serving | None] = ContextVar("serving", default=None)
"""What the guest that is called in this context answers."""

trace: ContextVar[str] = ContextVar("trace", default="")
"""The `traceparent` of the call at work, where that is none over HTTP."""


def traceparent() -> str:
    """Return the trace that requests of the guest at work belong to, "" when there is none."""
    served = serving.get()
    return (served.traceparent if served is not None else "") or trace.get()


def lines_of(headers: Headers) -> str:
    """Return names and values as lines; each byte is the character of the same number."""
    return b"".join([b"%b\n%b\n" % field for field in headers]).decode("latin-1")


def fields_of(text: str) -> list[tuple[bytes, bytes]]:
    """Return names and values from lines.

    Raises:
        GuestTrapError: they are none.
    """
    if not text:
        return []
    try:
        lines = text.encode("latin-1").split(b"\n")
    except UnicodeEncodeError:
        raise GuestTrapError("the adapter sent a head that has more than bytes") from None
    return list(zip(lines[:-1:2], lines[1::2], strict=False))


def head_of(text: str) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Return status and fields of a head."""
    status, _, lines = text.partition("\n")
    return int(status), fields_of(lines)
