"""The log over JetStream: see `Log`, held to it by tests/contract.

A stream that drops its oldest records at its limits. It is never cleared from here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio

from lattice.bus.base import Record
from lattice.bus.jetstream_api import JetStream
from lattice.bus.jetstream_reader import Reader, Reattached
from lattice.bus.matching import check_message, check_pattern

ROUNDING_S = 0.00001
"""Seconds by which reading begins early, because a time as text and as a float is rounded; what
is too early is left out afterwards."""

_DEDUP = "Nats-Msg-Id"


class JetStreamLog:
    """See `Log`. `subjects` is the pattern of all that the stream keeps."""

    def __init__(self, api: JetStream, stream: str, subjects: str) -> None:
        self._api = api
        self._stream = stream
        self._subjects = subjects

    async def append(
        self,
        subject: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        dedup_id: str = "",
    ) -> int:
        """See `Log.append`."""
        sent = dict(headers or {})
        if dedup_id:
            sent[_DEDUP] = dedup_id
        check_message(subject, body, sent)
        return (await self._api.write(subject, body, sent)).sequence

    @asynccontextmanager
    async def read(
        self,
        subject: str = ">",
        *,
        after: int = 0,
        since_s: float | None = None,
        follow: bool = False,
    ) -> AsyncIterator[AsyncIterator[Record]]:
        """See `Log.read`.

        Raises:
            DeniedError: this identity may not read these records.
        """
        check_pattern(subject)
        pattern = self._subjects if subject == ">" else subject
        records = _Records(self._api, self._stream, pattern, after, since_s, follow)
        try:
            await records.reader.open()
            yield records
        finally:
            with anyio.CancelScope(shield=True):
                await records.reader.close()


class _Records:
    """The records of one reading; `newest` is the last sequence seen, where it goes on."""

    def __init__(
        self,
        api: JetStream,
        stream: str,
        pattern: str,
        after: int,
        since_s: float | None,
        follow: bool,
    ) -> None:
        self.reader = Reader(api, stream, (pattern,), self._start)
        self._after = after
        self._since_s = since_s
        self._follow = follow
        self._newest = 0

    def __aiter__(self) -> _Records:
        return self

    async def __anext__(self) -> Record:
        while True:
            if not self._follow and self.reader.is_caught_up:
                raise StopAsyncIteration
            message = await self.reader.next()
            if isinstance(message, Reattached):
                continue
            self._newest = message.sequence
            is_recent = self._since_s is None or message.time_s >= self._since_s
            if message.sequence > self._after and is_recent:
                return Record(
                    subject=message.subject,
                    body=message.body,
                    headers={
                        name: value for name, value in message.headers.items() if name != _DEDUP
                    },
                    sequence=message.sequence,
                    time_s=message.time_s,
                )

    def _start(self) -> dict[str, object]:
        """Begin at the time asked for, or after what was seen; a consumer takes one of them."""
        if self._since_s is not None and not self._newest:
            since = datetime.fromtimestamp(self._since_s - ROUNDING_S, UTC).isoformat()
            return {"deliver_policy": "by_start_time", "opt_start_time": since}
        after = max(self._after, self._newest)
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
