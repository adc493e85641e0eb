"""The limits of the HTTP server: one value with a field for each, and the reason for its default.

Nothing here enforces a limit: `head`, `chunked`, `body`, `stream`, `protocol` and `server` do.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lattice.errors import InvalidError

HEAD_BYTES_MAX = 32 * 1024
"""Request line and headers: browsers send 1 to 8 KiB, single sign-on cookies up to 16."""

HEADERS_MAX = 128
"""Fields of a head or of trailers: a browser behind two proxies sends thirty."""

TARGET_BYTES_MAX = 8 * 1024
"""A path and query: RFC 9110 asks for 8000 at least."""

BODY_BYTES_MAX = 4 * 1024**3
"""A request body, decoded. Bodies are streamed, so this bounds an upload and not memory."""

HEAD_TIMEOUT_S = 10.0
"""From the first byte of a head (or the connection) to its last: a slow phone needs two."""

IDLE_TIMEOUT_S = 75.0
"""A kept connection without a request: longer than most clients and proxies keep theirs (60)."""

BODY_TIMEOUT_S = 30.0
"""Without one byte of a body that a handler waits for: a train in a tunnel."""

BODY_RATE_BYTES_S = 256
"""Bytes a second of a body, averaged over the time a handler waited for it: a modem did more."""

BODY_RATE_GRACE_S = 10.0
"""Waiting before the rate is looked at: a start may be slow."""

WRITE_TIMEOUT_S = 30.0
"""Until a client that has let `WRITE_BUFFER_BYTES` pile up has taken three quarters of it."""

WRITE_BUFFER_BYTES = 64 * 1024
"""Bytes of an answer in our memory before whoever writes it waits."""

READ_BUFFER_BYTES = 64 * 1024
"""Bytes of requests in our memory, for each connection, before we stop reading from it."""

CONNECTIONS_MAX = 10_000
"""Open connections: an idle one costs about 8 KiB; a process may have 20 000 files or more."""

IN_FLIGHT_MAX = 1_000
"""Requests at work: at 10 ms each this is 100 000 a second; more is a queue nobody waits for."""

RETRY_AFTER_S = 1
"""What a client is told that came while a cap was reached: a load balancer goes elsewhere."""

LINGER_S = 2.0
"""How long a client may go on sending after it was refused: closing at once could destroy the
answer on its way, since a system that gets more bytes answers with a reset (RFC 9112, 9.6)."""

DISCARD_BYTES_MAX = 256 * 1024
"""What a handler left unread of a body is read and dropped up to here, to keep the connection."""

TLS_HANDSHAKE_TIMEOUT_S = 10.0
"""Two round trips and a signature: as long as for a head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server allows. Times in seconds, sizes in bytes; see the constants for reasons."""

    head_bytes_max: int = HEAD_BYTES_MAX
    headers_max: int = HEADERS_MAX
    target_bytes_max: int = TARGET_BYTES_MAX
    body_bytes_max: int = BODY_BYTES_MAX
    head_timeout_s: float = HEAD_TIMEOUT_S
    idle_timeout_s: float = IDLE_TIMEOUT_S
    body_timeout_s: float = BODY_TIMEOUT_S
    body_rate_bytes_s: int = BODY_RATE_BYTES_S
    body_rate_grace_s: float = BODY_RATE_GRACE_S
    write_timeout_s: float = WRITE_TIMEOUT_S
    write_buffer_bytes: int = WRITE_BUFFER_BYTES
    read_buffer_bytes: int = READ_BUFFER_BYTES
    connections_max: int = CONNECTIONS_MAX
    in_flight_max: int = IN_FLIGHT_MAX
    linger_s: float = LINGER_S
    discard_bytes_max: int = DISCARD_BYTES_MAX
    tls_handshake_timeout_s: float = TLS_HANDSHAKE_TIMEOUT_S

    def __post_init__(self) -> None:
        """Refuse what cannot be kept.

        Raises:
            InvalidError: a limit is zero or less, or a head does not fit the read buffer.
        """
        faults = [
            f"{field.name}: {getattr(self, field.name)}, must be more than 0"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) <= 0
        ]
        if self.read_buffer_bytes < self.head_bytes_max:
            faults.append(
                f"read_buffer_bytes: {self.read_buffer_bytes}, must hold a head of "
                f"{self.head_bytes_max}"
            )
        if faults:
            raise InvalidError("the limits of the HTTP server cannot be kept", faults)

    @property
    def shortest_s(self) -> float:
        """Return the shortest time-out, which says how often a server must look."""
        return min(
            self.head_timeout_s,
            self.idle_timeout_s,
            self.body_timeout_s,
            self.write_timeout_s,
            self.linger_s,
        )


DEFAULT_LIMITS = Limits()
