"""The messages that carry HTTP between hosts: a request, its reply, and the frames of a stream.

The rules of change are those of `lattice.wire.messages`. A small request with a small answer is one
`HttpRequest` and one `HttpReply`; bodies above that travel as `HttpFrame`s on lanes, one subject
for each direction of one exchange. Names and values of headers alternate in one list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lattice.wire.messages import VERSION, Leg

FrameKind = Literal["inform", "head", "data", "end", "grant", "beat", "reset"]
"""What a frame says. The first four are numbered and come in order, the others repeat a fact.

`inform` and `head`: status and headers of an informational and of the final answer. `data`: bytes
of the body. `end`: all was sent, with the trailers. `grant`: more may be sent. `beat`: the sender
is there. `reset`: the exchange is over, `err` says why.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """An HTTP request to a deployment. Without `body` it follows in frames, once there is a reply.

    `lane` is where frames of the answer are to go, and `window` how many bytes of its body may come
    before a `grant`; without a lane the whole answer has to fit into the reply.
    """

    method: str = "GET"
    scheme: str = "http"
    authority: str = ""
    target: str = "/"
    headers: list[bytes] = field(default_factory=list[bytes])
    body: bytes | None = b""
    trailers: list[bytes] = field(default_factory=list[bytes])  # of a body that is here
    peer: str = ""  # address of the client, for logs
    lane: str = ""
    window: int = 0
    deadline_ms: int = 60_000  # what is left for the asker, not a clock time
    hops: int = 0
    trace: str = ""  # W3C traceparent
    caller: str = ""  # deployment that asks; "" for a client from outside
    chain: list[str] = field(default_factory=list[str])  # deployments on the way, outermost first
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """The first word on an `HttpRequest`: an error, the whole answer, or a lane.

    With `status` and a `body` it is the whole answer. With a `lane` the exchange goes on in frames:
    the request's body, if it was not sent, goes to the lane, `window` bytes before a `grant`; and
    when `status` is not 0 the head of the answer has come with the reply.
    """

    status: int = 0
    headers: list[bytes] = field(default_factory=list[bytes])
    body: bytes | None = None
    trailers: list[bytes] = field(default_factory=list[bytes])
    lane: str = ""
    window: int = 0
    err: dict[str, Any] | None = None
    host: str = ""  # who ran it; empty: the request was turned down before it began
    generation: int = 0
    legs: list[Leg] = field(default_factory=list[Leg])  # calls made on the way, in order
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFrame:
    """One step of a streamed exchange, in one of its two directions."""

    kind: FrameKind
    sequence: int = 0  # of numbered frames: their number; of a beat: how many were sent
    status: int = 0
    headers: list[bytes] = field(default_factory=list[bytes])  # of a head; trailers of an end
    data: bytes = b""
    granted: int = 0  # of a grant and a beat: bytes of body that may be sent in all
    lane: str = ""  # of a beat: where its sender takes frames
    err: dict[str, Any] | None = None  # of a reset: why; None: whoever asked has gone
    legs: list[Leg] = field(default_factory=list[Leg])  # of an end: as in `HttpReply`
    v: int = VERSION


def flat(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Return names and values in turn."""
    return [each for field in headers for each in field]


def fields(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return pairs of names and values; a name without a value is dropped."""
    return list(zip(flat[::2], flat[1::2], strict=False))
