"""What the host allows the requests of guests to be and to take: bounds, and no I/O."""

from __future__ import annotations

from dataclasses import dataclass

TARGET_BYTES_MAX = 64 * 1024
"""Bytes of path and query of a request; servers rarely take more than 8 KiB."""

HEADERS_BYTES_MAX = 64 * 1024
"""Bytes of the headers of a request, and of the head of a response."""

HEADERS_MAX = 4096
"""Headers of a response: as many as a guest may put in one `fields`."""

FORBIDDEN_HEADERS = frozenset(
    (
        b"connection", b"host", b"http2-settings", b"keep-alive", b"proxy-authenticate",
        b"proxy-authorization", b"proxy-connection", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
"""Headers that belong to the connection and not to the guest (RFC 9110, section 7.6.1)."""

BODY_METHODS = frozenset(("POST", "PUT", "PATCH"))
"""Methods whose requests say how long their body is also when they have none (RFC 9110, 8.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressLimits:
    """What the requests of one workload may take of the host."""

    connections: int = 64  # connections in use at once; more requests wait for one
    idle_connections: int = 32  # connections that are kept for later requests
    idle_s: float = 30.0  # for so long
    requests_per_instance: int = 128  # requests of one instance that are not over; more fail
    request_bytes: int = 4 * 2**30  # of one body
    response_bytes: int = 4 * 2**30  # of one body
