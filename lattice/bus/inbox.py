"""The one inbox of a connection: replies by token, and who fails when they cannot come.

One wildcard subscription carries the replies of all requests, so that a request costs no
subscription of its own. It sends nothing and waits for nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from lattice.bus.base import Packet
from lattice.errors import LatticeError


class Sink(Protocol):
    """Takes the replies to one request."""

    def offer(self, item: Packet) -> bool:
        """Take a reply, or say that it was not taken."""
        ...

    def fail(self, error: Exception) -> None:
        """Learn that no reply will come any more."""
        ...


class OneReply:
    """A sink for the first reply; `future` has it."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Packet] = asyncio.get_running_loop().create_future()

    def offer(self, item: Packet) -> bool:
        """See `Sink.offer`."""
        if self.future.done():
            return False
        self.future.set_result(item)
        return True

    def fail(self, error: Exception) -> None:
        """See `Sink.fail`."""
        if not self.future.done():
            self.future.set_exception(error)
            # Its owner may have been cancelled; an error nobody reads is no fault then.
            self.future.exception()


@dataclass(eq=False, slots=True, kw_only=True)
class _Expected:
    sink: Sink
    subject: str  # to which the request went, in lower case as the server reports refusals
    ends_with_connection: bool


class Inbox:
    """Addresses for replies, under `pattern`."""

    def __init__(self, prefix: str) -> None:
        self._base = f"{prefix}.{secrets.token_hex(8)}"
        self._tokens = itertools.count(1)
        self._expected: dict[str, _Expected] = {}

    @property
    def pattern(self) -> str:
        """Return the subject to subscribe to, once for the connection."""
        return f"{self._base}.*"

    @property
    def base(self) -> str:
        """Return what stands before the dot and the token of every address."""
        return self._base

    def next_token(self) -> int:
        """Return a number that no address of this inbox has."""
        return next(self._tokens)

    def stream_address(self) -> str:
        """Return a fresh subject that `pattern` does not cover.

        A stream's messages arrive under their own subjects, so that they need a subscription of
        their own, below this address.
        """
        return f"{self._base}.stream.{next(self._tokens)}"

    @contextmanager
    def expect(
        self, sink: Sink, subject: str, *, ends_with_connection: bool = False
    ) -> Iterator[str]:
        """Yield a fresh address whose replies go to `sink` while the context lasts.

        `subject` is where the request goes: a refusal to publish there fails the sink. So does
        the loss of the connection, if the answer would be lost with it.
        """
        address = f"{self._base}.{next(self._tokens)}"
        self._expected[address] = _Expected(
            sink=sink, subject=subject.lower(), ends_with_connection=ends_with_connection
        )
        try:
            yield address
        finally:
            del self._expected[address]

    def deliver(self, packet: Packet) -> None:
        """Hand a reply to who expects it; a late one is nobody's."""
        expected = self._expected.get(packet.subject)
        if expected is not None:
            expected.sink.offer(packet)

    def deny(self, subject: str, error: LatticeError) -> bool:
        """Fail the requests to a subject that may not be published to; tell if there were any."""
        denied = [one for one in self._expected.values() if one.subject == subject.lower()]
        for one in denied:
            one.sink.fail(error)
        return bool(denied)

    def lose(self, error: LatticeError) -> None:
        """Fail the requests whose answers were lost with the connection."""
        for expected in tuple(self._expected.values()):
            if expected.ends_with_connection:
                expected.sink.fail(error)

    def close(self, error: LatticeError) -> None:
        """Fail all requests, because no connection will follow."""
        for expected in tuple(self._expected.values()):
            expected.sink.fail(error)
