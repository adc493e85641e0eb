"""What a request of a guest to the outside is made of, and how it fails: values, no I/O.

The error codes are those of `wasi:http/types`, so that the adapter passes them on as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from hosts.http.base import Headers

Code: TypeAlias = Literal[
    "DNS-timeout", "DNS-error", "destination-not-found", "destination-unavailable",
    "destination-IP-prohibited", "destination-IP-unroutable", "connection-refused",
    "connection-terminated", "connection-timeout", "connection-read-timeout",
    "connection-write-timeout", "connection-limit-reached", "TLS-protocol-error",
    "TLS-certificate-error", "TLS-alert-received", "HTTP-request-denied",
    "HTTP-request-length-required", "HTTP-request-body-size", "HTTP-request-method-invalid",
    "HTTP-request-URI-invalid", "HTTP-request-URI-too-long", "HTTP-request-header-section-size",
    "HTTP-request-header-size", "HTTP-request-trailer-section-size", "HTTP-request-trailer-size",
    "HTTP-response-incomplete", "HTTP-response-header-section-size", "HTTP-response-header-size",
    "HTTP-response-body-size", "HTTP-response-trailer-section-size",
    "HTTP-response-trailer-size", "HTTP-response-transfer-coding",
    "HTTP-response-content-coding", "HTTP-response-timeout", "HTTP-upgrade-failed",
    "HTTP-protocol-error", "loop-detected", "configuration-error", "internal-error",
]  # fmt: skip
"""The names of `error-code` (WASI 0.2, wasi:http/types), in its order."""

TIMEOUT_S_MAX = 600.0
"""Seconds of any time-out: what a guest gets that asks for none, or for more."""

CONNECT_S_MAX = 30.0
"""Seconds to look up, connect and agree on TLS: who has not answered by then does not listen."""

TARGET_BYTES_MAX = 64 * 1024
"""Bytes of path and query of a request; servers rarely take more than 8 KiB."""

HEADERS_BYTES_MAX = 64 * 1024
"""Bytes of the headers of a request, and of the head of a response."""

FORBIDDEN_HEADERS = frozenset(
    (
        b"connection", b"host", b"http2-settings", b"keep-alive", b"proxy-authenticate",
        b"proxy-authorization", b"proxy-connection", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
"""Headers that belong to the connection and not to the guest (RFC 9110, section 7.6.1)."""


class EgressError(Exception):
    """A request of a guest failed; the guest gets the code, its log the message.

    `size` is the number that comes with codes about sizes, where it is known.
    """

    def __init__(self, code: Code, message: str, size: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code: Code = code
        self.message = message
        self.size = size


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressLimits:
    """What the requests of one workload may take of the host."""

    connections: int = 64  # connections in use at once; more requests wait for one
    idle_connections: int = 32  # connections that are kept for later requests
    idle_s: float = 30.0  # for so long
    requests_per_instance: int = 128  # requests of one instance that are not over; more fail
    request_bytes: int = 4 * 2**30  # of one body
    response_bytes: int = 4 * 2**30  # of one body
