"""Durable jobs over JetStream: see `JobStream`, held to it by tests/contract.

What each method publishes to, beside the subject that is written (`<s>` is the stream):

| method | publishes to |
|---|---|
| `newest`, `remove`, `count`, `is_nearly_full` | `$JS.API.STREAM.MSG.GET.<s>`, `$JS.API.STREAM.MSG.DELETE.<s>`, `$JS.API.STREAM.INFO.<s>` |
| `read` | as `Log.read` |
| `pull` | `$JS.API.CONSUMER.CREATE.<s>.<lane>.<subject>`, `$JS.API.CONSUMER.MSG.NEXT.<s>.<lane>`, `$JS.API.CONSUMER.INFO.<s>.<lane>`, `$JS.ACK.<s>.>` |

Messages are read through the leader of the stream (`MSG.GET`) and never directly: a direct get
answers with the bytes of a message, and whoever writes jobs could have the server publish those
anywhere (`lattice.bus.permissions`).
"""  # noqa: E501 - rows of a table

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any

import anyio

from lattice.bus.base import Record
from lattice.bus.durable import FULL_SHARE, Lane
from lattice.bus.jetstream_api import JetStream
from lattice.bus.jetstream_log import JetStreamLog
from lattice.bus.jetstream_pulling import JetStreamPulling
from lattice.bus.matching import check_message, check_pattern
from lattice.errors import DecodeError, InternalError, NotFoundError, UnavailableError

FULLNESS_S = 1.0
"""Seconds for which the answer to "is it full" is taken for true: submitters ask for each job."""

_EXPECT = "Nats-Expected-Last-Subject-Sequence"
_OVER = "Nats-Expected-Last-Subject-Sequence-Subject"
_KEEP = "Nats-TTL"
_OURS = frozenset({_EXPECT, _OVER, _KEEP})
_BEYOND = 1 << 40  # the list of subjects begins behind the last: only how many there are is told
_NO_MESSAGE = ("10037", "10043", "10057")  # not found; removed, or never there


class JetStreamJobs:
    """See `JobStream`. `subjects` is the pattern of all that the stream keeps."""

    def __init__(self, api: JetStream, stream: str, subjects: str) -> None:
        self._api = api
        self._stream = stream
        self._log = JetStreamLog(api, stream, subjects)
        self._looked_s = float("-inf")
        self._is_nearly_full = False

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
        """See `JobStream.put`."""
        sent = {**(headers or {}), _EXPECT: str(expect), _OVER: over, _KEEP: f"{keep_s}s"}
        check_message(subject, body, sent)
        return (await self._api.write(subject, body, sent)).sequence

    async def newest(self, pattern: str) -> Record | None:
        """See `JobStream.newest`."""
        check_pattern(pattern)
        try:
            answer = await self._api.call(
                f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": pattern}
            )
        except InternalError as error:
            if _is_missing(error):
                return None
            raise
        return _record(answer.get("message"))

    async def remove(self, sequence: int) -> bool:
        """See `JobStream.remove`."""
        try:
            await self._api.call(
                f"STREAM.MSG.DELETE.{self._stream}", {"seq": sequence, "no_erase": True}
            )
        except InternalError as error:
            if _is_missing(error):
                return False
            raise
        return True

    @asynccontextmanager
    async def read(
        self, pattern: str, *, follow: bool = False
    ) -> AsyncIterator[AsyncIterator[Record]]:
        """See `JobStream.read`."""
        async with self._log.read(pattern, follow=follow) as records:
            yield (_plain(record) async for record in records)

    def pull(self, lane: Lane) -> AbstractAsyncContextManager[JetStreamPulling]:
        """See `JobStream.pull`."""
        return JetStreamPulling(self._api, self._stream, lane)

    async def count(self, pattern: str) -> int:
        """See `JobStream.count`."""
        check_pattern(pattern)
        asked = {"subjects_filter": pattern, "offset": _BEYOND}
        try:
            answer = await self._api.call(f"STREAM.INFO.{self._stream}", asked)
        except NotFoundError:
            raise UnavailableError(f"there is no stream {self._stream}") from None
        return int(answer.get("total", 0))

    async def is_nearly_full(self) -> bool:
        """See `JobStream.is_nearly_full`."""
        now_s = anyio.current_time()
        if now_s - self._looked_s > FULLNESS_S:
            self._looked_s = now_s
            try:
                answer = await self._api.call(f"STREAM.INFO.{self._stream}")
            except NotFoundError:
                raise UnavailableError(f"there is no stream {self._stream}") from None
            limit_bytes = answer.get("config", {}).get("max_bytes", -1)
            used_bytes = answer.get("state", {}).get("bytes", 0)
            self._is_nearly_full = 0 < limit_bytes * FULL_SHARE < used_bytes
        return self._is_nearly_full


def _is_missing(error: InternalError) -> bool:
    return error.message.endswith(tuple(f"({code})" for code in _NO_MESSAGE))


def _plain(record: Record) -> Record:
    """Return a record without the headers that only its writing needed."""
    headers = {name: value for name, value in record.headers.items() if name not in _OURS}
    return Record(
        subject=record.subject,
        body=record.body,
        headers=headers,
        sequence=record.sequence,
        time_s=record.time_s,
    )


def _record(message: Any) -> Record:
    """Return the message of an answer of `MSG.GET` (nats-server documentation)."""
    try:
        return Record(
            subject=message["subject"],
            body=base64.b64decode(message.get("data") or ""),
            headers=_headers(base64.b64decode(message.get("hdrs") or "")),
            sequence=int(message["seq"]),
            time_s=datetime.fromisoformat(message["time"]).timestamp(),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise DecodeError(f"message of a stream is malformed: {error!r}") from None


def _headers(block: bytes) -> dict[str, str]:
    """Return the headers of a message (NATS ADR-4): `NATS/1.0`, then lines of name and value."""
    lines = block.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name: value.strip() for name, _, value in pairs if name not in _OURS}
