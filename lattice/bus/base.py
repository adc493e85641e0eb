"""The four protocols through which the lattice talks, remembers and ships bytes.

`Bus` carries messages at most once. `Store` is a key-value bucket whose writes can be conditional.
`Log` is a durable ordered stream. `Objects` holds large bytes by digest. Each has a memory and a
NATS implementation, and one contract suite (tests/contract) holds both to this text.

Errors at this seam: `UnavailableError` when the server cannot be reached, `DeniedError` when it
refuses for want of a permission, and those that a method names.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from lattice.model.ids import Digest

if TYPE_CHECKING:
    from lattice.bus.durable import JobStream

PAYLOAD_BYTES_MAX = 1024 * 1024
"""Bytes of one message with its headers: the default `max_payload` of a nats-server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One message."""

    subject: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    reply_to: str = ""


Handler = Callable[[Packet], Awaitable[bytes | Packet | None]]
"""Answers one request with a body (or a packet, for headers; its subject is ignored), or with
nothing more, when it has published its answer itself."""

ConnectionState = Literal["connected", "disconnected", "closed"]


class Bus(Protocol):
    """Publish, subscribe and request: at most once, in order from one publisher on one subject."""

    async def publish(
        self, subject: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Hand the message to every matching subscription; nobody listening is no error.

        Raises:
            InvalidError: body and headers are larger than `PAYLOAD_BYTES_MAX`.
        """
        ...

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Packet:
        """Return the first reply. Cancelling leaves nothing behind.

        Raises:
            NoRouteError: nobody subscribes to the subject (known at once).
            DeadlineExceededError: no reply within `timeout_s`; the effect is unknown.
        """
        ...

    def request_many(
        self,
        subject: str,
        body: bytes = b"",
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Packet, None]:
        """Yield every reply that arrives within `timeout_s`, as it arrives. None is no error."""
        ...

    def subscribe(
        self, subject: str, *, queue: str = "", pending_max: int = 1024
    ) -> AbstractAsyncContextManager[AsyncIterator[Packet]]:
        """Receive what matches `subject` (`*` one token, `>` the rest) while the context lasts.

        On entry the server knows the interest. Within one `queue` each message has one receiver.
        Over `pending_max` waiting messages further ones are dropped and counted, never blocking
        the sender. Leaving the context ends the iteration.
        """
        ...

    def serve(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> AbstractAsyncContextManager[None]:
        """Answer requests to `subject` with what `handler` returns, while the context lasts.

        A message without an inbox to answer to is no request and is ignored.
        A `LatticeError` from the handler is answered as `{err}` in the asker's encoding, any other
        exception as `internal` with an id under which the log has the cause. Over `concurrency`
        running handlers the next requests wait in arrival order, and over four times as many are
        answered `overloaded` at once. On exit new requests are no longer taken and running ones
        are finished within `DRAIN_S` if the exit is a cancellation, else within
        `lattice.bus.serving.PATIENCE_S` more, then cancelled.
        """
        ...

    async def flush(self) -> None:
        """Return when the server has everything that was published before."""
        ...

    @property
    def state(self) -> ConnectionState:
        """Return whether the server can be reached now."""
        ...


DRAIN_S = 5.0
"""Seconds for which a closing `serve` waits for running handlers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key's value. `value` is None when the entry tells of a deletion (in a watch only)."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write of an atomic batch; `value` None deletes. `expect` as in `Store.put`."""

    key: str
    value: bytes | None
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """A write under a fence takes place only while `key` is still at `revision`."""

    key: str
    revision: int


class CaughtUp:
    """The marker that a watch yields once, after the entries that stood at its start."""


CAUGHT_UP = CaughtUp()

BATCH_WRITES_MAX = 900
"""Writes of one atomic batch: nats-server refuses more than 1,000 (NATS ADR-50)."""


def batch_revisions(last: int, count: int) -> range:
    """Return the revision of each write of a batch, from that of the last one and their number."""
    return range(last - count + 1, last + 1)


class Store(Protocol):
    """A bucket of keys. Revisions grow over the whole bucket, so they order all its writes.

    Reads may be stale: decide by conditional writes, never by reading first. Keys are tokens
    of `[A-Za-z0-9_=/-]` joined by dots.
    """

    async def get(self, key: str) -> Entry | None:
        """Return the value that stands, or None when there is none or it was deleted."""
        ...

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        expect: int | None = None,
        fence: Fence | None = None,
        ttl_s: float | None = None,
    ) -> int:
        """Write and return the new revision.

        `expect`: the revision at which the key must stand, 0 for "must not exist" (a deleted key
        does not exist). At most one of `expect` and `fence` is given; `put_many` takes both.

        Raises:
            ConflictError: the key or the fence stands elsewhere; nothing was written.
            OutcomeUnknownError: no answer came; it may have been written.
            InvalidError: the value is larger than a message may be, or the key is malformed.
        """
        ...

    async def put_many(self, writes: Sequence[Write], *, fence: Fence | None = None) -> int:
        """Write all or nothing, and return the revision of the last write.

        The writes take consecutive revisions in their order (`batch_revisions`). At most
        `BATCH_WRITES_MAX` writes, each key once. `Raises:` as `put`.
        """
        ...

    async def delete(
        self, key: str, *, expect: int | None = None, fence: Fence | None = None
    ) -> int:
        """Remove the key and return the revision of the removal. `Raises:` as `put`."""
        ...

    async def keys(self, prefix: str = "") -> tuple[str, ...]:
        """Return the keys that stand and begin with the tokens of `prefix`, sorted."""
        ...

    def watch(
        self, prefix: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[Entry | CaughtUp]]:
        """Yield what stands under `prefix`, `CAUGHT_UP`, then the changes, in revision order.

        The newest value of each key always comes; one that is overwritten before its reader was
        sent it may be left out, because a bucket keeps no history.

        `prefix` names a key or a family of keys (`target` -> `target.*` and below; a full key
        names itself). After a reconnect nothing is missed: a watch resumes where it stood.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One entry of a log."""

    subject: str
    body: bytes
    headers: Mapping[str, str]
    sequence: int
    time_s: float  # seconds since the Unix epoch, by the server's clock


class Log(Protocol):
    """A durable stream of records, oldest dropped first when its limits are reached."""

    async def append(
        self,
        subject: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        dedup_id: str = "",
    ) -> int:
        """Store one record and return its sequence; an equal `dedup_id` within two minutes is not
        stored again and returns the first one's sequence.

        Raises:
            OutcomeUnknownError: no answer came; repeat with the same `dedup_id`.
        """
        ...

    def read(
        self,
        subject: str = ">",
        *,
        after: int = 0,
        since_s: float | None = None,
        follow: bool = False,
    ) -> AbstractAsyncContextManager[AsyncIterator[Record]]:
        """Yield records that match, in sequence order: those after the sequence `after`, or stored
        at or after `since_s`. Without `follow` the iteration ends at the newest.
        """
        ...


class Objects(Protocol):
    """Bytes by digest. What is stored never changes, so readers may cache it for ever."""

    async def put(
        self, body: bytes, *, progress: Callable[[int, int], None] | None = None
    ) -> Digest:
        """Store and return the digest; storing what is there already costs one look.

        `progress` is told (bytes sent, bytes in all).
        """
        ...

    async def get(
        self, digest: Digest, *, progress: Callable[[int, int], None] | None = None
    ) -> bytes:
        """Return the bytes, checked against the digest.

        Raises:
            NotFoundError: there is no such object.
            ConflictError: what is stored does not have this digest.
            InvalidError: it is too large to be held in memory, or its description is malformed.
        """
        ...

    async def has(self, digest: Digest) -> bool:
        """Tell whether the object is there."""
        ...

    async def remove(self, digest: Digest) -> None:
        """Remove the object; that it is not there is no error."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """All that one process holds of one lattice."""

    lattice: str
    bus: Bus
    control: Store  # bucket `lat_<l>_ctl`
    hosts: Store  # bucket `lat_<l>_hosts`
    events: Log  # stream `LAT_<l>_EVENTS`
    artifacts: Objects  # object store `lat_<l>_artifacts`
    jobs: JobStream  # stream `LAT_<l>_JOBS`
    ensure_stores: Callable[[], Awaitable[None]] | None = None
    # ensure_stores: creates what is missing of the five stores; only of a scheduler's connection
