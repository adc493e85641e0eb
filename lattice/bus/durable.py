"""The seam of durable jobs: a stream that holds one message a subject, and its lanes.

One implementation keeps it in memory, one in JetStream; tests/contract/test_durable.py holds both
to this text. What the messages mean is told by `lattice.wire.durable`; nothing here knows it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from lattice.bus.base import Record

ACK_WAIT_S = 10.0
"""Seconds without a sign of life after which a job that a worker took is delivered again."""

PENDING_MAX = 10_000
"""Jobs of one lane without a key that workers may hold at the same time."""

SEQUENCE_HEADER = "Nats-Sequence"
"""Header of a signal: the sequence under which its message was stored."""

FULL_SHARE = 0.9
"""The part of its bytes from which the stream counts as full for submitters: the rest is for the
outcomes of what it holds, without which nothing would ever leave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What workers share: the messages of `subject`, each delivered until it is settled."""

    name: str  # of the consumer; the same for all workers
    subject: str  # `*` stands for one token
    is_ordered: bool = False  # none is delivered while an earlier one is not settled
    ack_wait_s: float = ACK_WAIT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A message that was delivered to this worker; `delivered` counts its deliveries from 1."""

    record: Record
    delivered: int
    token: str  # names the delivery to the stream


class Pulling(Protocol):
    """One worker's share of a lane."""

    async def ask(self, count: int) -> None:
        """Be ready for so many more messages."""
        ...

    async def next(self) -> Taken:
        """Return the next message. It is this worker's for `ack_wait_s` from its delivery on.

        Raises:
            DeniedError: this identity may not read the lane.
            UnavailableError: the share was given up, or its connection is closed.
        """
        ...

    async def working(self, taken: Taken) -> None:
        """Say that the worker is still at it, which renews `ack_wait_s`. Lost without notice."""
        ...

    async def settle(self, taken: Taken) -> None:
        """Have it delivered no more, and return when the server has confirmed that.

        Raises:
            UnavailableError: no confirmation came; it may be delivered again.
        """
        ...

    async def give_back(self, taken: Taken, pause_s: float) -> None:
        """Have it delivered again after a pause. Lost without notice, when it is delivered again
        after `ack_wait_s`.
        """
        ...

    async def stop(self) -> Sequence[Taken]:
        """Take no more, and return what was delivered already and not returned by `next`.

        What was taken before may still be settled and given back.
        """
        ...

    async def is_empty(self) -> bool:
        """Tell whether nothing of the lane waits to be delivered or settled.

        Raises:
            UnavailableError: no answer.
        """
        ...


class JobStream(Protocol):
    """One message a subject; a write is conditional on what stands under a family of subjects.

    After a message is stored, the bus carries it under its signal (`Names.job_signal`), with its
    headers and `SEQUENCE_HEADER`.
    """

    async def put(
        self,
        subject: str,
        body: bytes,
        *,
        over: str,
        expect: int,
        keep_s: int,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Store a message in place of what the subject had, and return its sequence.

        It takes place only while the newest message of all subjects that match `over` is that of
        the sequence `expect`; 0: while there is none. After `keep_s` the message is removed.

        Raises:
            ConflictError: another one is newest; nothing was stored.
            OutcomeUnknownError: no answer came; it may have been stored.
            OverloadedError: the stream is full; nothing was stored.
            UnavailableError: it cannot be reached; nothing was stored.
        """
        ...

    async def newest(self, pattern: str) -> Record | None:
        """Return the newest message of the subjects that match, None when there is none.

        It is read where writes are decided, so it is never older than an earlier write.

        Raises:
            UnavailableError: no answer.
        """
        ...

    async def remove(self, sequence: int) -> bool:
        """Remove one message; False: it was not there. `Raises:` UnavailableError."""
        ...

    def read(
        self, pattern: str, *, follow: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[Record]]:
        """Yield what stands and matches, in the order of sequences, and with `follow` what comes.

        `Raises:` as `Log.read`.
        """
        ...

    def pull(self, lane: Lane) -> AbstractAsyncContextManager[Pulling]:
        """Take part in a lane while the context lasts; what was taken and not settled is
        delivered again.

        Raises:
            DeniedError: this identity may not.
            UnavailableError: the stream cannot be reached.
        """
        ...

    async def count(self, pattern: str) -> int:
        """Return how many subjects that match have a message.

        Raises:
            UnavailableError: no answer.
        """
        ...

    async def is_nearly_full(self) -> bool:
        """Tell whether more than `FULL_SHARE` of its bytes are used, as of a second ago."""
        ...
