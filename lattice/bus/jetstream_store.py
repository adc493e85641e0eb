"""The bucket over JetStream: see `Store`, held to it by tests/contract.

A key-value bucket in the layout of NATS ADR-8 with history 1. It never decides by what it read:
every condition is checked by the server, at the write. What it cannot promise, such as reading
one's own write from another replica, it does not pretend.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager

import anyio

from lattice.bus.base import CaughtUp, Entry, Fence, Write
from lattice.bus.checks import check_put, check_writes
from lattice.bus.inbox import OneReply
from lattice.bus.jetstream_api import JetStream, Stored, is_marker, sequence_of, stored
from lattice.bus.jetstream_delivery import Delivery
from lattice.bus.jetstream_reader import Reader, Reattached
from lattice.bus.jetstream_turns import BatchTurns
from lattice.bus.jetstream_watch import Watch
from lattice.bus.matching import check_key, check_prefix
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    LatticeError,
    NoRouteError,
    OutcomeUnknownError,
    UnavailableError,
)

REMOVAL_TTL_S = 24 * 3600
"""Seconds for which a removal is remembered. A watch that was cut off for longer compares what
stands with what it knew, so nothing depends on it but the size of the bucket."""

ABSENT_ATTEMPTS = 4
"""Attempts to write a key that must not exist, each expecting the removal that was found there."""

STALE_S = 0.05
"""Seconds for a replica to catch up, when it showed an older removal than the one that stands."""

BATCH_ANSWER_S = 10.0
"""Seconds for an atomic batch: the server gives one up after so long without its end (ADR-50)."""

FENCE_KEY = "_fence"
"""Key of the removal that carries a fence when every write of a batch has an own condition: a
message has room for one. As a removal it never stands, so nobody sees it."""

_EXPECT = "Nats-Expected-Last-Subject-Sequence"
_EXPECT_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"


_REMOVAL = {"KV-Operation": "DEL", "Nats-TTL": f"{REMOVAL_TTL_S}s"}


class JetStreamStore:
    """See `Store`."""

    def __init__(self, api: JetStream, bucket: str, *, is_guarded: bool = False) -> None:
        self._api = api
        self._stream = f"KV_{bucket}"
        self._prefix = f"$KV.{bucket}."
        if is_guarded:
            api.guard(self._prefix, self._stream)
        self._turns = BatchTurns(self._put_batch)

    async def get(self, key: str) -> Entry | None:
        """See `Store.get`."""
        check_key(key)
        message = await self._api.last(self._stream, self._prefix + key)
        if message is None or is_marker(message.headers):
            return None
        return Entry(key=key, value=message.body, revision=sequence_of(message))

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        expect: int | None = None,
        fence: Fence | None = None,
        ttl_s: float | None = None,
    ) -> int:
        """See `Store.put`. A time to live is rounded up to whole seconds (NATS ADR-43)."""
        check_put(key, value, expect, fence, ttl_s)
        headers = self._conditions(expect, fence)
        if ttl_s is not None:
            headers["Nats-TTL"] = f"{math.ceil(ttl_s)}s"
        if expect == 0:
            return (await self._put_absent(key, value, headers)).sequence
        return (await self._write(key, value, headers)).sequence

    async def put_many(self, writes: Sequence[Write], *, fence: Fence | None = None) -> int:
        """See `Store.put_many`."""
        check_writes(writes)
        if fence is None:
            return await self._put_batch(writes, None)
        check_key(fence.key)
        return await self._turns.put_many(writes, fence)

    async def _put_batch(self, writes: Sequence[Write], fence: Fence | None) -> int:
        absent = [write.key for write in writes if write.expect == 0]
        removals: dict[str, int] = {}
        for attempt in range(ABSENT_ATTEMPTS):
            try:
                return await self._write_batch(writes, fence, removals)
            except ConflictError as error:
                found = {key: await self._removal(key) for key in absent}
                is_last = attempt == ABSENT_ATTEMPTS - 1
                if is_last or found == removals or not any(found.values()):
                    raise _batch_conflict(writes, fence, error) from None
                removals = found
        raise AssertionError("the last attempt returns or raises")

    async def delete(
        self, key: str, *, expect: int | None = None, fence: Fence | None = None
    ) -> int:
        """See `Store.delete`."""
        check_put(key, b"", expect, fence, None)
        headers = self._conditions(expect, fence) | _REMOVAL
        return (await self._write(key, b"", headers)).sequence

    async def keys(self, prefix: str = "") -> tuple[str, ...]:
        """See `Store.keys`."""
        check_prefix(prefix)
        reader = self._reader(prefix, is_headers_only=True)
        found: set[str] = set()
        try:
            await reader.open()
            while not reader.is_caught_up:
                message = await reader.next()
                if isinstance(message, Reattached):
                    found.clear()
                elif is_marker(message.headers):
                    found.discard(self._key(message))
                else:
                    found.add(self._key(message))
        finally:
            with anyio.CancelScope(shield=True):
                await reader.close()
        return tuple(sorted(found))

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[AsyncIterator[Entry | CaughtUp]]:
        """See `Store.watch`.

        Raises:
            DeniedError: this identity may read neither the key nor the family.
        """
        check_prefix(prefix)
        reader = self._reader(prefix)
        try:
            await reader.open()
            yield Watch(reader, self._prefix)
        finally:
            with anyio.CancelScope(shield=True):
                await reader.close()

    def _reader(self, prefix: str, *, is_headers_only: bool = False) -> Reader:
        """Read a key and what is below it: no single filter says both, and each has its grant."""
        filters: tuple[str, ...] = (f"{self._prefix}>",)
        if prefix:
            filters = (self._prefix + prefix, f"{self._prefix}{prefix}.>")
        return Reader(
            self._api,
            self._stream,
            filters,
            lambda: {"deliver_policy": "last_per_subject"},
            is_headers_only=is_headers_only,
        )

    def _key(self, message: Delivery) -> str:
        return message.subject.removeprefix(self._prefix)

    def _conditions(self, expect: int | None, fence: Fence | None) -> dict[str, str]:
        if fence is not None:
            return {
                _EXPECT: str(fence.revision),
                _EXPECT_SUBJECT: self._prefix + fence.key,
            }
        return {} if expect is None else {_EXPECT: str(expect)}

    async def _write(self, key: str, value: bytes, headers: dict[str, str]) -> Stored:
        try:
            return await self._api.write(self._prefix + key, value, headers)
        except ConflictError as error:
            raise _conflict(key, headers, error) from None

    async def _put_absent(self, key: str, value: bytes, headers: dict[str, str]) -> Stored:
        """Write a key that must not exist: the server counts its removal as a message."""
        tried = 0
        for attempt in range(ABSENT_ATTEMPTS):
            try:
                return await self._write(key, value, headers | {_EXPECT: str(tried)})
            except ConflictError:
                message = await self._api.last(self._stream, self._prefix + key)
                is_taken = message is not None and not is_marker(message.headers)
                if is_taken or attempt == ABSENT_ATTEMPTS - 1:
                    raise
                found = 0 if message is None else sequence_of(message)
                if found == tried:
                    await anyio.sleep(STALE_S)
                tried = found
        raise AssertionError("the last attempt returns or raises")

    async def _removal(self, key: str) -> int:
        """Return the revision of the removal that stands in place of a key, 0 if none does."""
        message = await self._api.last(self._stream, self._prefix + key)
        is_removed = message is not None and is_marker(message.headers)
        return sequence_of(message) if message is not None and is_removed else 0

    async def _write_batch(
        self, writes: Sequence[Write], fence: Fence | None, removals: dict[str, int]
    ) -> int:
        """Send one atomic batch (NATS ADR-50): the first and the last message are answered."""
        *begin, (last_key, last_value, last_conditions) = self._messages(writes, fence, removals)
        batch = secrets.token_hex(16)
        await self._api.find_intake(self._prefix)
        refusal = OneReply()  # of a message in the middle, which has no reply of its own
        with ExitStack() as refusals:
            for number, (key, value, conditions) in enumerate(begin, 1):
                subject = self._prefix + key
                headers = conditions | _batch_headers(batch, number)
                if number == 1:
                    await self._begin(subject, value, headers)
                    continue
                refusals.enter_context(self._api.link.inbox.expect(refusal, subject))
                await self._api.link.send(subject, value, headers=headers)
            headers = last_conditions | _batch_headers(batch, len(begin) + 1)
            try:
                return await self._commit(
                    self._prefix + last_key, last_value, headers | {"Nats-Batch-Commit": "1"}
                )
            except LatticeError:
                if refusal.future.done():
                    raise refusal.future.exception() or AssertionError from None
                raise

    async def _begin(self, subject: str, value: bytes, headers: dict[str, str]) -> None:
        try:
            reply = await self._api.link.ask(
                subject, value, timeout_s=BATCH_ANSWER_S, headers=headers
            )
        except NoRouteError as error:
            self._api.link.intakes.forget()  # the stream may have been made again
            raise UnavailableError(f"batch of writes was not begun: {error}") from None
        except (DeadlineExceededError, OutcomeUnknownError) as error:
            raise UnavailableError(f"batch of writes was not begun: {error}") from None
        if reply.body:  # an error; a batch that may begin is answered with nothing
            stored(subject, reply)

    async def _commit(self, subject: str, value: bytes, headers: dict[str, str]) -> int:
        try:
            reply = await self._api.link.ask(
                subject, value, timeout_s=BATCH_ANSWER_S, headers=headers
            )
        except NoRouteError as error:
            self._api.link.intakes.forget()
            raise UnavailableError(f"batch of writes was not stored: {error}") from None
        except (DeadlineExceededError, OutcomeUnknownError) as error:
            raise OutcomeUnknownError(
                f"batch of writes may or may not have taken place: {error}"
            ) from None
        return stored(subject, reply).sequence

    def _messages(
        self, writes: Sequence[Write], fence: Fence | None, removals: dict[str, int]
    ) -> list[tuple[str, bytes, dict[str, str]]]:
        """Return key, value and headers of each message, the fence on one that has room for it."""
        messages: list[tuple[str, bytes, dict[str, str]]] = []
        for write in writes:
            expect = removals.get(write.key, 0) if write.expect == 0 else write.expect
            headers = self._conditions(expect, None)
            if write.value is None:
                headers |= _REMOVAL
            messages.append((write.key, write.value or b"", headers))
        if fence is None:
            return messages
        for _, _, headers in messages:
            if _EXPECT not in headers:
                headers.update(self._conditions(None, fence))
                return messages
        return [(FENCE_KEY, b"", _REMOVAL | self._conditions(None, fence)), *messages]


def _batch_headers(batch: str, number: int) -> dict[str, str]:
    return {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}


def _batch_conflict(
    writes: Sequence[Write], fence: Fence | None, error: ConflictError
) -> ConflictError:
    """Return an error without the guilty key: the server tells at most the revision it found."""
    conditions = [f"{write.key} at {write.expect}" for write in writes if write.expect is not None]
    if fence is not None:
        conditions.append(f"fence {fence.key} at {fence.revision}")
    shown = ", ".join(conditions[:5]) + (", ..." if len(conditions) > 5 else "")
    return ConflictError(
        f"none of {len(writes)} writes took place: expected {shown}; found one at revision "
        f"{error.details.get('found', 'unknown')}",
        found=error.details.get("found"),
    )


def _conflict(key: str, headers: dict[str, str], error: ConflictError) -> ConflictError:
    expected = int(headers.get(_EXPECT, "0"))
    fence = headers.get(_EXPECT_SUBJECT, "").split(".", 2)[-1]
    found = error.details.get("found")
    what = f"fence {fence}" if fence else key
    stands = "elsewhere" if found is None else f"at revision {found}"
    return ConflictError(
        f"{what} stands {stands}, expected {expected}; {key} was not written",
        key=fence or key,
        expected=expected,
        found=found,
    )
