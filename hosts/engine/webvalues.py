"""What guests and whoever carries their requests say to each other over HTTP: values, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from hosts.engine.errorcodes import TERMINATED, Code, HttpFailure

Headers = Sequence[tuple[bytes, bytes]]
"""Names (lower case) and values, in the order of the message, repeated names kept apart."""

TIMEOUT_S_MAX = 600.0
"""Seconds of any time-out: what a guest gets that asks for none, or for more."""

CONNECT_S_MAX = 30.0
"""Seconds to look up, connect and agree on TLS: who has not answered by then does not listen."""


class HttpError(Exception):
    """The exchange broke: the client left, timed out, or broke the rules of HTTP.

    Handlers let it pass: the server knows already.
    """

    @property
    def failure(self) -> HttpFailure:
        """Return what a guest is told whose request breaks off so."""
        return TERMINATED


class EgressError(Exception):
    """A request of a guest failed; the guest gets the code, its log the message.

    `number` and `text` are the details of codes that have some, where they are known; those of an
    internal error are its message.
    """

    def __init__(
        self, code: Code, message: str, number: int | None = None, text: str | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code: Code = code
        self.message = message
        self.number = number
        self.text = message if text is None and code == "internal-error" else text

    @property
    def failure(self) -> HttpFailure:
        """Return what the guest is told."""
        return HttpFailure(self.code, self.number, self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long the steps of one request may take (`request-options`)."""

    connect_s: float = CONNECT_S_MAX  # lookup, connection and TLS, and waiting for a place
    first_byte_s: float = TIMEOUT_S_MAX  # from the end of the request to the head of the answer
    between_bytes_s: float = TIMEOUT_S_MAX  # each wait for bytes to come, and for bytes to leave

    def bounded(self) -> Timeouts:
        """Return the same with nothing longer than the host allows."""
        return Timeouts(
            connect_s=min(self.connect_s, CONNECT_S_MAX),
            first_byte_s=min(self.first_byte_s, TIMEOUT_S_MAX),
            between_bytes_s=min(self.between_bytes_s, TIMEOUT_S_MAX),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingHead:
    """A request without its body.

    A `content-length` among the headers is held to; without one a body that is all there gets one,
    and a streamed body is sent in chunks.
    """

    method: str
    scheme: str  # "http" or "https"
    authority: str  # host, and port when it is not the scheme's own
    target: str  # path and query, percent-encoded as they are to be sent
    headers: Headers = ()
    timeouts: Timeouts = Timeouts()


class BodySource(Protocol):
    """A body that comes bit by bit; the sender asks for more when what it has was taken."""

    async def read(self, limit_bytes: int) -> bytes:
        """Return the next 1 to `limit_bytes` bytes, `b""` at the end.

        Raises:
            HttpError: the body will never be complete: the request is broken off.
        """
        ...

    @property
    def trailers(self) -> Headers:
        """Return what follows the body; asked for once, after its end."""
        ...


Body: TypeAlias = bytes | BodySource
"""All of a body, `b""` for none, or where it comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The head of a response."""

    status: int
    headers: Headers
