"""A call that streams bytes, for who makes it: gives what the guest reads, takes what it writes.

What is not taken is not asked for, and what the guest does not read is not acknowledged: neither
side holds more than a few parts, however long the streams are. Bytes are never sent again, so a
call with streams has no key. What the words are is in `lattice.wire.streaming`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import IO, Any, TypeAlias, cast

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from lattice.bus.base import Bus, Packet
from lattice.client.large import LargeBodies
from lattice.clock import Clock
from lattice.errors import (
    DeadlineExceededError,
    DecodeError,
    InvalidError,
    NoRouteError,
    UnavailableError,
    from_wire,
)
from lattice.wire.codec import answer_of, decode_as, decode_values
from lattice.wire.large import kept_result
from lattice.wire.messages import CallReply
from lattice.wire.streaming import HEADER, PART_BYTES, POLL_S, SILENCE_S, WINDOW, Word, read_word

ASK_S = POLL_S + 2.0
"""Seconds for one word before it is asked again: a host answers within `POLL_S`."""

BEAT_S = 3.0
"""Seconds between words that only say that the caller is there: three of them may be lost."""

GONE_S = 3.0
"""Seconds for which nobody is found at a host before it counts as lost."""

PAUSE_S = 0.1
"""Seconds before a word is said again that nobody heard."""

RESULT_S = 60.0
"""Seconds for getting a value that no message holds, at the end."""

LAST_WORD_S = 0.2
"""Seconds for telling a host that the caller is done; it finds out by itself later."""

READ_BYTES = 8 * PART_BYTES
"""Bytes that are read of a file at once: on another thread, which costs as much as a part."""

Piece: TypeAlias = bytes | bytearray | memoryview
Source: TypeAlias = Piece | IO[bytes] | Iterable[Piece] | AsyncIterable[Piece]
"""Where the bytes for a guest come from: bytes, a file that is open for reading, or an iterable of
bytes, asynchronous or not. The latter are read on another thread."""


class ByteCall:
    """A call whose guest reads and writes bytes while it runs.

    Iterating gives what the guest writes, in pieces of any size; `value` waits for the end and
    returns what the function returned. One task at a time may do either.
    """

    def __init__(self, bus: Bus, clock: Clock, what: str, *, as_json: bool) -> None:
        self._bus = bus
        self._clock = clock
        self._what = what
        self._as_json = as_json
        self._at = ""  # "": the guest used no stream
        self._reply: CallReply | None = None
        self._failure: BaseException | None = None
        self._news = anyio.Event()
        self._parts: dict[int, bytes] = {}  # that the host gave and nobody took
        self._taken = 0  # parts
        self._asked = 0  # parts
        self._heard_s = clock.monotonic_s()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes that the guest wrote.

        Raises:
            DeadlineExceededError: no byte moved for as long as the deadline, or the host is lost;
                whether the call took effect is unknown.
            LatticeError: how the call ended, after all that was written before.
        """
        while True:
            if self._taken in self._parts:
                part = self._parts.pop(self._taken)
                self._taken += 1
                self._tell()
                return part
            if self._failure is not None:
                raise self._failure
            if self._reply is not None:
                if self._reply.err is not None:
                    raise from_wire(self._reply.err)
                raise StopAsyncIteration
            await self._news.wait()

    async def part(self) -> bytes:
        """Return the next bytes that the guest wrote, `b""` at the end. `Raises:` as iterating."""
        return await anext(self, b"")

    async def value(self) -> Any:
        """Return what the function returned; what it wrote and nobody took is dropped.

        `Raises:` as iterating.
        """
        async for _part in self:
            pass
        assert self._reply is not None, "the iteration has ended"
        return (self._reply.ok or [None])[0]

    @property
    def host(self) -> str:
        """Return the id of the host that ran the call, "" until it is over."""
        return "" if self._reply is None else self._reply.host

    # --- inside ---------------------------------------------------------------------------------

    async def carry(self, source: Source | None) -> None:
        """Move the bytes of both directions until the call is over. Failures are kept."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._kept, self._put_all, source)
            for _ in range(WINDOW):
                group.start_soon(self._kept, self._get_parts)
            group.start_soon(self._kept, self._beat)

    def begin(self, at: str) -> None:
        """Note where the call streams."""
        self._at = at
        self._heard_s = self._clock.monotonic_s()

    def end(self, reply: CallReply) -> None:
        """Note how the call ended."""
        self._reply = reply
        self._tell()

    async def leave(self) -> None:
        """Tell the host that nobody reads or writes here any more."""
        with anyio.move_on_after(LAST_WORD_S, shield=True):
            try:
                headers = {HEADER: str(Word("done"))}
                await self._bus.request(self._at, timeout_s=LAST_WORD_S, headers=headers)
            except (NoRouteError, DeadlineExceededError, UnavailableError):
                return  # it ends the call when it hears nothing

    def _is_over(self) -> bool:
        return self._reply is not None or self._failure is not None

    async def _kept(self, work: Any, *args: Any) -> None:
        try:
            await work(*args)
        except Exception as error:  # noqa: BLE001 (raised where the caller reads)
            if not self._is_over():
                self._failure = error
                self._tell()
                await self.leave()

    async def _put_all(self, source: Source | None) -> None:
        async with anyio.create_task_group() as group:
            await self._kept(self._feed, source, group)

    async def _feed(self, source: Source | None, group: TaskGroup) -> None:
        places = anyio.Semaphore(WINDOW)
        count = 0
        async for part in pieces(source):
            await places.acquire()
            if self._is_over():
                return
            group.start_soon(self._kept, self._put, count, part, places)
            count += 1
        await self._ask(Word("end", count))

    async def _put(self, number: int, part: bytes, places: anyio.Semaphore) -> None:
        try:
            answer = answer_of((await self._ask(Word("put", number), part)).body)
            while not answer.get("taken") and not self._is_over():
                answer = answer_of((await self._ask(Word("ask", number))).body)
        finally:
            places.release()

    async def _get_parts(self) -> None:
        while not self._is_over():
            if self._asked >= self._taken + WINDOW:
                await self._news.wait()
                continue
            number, self._asked = self._asked, self._asked + 1
            while not self._is_over() and not await self._got(number):
                pass

    async def _got(self, number: int) -> bool:
        """Return True when a part was got, or there are no more."""
        packet = await self._ask(Word("get", number))
        found = packet.headers.get(HEADER)
        if found is None:
            answer_of(packet.body)  # which has an error
            raise DecodeError(f"part {number} of a stream came without its number")
        word = read_word(found)
        if word.kind == "wait":
            return False
        if word == Word("part", number) and packet.body:
            self._parts[number] = packet.body
            self._tell()
        elif word.kind == "over":
            await self._end_with(number, packet.body)
        else:
            raise DecodeError(f"part {number} of a stream came as {word}")
        return True

    async def _end_with(self, number: int, body: bytes) -> None:
        """Take the reply; parts before `number` may still be on their way."""
        reply = self._decoded(body)
        if reply.err is not None and (kept := kept_result(reply.err)) is not None:
            give_up_s = self._clock.monotonic_s() + RESULT_S
            large = LargeBodies(self._bus, self._clock)
            reply = self._decoded(await large.get(kept, give_up_s=give_up_s))
        while not all(each in self._parts for each in range(self._taken, number)):
            if self._is_over():
                return
            await self._news.wait()
        if not self._is_over():
            self.end(reply)

    def _decoded(self, body: bytes) -> CallReply:
        if self._as_json:
            return decode_as(CallReply, body, as_json=True)
        return decode_values(CallReply, body, "ok", "err")

    async def _beat(self) -> None:
        while not self._is_over():
            with anyio.move_on_after(BEAT_S):
                while not self._is_over():
                    await self._news.wait()
            if not self._is_over():
                await self._ask(Word("beat"))

    async def _ask(self, word: Word, body: bytes = b"") -> Packet:
        """Return the answer to a word, which is said again until the host counts as lost."""
        while True:
            try:
                packet = await self._bus.request(
                    self._at, body, timeout_s=ASK_S, headers={HEADER: str(word)}
                )
            except (NoRouteError, UnavailableError, DeadlineExceededError) as error:
                patience_s = GONE_S if isinstance(error, NoRouteError) else SILENCE_S
                if self._clock.monotonic_s() - self._heard_s > patience_s:
                    raise DeadlineExceededError(
                        f"call of {self._what}: its host was lost while bytes moved "
                        f"({error.message}); whether it took effect is unknown"
                    ) from None
                await anyio.sleep(PAUSE_S)
            else:
                self._heard_s = self._clock.monotonic_s()
                return packet

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


@asynccontextmanager
async def carried(call: ByteCall, source: Source | None) -> AsyncIterator[ByteCall]:
    """Move a call's bytes while the context lasts; leaving it early ends the call."""
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(call.carry, source)
        try:
            yield call
        except Exception as error:  # noqa: BLE001 (raised below, outside of the group)
            failure = error
        finally:
            group.cancel_scope.cancel()
            await call.leave()
    if failure is not None:
        raise failure


async def pieces(source: Source | None) -> AsyncIterator[bytes]:
    """Yield the bytes of a source in parts, small pieces as they come.

    Raises:
        InvalidError: it is no source, or gives something else than bytes.
    """
    if isinstance(source, Piece):
        source = (source,)
    if isinstance(source, AsyncIterable):
        async for piece in source:
            for part in _cut(piece):
                yield part
        return
    read = _reader(source)
    while True:
        found = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        if not found:
            return
        for part in _cut(found):
            yield part


def _reader(source: object) -> Callable[[], Piece | None]:
    """Return what gives the next piece, nothing at the end."""
    # `read1` waits for some bytes, `read` of a pipe for all of them.
    read = getattr(source, "read1", None) or getattr(source, "read", None)
    if read is not None:
        return partial(cast("Callable[[int], bytes]", read), READ_BYTES)
    if isinstance(source, Iterable):
        whole = filter(None, source)  # an empty piece is not the end
        return lambda: next(whole, None)
    if source is None:
        return lambda: None
    raise InvalidError(f"bytes are streamed from bytes, files and iterables, not {source!r}")


def _cut(piece: object) -> Iterable[bytes]:
    if not isinstance(piece, Piece):
        raise InvalidError(f"a stream is of bytes, found {type(piece).__name__}")
    if isinstance(piece, bytes) and len(piece) <= PART_BYTES:
        return (piece,) if piece else ()
    whole = memoryview(piece).cast("B")
    return (bytes(whole[start : start + PART_BYTES]) for start in range(0, len(whole), PART_BYTES))
