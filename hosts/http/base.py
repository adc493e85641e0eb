"""The seam between what speaks HTTP with clients and what answers a request.

The server makes an `Exchange` for each request and hands it to a `Handler`; handlers are a guest
behind the HTTP adapter, a router that picks one, or a plain function in a test. Nothing here knows
sockets or guests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from hosts.engine.webvalues import Headers, HttpError
from lattice.telemetry import well_formed

__all__ = [
    "IDEMPOTENT", "Exchange", "Handler", "Headers", "HttpError", "RequestHead", "Via", "trace_of",
    "via",
]  # fmt: skip


IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""Methods whose requests do no more when they are sent twice (RFC 9110, 9.2.2)."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What is known of a request before its body."""

    method: str
    scheme: str  # "http" or "https"
    authority: str  # host and port as the client named them
    target: str  # path and query, as received: percent-encoding is not undone
    headers: Headers  # `traceparent` is that of the server's span when tracing is set up
    peer: str  # address of the client, for logs

    @property
    def path(self) -> str:
        """Return the target without its query."""
        return self.target.partition("?")[0]


def trace_of(headers: Headers) -> str:
    """Return the `traceparent` among headers, "" when there is none that is well-formed."""
    for name, value in headers:
        if name == b"traceparent":
            return well_formed(value.decode("latin-1"))
    return ""


class Exchange(Protocol):
    """One request and the answer to it. Used by one task at a time on each side of it.

    Reading and answering are independent: a handler may answer before it has read all, and while
    it reads. When it returns, what it has not read is discarded by the server, and an answer that
    it has not begun becomes a 500, one that it has not finished an aborted connection.
    """

    @property
    def head(self) -> RequestHead:
        """Return what is known of the request before its body."""
        ...

    @property
    def body(self) -> bytes | None:
        """Return the whole body when all of it is here already (`b""` without one), else None."""
        ...

    async def read(self, limit_bytes: int) -> bytes:
        """Return the next 1 to `limit_bytes` bytes of the body, `b""` at its end.

        Raises:
            HttpError: the client went away, was too slow, or sent what is no body.
        """
        ...

    @property
    def trailers(self) -> Headers:
        """Return the trailers of the request; they are complete once `read` returned `b""`."""
        ...

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer all at once. The short way: nothing waits, the server buffers `body`."""
        ...

    async def begin(self, status: int, headers: Headers) -> None:
        """Send the head of the answer; `write` and `finish` follow.

        Without a `content-length` among `headers` the body is chunked.

        Raises:
            HttpError: the client went away.
            InvalidError: the answer has begun already, or the head is none.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Send a part of the body; returns when there is room for more (back-pressure).

        Raises:
            HttpError: the client went away, or more was written than `content-length` said.
        """
        ...

    async def finish(self, trailers: Headers = ()) -> None:
        """End the answer. Trailers are sent when the body is chunked, else dropped."""
        ...

    async def inform(self, status: int, headers: Headers) -> None:
        """Send an informational answer (103 and the like) before the final one."""
        ...

    async def closed(self) -> None:
        """Return when the client went away before the answer was finished.

        A client that ends its side of the connection without another request counts as gone: it
        mostly is, and what is sent to it all the same may arrive.
        """
        ...


Handler = Callable[[Exchange], Awaitable[None]]
"""Answers a request. A `LatticeError` that it raises becomes a status (see the server)."""


@dataclass(frozen=True, slots=True)
class Via:
    """Who answered a request and how it came there, for logs and spans."""

    deployment: str
    route: str  # host and path of the route that matched, or the name that was asked for
    leg: str  # "local" or "remote"


via: ContextVar[Via | None] = ContextVar("via", default=None)
"""Set by handlers that choose who answers; the server reads it when the handler is done."""
