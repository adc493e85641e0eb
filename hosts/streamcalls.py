"""Calls that stream bytes, on the host: runs each beside its streams, and answers for its place.

A caller says `open` with its call. Until the guest reads or writes for the first time it is a call
like any other, and its answer is the reply. From then on the caller goes on at a place of its own
here. A call is ended when its caller leaves, says nothing for `SILENCE_S`, or when no byte moves
for as long as the caller's deadline. What a call is, is not known here.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts.bytestream import ByteStream, given
from lattice.bus.base import Bus, Packet
from lattice.clock import Clock
from lattice.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidError,
    LatticeError,
    NotFoundError,
    OverloadedError,
)
from lattice.wire.codec import encode, is_json
from lattice.wire.messages import CallReply
from lattice.wire.streaming import (
    DETAIL,
    HEADER,
    OPEN,
    POLL_S,
    SILENCE_S,
    STREAM_S_MAX,
    Word,
    read_word,
)
from lattice.wire.subjects import Names

STREAMS_MAX = 64
"""Calls with streams at once on this host: each has up to a mebibyte here, and half of one on the
way, so that they stay below the 64 MiB that a server lets wait for a host."""

WORDS_MAX = 1024
"""Words that wait for something at once: nine of each call, and some to spare."""

SWEEP_S = 0.25
"""Seconds between looks at what moved."""

RETRY_AFTER_MS = 1000
"""What a caller is told to wait when there is no room; nobody knows how long streams take."""

log = logging.getLogger(__name__)
_OK = encode({"ok": {}})


@dataclass(slots=True)
class _Open:
    """One call with streams."""

    stream: ByteStream
    heard_s: float  # when a word about it came last
    as_json: bool
    reply: bytes = b""
    failure: LatticeError | None = None  # in place of a reply
    ended: LatticeError | None = None  # why it was ended from here
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    is_placed: bool = False  # the caller was told its place


class StreamCalls:
    """The calls of one host that stream bytes."""

    def __init__(
        self,
        *,
        host: str,
        bus: Bus,
        names: Names,
        clock: Clock,
        answer: Callable[[Packet], Awaitable[bytes]],
    ) -> None:
        """`answer` runs a call, whose streams are `hosts.bytestream.given`."""
        self._host = host
        self._bus = bus
        self._clock = clock
        self._answer = answer
        process = f"p{secrets.token_hex(8)}"
        self._place = names.stream_at(host, process, "")
        self._subject = names.stream_at(host, process)
        self._open: dict[str, _Open] = {}
        self._news = anyio.Event()
        self._group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer words about streams until cancelled; "started" when they arrive."""
        async with (
            self._bus.serve(self._subject, self._take, concurrency=WORDS_MAX),
            anyio.create_task_group() as self._group,
        ):
            task_status.started()
            while True:
                if not self._open:
                    self._news = anyio.Event()
                    await self._news.wait()
                await anyio.sleep(SWEEP_S)
                self._end_forgotten()

    async def open(self, packet: Packet) -> bytes:
        """Return the reply of a call whose guest used no stream, else an error with its place.

        Raises:
            OverloadedError: there is no room for one more.
            LatticeError: what `answer` raises.
        """
        assert self._group is not None, "it runs"
        if read_word(packet.headers[HEADER]) != Word(OPEN):
            raise InvalidError(f"{HEADER}: a call says open, and nothing else")
        if len(self._open) >= STREAMS_MAX:
            raise OverloadedError(
                f"{STREAMS_MAX} calls stream bytes on this host already",
                retry_after_ms=RETRY_AFTER_MS,
            )
        key, as_json = secrets.token_hex(12), is_json(packet.headers)
        stream = ByteStream(self._clock, STREAM_S_MAX)
        call = self._open[key] = _Open(stream, self._clock.monotonic_s(), as_json)
        self._news.set()
        self._group.start_soon(self._carry_out, call, packet)
        try:
            await call.stream.used.wait()
        except BaseException:
            self._drop(key)
            raise
        if call.stream.is_over and not call.stream.was_used:
            self._drop(key)
            if call.failure is not None:
                raise call.failure
            return call.reply
        call.is_placed = True
        call.heard_s = self._clock.monotonic_s()
        place = LatticeError("the call streams bytes; it goes on where the details say")
        place.details[DETAIL] = {"at": self._place + key}
        return encode(CallReply(err=place.to_wire(), host=self._host), as_json=as_json)

    async def _carry_out(self, call: _Open, packet: Packet) -> None:
        """Run the call; its reply is there when the stream is over."""
        given.set(call.stream)
        try:
            with call.scope:
                call.reply = await self._answer(packet)
        except LatticeError as error:
            call.failure = error
        except Exception:
            log.exception("a call with streams failed")
            call.failure = InternalError("the host failed; its log tells why")
        if not call.reply and call.failure is None:
            call.failure = call.ended or DeadlineExceededError("the call was ended")
        if call.failure is not None:
            failed = CallReply(err=call.failure.to_wire(), host=self._host)
            call.reply = encode(failed, as_json=call.as_json)
        call.stream.finish()

    # --- words --------------------------------------------------------------------------------

    async def _take(self, packet: Packet) -> bytes | Packet:
        word = read_word(packet.headers.get(HEADER, ""))
        key = packet.subject.rpartition(".")[2]
        call = self._open.get(key)
        if call is None:
            if word.kind == "done":
                return _OK
            raise NotFoundError("the call does not stream here any more")
        call.heard_s = self._clock.monotonic_s()
        stream = call.stream
        match word.kind:
            case "put" | "ask":
                if word.kind == "put":
                    stream.put(word.number, packet.body)
                is_taken = await stream.taken(word.number, POLL_S)
                return encode({"ok": {"taken": is_taken, "over": stream.is_over}})
            case "end":
                stream.end(word.number)
            case "get":
                return _got(word.number, await stream.part(word.number, POLL_S), call.reply)
            case "done":
                self._drop(key)
            case "beat":
                pass
            case _:
                raise InvalidError(f"{HEADER}: {word} is no word for a place")
        return _OK

    # --- ends -----------------------------------------------------------------------------------

    def _end_forgotten(self) -> None:
        """End the calls whose callers are silent, and those in which nothing moves."""
        now_s = self._clock.monotonic_s()
        for key, call in list(self._open.items()):
            stream = call.stream
            if call.is_placed and call.heard_s < now_s - SILENCE_S:
                self._drop(key)
            elif stream.moved_s < now_s - stream.idle_s:
                if stream.is_over and call.is_placed:
                    self._drop(key)
                elif call.ended is None:
                    call.ended = DeadlineExceededError(
                        f"no byte of the call's streams moved for {stream.idle_s:g} s, its "
                        "deadline; whether it took effect is unknown"
                    )
                    call.scope.cancel()

    def _drop(self, key: str) -> None:
        """Forget a call, and end it if it runs."""
        call = self._open.pop(key, None)
        if call is not None:
            call.scope.cancel()


def _got(number: int, part: bytes | None, reply: bytes) -> Packet:
    """Return the answer to `get`."""
    if part is None:
        return Packet(subject="", headers={HEADER: str(Word("wait"))})
    if part:
        return Packet(subject="", body=part, headers={HEADER: str(Word("part", number))})
    return Packet(subject="", body=reply, headers={HEADER: str(Word("over"))})
