"""Requests to JetStream, and what its answers mean as errors of the lattice.

A read is repeated until its time is over, because it changes nothing. A write is sent once more
only when the server said that nobody took it. It holds no knowledge of buckets or objects.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import anyio

from lattice.bus.base import Packet
from lattice.bus.inbox import OneReply
from lattice.bus.link import Link, is_no_responders
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    DecodeError,
    DeniedError,
    IncompatibleError,
    InternalError,
    LatticeError,
    NoRouteError,
    NotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    UnavailableError,
)
from lattice.wire import codec

ANSWER_S = 5.0
"""Seconds for one request to JetStream: its own limit for requests within a cluster."""

NOBODY_S = 2.0
"""Seconds for which "nobody listens" is taken for a restart or an election, and asked again."""

PAUSE_S = 0.1
"""Seconds between such attempts."""

WINDOW = 16
"""Writes of a `Pipeline` without an answer: 2 MiB of chunks, so that the wire stays busy."""

# Wrong last id, wrong last sequence, stream made otherwise by somebody else, same key in flight.
_CONFLICTS = frozenset({10058, 10070, 10071, 10164})
# Out of memory, storage, or the stream's own limits, those of consumers too; too many batches at
# once.
_FULL = frozenset({10002, 10023, 10026, 10028, 10047, 10077, 10122, 10210})
# Subjects of another stream; message TTL or atomic batches switched off.
_UNFIT = frozenset({10065, 10166, 10174})
# A batch that lost a part with its connection: nothing of it is stored.
_BROKEN_OFF = frozenset({10176})
_STREAM_NOT_FOUND = 10059

_FOUND = re.compile(r"wrong last sequence: (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The server's confirmation that a message is in the stream."""

    sequence: int


class JetStream:
    """JetStream's API (NATS ADR-31 and the nats-server documentation) over one connection."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._guarded: dict[str, str] = {}  # streams by the family of their subjects

    def guard(self, family: str, stream: str) -> None:
        """Write what goes to `family` to wherever its stream listens; see `Intakes`."""
        self._guarded[family] = stream

    async def find_intake(self, subject: str, *, anew: bool = False) -> None:
        """Ask where writes to a subject go, if its stream is guarded; once, or now and `anew`.

        Who may not know gets no error here: what he writes is refused under its plain subject.

        Raises:
            UnavailableError: no answer, or there is no such stream; nothing was written.
        """
        intakes = self.link.intakes
        for family, stream in self._guarded.items():
            if subject.startswith(family) and (anew or not intakes.knows(family)):
                intakes.learn(family, await self._intake(family, stream))

    async def _intake(self, family: str, stream: str) -> str:
        try:
            answer = await self.call(f"STREAM.INFO.{stream}")
        except DeniedError:
            return family
        except NotFoundError:
            raise _nobody(family) from None
        except OutcomeUnknownError as error:  # of the question, not of the write
            raise UnavailableError(f"nothing was written to {stream}: {error}") from None
        match answer.get("config", {}).get("subjects"):
            case [str(pattern)] if pattern.endswith(".>"):
                return pattern.removesuffix(">")
            case _:
                return family

    async def call(self, verb: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return the answer of `$JS.API.<verb>`; repeated while nobody listens.

        Raises:
            NotFoundError: the stream does not exist.
            UnavailableError: no answer, as for `read`; or the server cannot do it now.
        """
        request = json.dumps(body).encode() if body is not None else b""
        reply = await self.read(f"$JS.API.{verb}", request)
        return _answer(verb, reply)

    async def last(self, stream: str, subject: str) -> Packet | None:
        """Return the newest message on a subject, as some replica knows it, or None."""
        reply = await self.read(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"")
        match reply.headers.get("Status"):
            case None:
                return reply
            case "404":
                return None
            case status:
                reason = reply.headers.get("Description", "")
                raise UnavailableError(f"stream {stream} answered {status} {reason} on {subject}")

    async def read(self, subject: str, body: bytes) -> Packet:
        """Return the answer to a request that changes nothing.

        Raises:
            UnavailableError: no server, no stream or no leader answers in time.
            DeniedError: this identity may not ask it.
        """
        start_s = anyio.current_time()
        while True:
            left_s = start_s + ANSWER_S - anyio.current_time()
            try:
                return await self.link.ask(subject, body, timeout_s=max(left_s, PAUSE_S))
            except NoRouteError:
                if anyio.current_time() - start_s > NOBODY_S:
                    raise _nobody(subject) from None
            except OutcomeUnknownError:
                if left_s <= 0:
                    raise
            except DeadlineExceededError:
                message = f"JetStream did not answer {subject} within {ANSWER_S:g} s"
                raise UnavailableError(message) from None
            await anyio.sleep(PAUSE_S)

    async def write(self, subject: str, body: bytes, headers: Mapping[str, str]) -> Stored:
        """Store one message.

        Raises:
            ConflictError: an expectation of the headers does not hold; nothing was stored.
            OutcomeUnknownError: it was sent and no answer came.
            UnavailableError: it was not stored, because no stream takes it now.
            OverloadedError: the stream is full; nothing was stored.
        """
        start_s = anyio.current_time()
        while True:
            await self.find_intake(subject)
            try:
                reply = await self.link.ask(subject, body, timeout_s=ANSWER_S, headers=headers)
            except NoRouteError:
                self.link.intakes.forget()  # the stream may have been made again
                if anyio.current_time() - start_s > NOBODY_S:
                    raise _nobody(subject) from None
                await anyio.sleep(PAUSE_S)
            except (DeadlineExceededError, OutcomeUnknownError) as error:
                raise _unknown(subject, error) from None
            else:
                return stored(subject, reply)


class Pipeline:
    """Writes to a stream in order, up to `WINDOW` of them without an answer yet.

    A context manager; leaving it forgets what was not confirmed. Any error ends it.
    """

    def __init__(self, api: JetStream) -> None:
        self._api = api
        self._link = api.link
        self._waiting: deque[tuple[str, OneReply, ExitStack]] = deque()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        while self._waiting:
            self._waiting.popleft()[2].close()

    async def write(self, subject: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send one message. `Raises:` as `JetStream.write`, also for earlier ones."""
        if len(self._waiting) >= WINDOW:
            await self._confirm()
        await self._api.find_intake(subject)
        expected = ExitStack()
        reply = OneReply()
        address = expected.enter_context(
            self._link.inbox.expect(reply, subject, ends_with_connection=True)
        )
        self._waiting.append((subject, reply, expected))
        await self._link.send(subject, body, headers=headers, reply_to=address)

    async def finish(self) -> None:
        """Return when everything is stored. `Raises:` as `JetStream.write`."""
        while self._waiting:
            await self._confirm()

    async def _confirm(self) -> None:
        subject, reply, expected = self._waiting.popleft()
        with expected:
            try:
                with anyio.fail_after(ANSWER_S):
                    packet = await reply.future
            except (TimeoutError, OutcomeUnknownError) as error:
                raise _unknown(subject, error) from None
        if is_no_responders(packet):
            self._link.intakes.forget()
            raise _nobody(subject)
        stored(subject, packet)


def stored(subject: str, reply: Packet) -> Stored:
    """Return what an answer to a write says. `Raises:` as `JetStream.write`."""
    answer = _answer(subject, reply)
    sequence = answer.get("seq")
    if not isinstance(sequence, int):
        raise DecodeError(f"answer to a write of {subject} has no sequence: {answer!r:.200}")
    return Stored(sequence=sequence)


def is_marker(headers: Mapping[str, str]) -> bool:
    """Tell whether a stored message says that its subject was deleted or expired (ADR-8, 43)."""
    return headers.get("KV-Operation") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers


def sequence_of(packet: Packet) -> int:
    """Return the stream sequence of a message read by direct get (NATS ADR-31)."""
    return int(packet.headers.get("Nats-Sequence", "0"))


def _answer(what: str, reply: Packet) -> dict[str, Any]:
    answer = codec.decode(reply.body, as_json=True)
    if not isinstance(answer, dict):
        raise DecodeError(f"answer to {what} is no JSON object: {reply.body[:200]!r}")
    error = answer.get("error")
    if isinstance(error, dict):
        raise _refusal(what, error)
    return answer


def _refusal(what: str, error: Mapping[str, object]) -> LatticeError:
    code = error.get("err_code")
    reason = str(error.get("description", "no reason given"))
    message = f"JetStream refuses {what}: {reason} ({code})"
    if code in _CONFLICTS:
        match = _FOUND.search(reason)
        found = {} if match is None else {"found": int(match[1])}
        return ConflictError(message, **found)
    if code in _FULL:
        return OverloadedError(f"{message}; raise the stream's limits or remove something")
    if code in _UNFIT:
        return IncompatibleError(f"{message}; the lattice needs streams made by ensure_stores")
    if code == _STREAM_NOT_FOUND:
        return NotFoundError(message)
    if code in _BROKEN_OFF or error.get("code") in (500, 503):
        return UnavailableError(message)
    return InternalError(message)


def _nobody(subject: str) -> UnavailableError:
    return UnavailableError(
        f"no stream answers on {subject}: JetStream is off, has no leader now, or the lattice's "
        "stores were not created (a scheduler does it)"
    )


def _unknown(subject: str, error: Exception) -> OutcomeUnknownError:
    reason = str(error) or f"no answer within {ANSWER_S:g} s"
    return OutcomeUnknownError(
        f"write of {subject} may or may not have taken place: {reason}", subject=subject
    )
