"""Bodies of calls that no message holds, on the host: gathers arguments, and keeps results.

A caller asks for a place, puts the parts there, and has the call run; a result that is too large is
kept until its parts were got. Everything that is held counts against one bound from the moment it
is announced, and is dropped when nobody asks for it. What a call is, is not known here.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskStatus

from lattice.bus.base import Bus, Packet
from lattice.clock import Clock
from lattice.errors import (
    DeadlineExceededError,
    InvalidError,
    NoRouteError,
    NotFoundError,
    OverloadedError,
)
from lattice.wire.codec import encode, is_json
from lattice.wire.large import (
    HEADER,
    LARGE_BYTES_MAX,
    Word,
    part_of,
    part_size,
    parts_of,
    read_word,
)
from lattice.wire.subjects import Names

HELD_BYTES_MAX = 256 * 1024 * 1024
"""Bytes of all large bodies on this host together: four of the largest, which also lie in memory as
messages and in the guest for a while."""

HELD_MAX = 1024
"""Large bodies at once: as many as calls of one deployment."""

GATHERED_MAX = 64
"""Arguments that are put here at once."""

PARTS_MAX = 32
"""Parts that may be on the way here at once, more or less: with one for each body of `GATHERED_MAX`
it never is more than 45 MiB, and a server cuts off a host for which 64 MiB wait."""

IDLE_S = 10.0
"""Seconds without a word after which a body is dropped: a lost part is asked for again within 3."""

RETRY_AFTER_MS = 500
"""What a caller is told to wait when there is no room: most bodies are through by then."""

_OK = encode({"ok": {}})


@dataclass(slots=True)
class _Held:
    """One body: arguments that come in parts for a call, or a result (`packet` is None)."""

    size: int
    packet: Packet | None
    give_up_s: float  # of the caller, by our clock
    heard_s: float  # when a word about it came last
    body: bytes | bytearray = b""
    missing: set[int] = field(default_factory=set[int])


class LargeCalls:
    """The large bodies of one host."""

    def __init__(
        self,
        *,
        host: str,
        bus: Bus,
        names: Names,
        clock: Clock,
        answer: Callable[[Packet], Awaitable[bytes]],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._answer = answer
        process = f"p{secrets.token_hex(8)}"
        self._place = names.large_at(host, process, "")
        self._subject = names.large_at(host, process)
        self._held: dict[str, _Held] = {}
        self._bytes = 0
        self._news = anyio.Event()

    @property
    def held_bytes(self) -> int:
        """Return the bytes that are held or promised a place."""
        return self._bytes

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer words about large bodies until cancelled; "started" when they arrive."""
        async with self._bus.serve(self._subject, self._take, concurrency=HELD_MAX):
            task_status.started()
            while True:
                if not self._held:
                    self._news = anyio.Event()
                    await self._news.wait()
                await anyio.sleep(IDLE_S / 2)
                self._drop_forgotten()

    def open(self, packet: Packet, word: Word) -> bytes:
        """Return the answer to `open`: a place for the arguments of the call.

        Raises:
            InvalidError: they are larger than `LARGE_BYTES_MAX`.
            OverloadedError: there is no room now.
        """
        size, left_ms = word.numbers
        gathered = 1 + sum(1 for held in self._held.values() if held.missing)
        if not 0 < size <= LARGE_BYTES_MAX:
            raise InvalidError(
                f"arguments of {size} bytes, at most {LARGE_BYTES_MAX} can be passed in a call"
            )
        now_s = self._clock.monotonic_s()
        held = _Held(size, packet, now_s + left_ms / 1000, now_s)
        key = self._hold(held) if gathered <= GATHERED_MAX else None
        if key is None:
            raise OverloadedError(
                f"this host holds large bodies of {self._bytes} bytes, at most {HELD_BYTES_MAX}, "
                f"and gathers {gathered - 1}, at most {GATHERED_MAX}",
                retry_after_ms=RETRY_AFTER_MS,
            )
        held.body = bytearray(size)
        held.missing = set(range(parts_of(size)))
        place = {"at": self._place + key, "window": max(PARTS_MAX // gathered, 1)}
        return encode({"ok": place}, as_json=is_json(packet.headers))

    def keep(self, body: bytes) -> dict[str, object] | None:
        """Return where the parts of a result can be got, for an error's details.

        None: it is larger than `LARGE_BYTES_MAX`, or there is no room.
        """
        if len(body) > LARGE_BYTES_MAX:
            return None
        now_s = self._clock.monotonic_s()
        key = self._hold(_Held(len(body), None, now_s, now_s, body))
        return None if key is None else {"at": self._place + key, "bytes": len(body)}

    # --- words --------------------------------------------------------------------------------

    async def _take(self, packet: Packet) -> bytes | Packet:
        word = read_word(packet.headers.get(HEADER, ""))
        key = packet.subject.rpartition(".")[2]
        held = self._held.get(key)
        if word.kind == "done":
            if held is not None:
                self._drop(key)
            return _OK
        if held is None or (held.packet is None) != (word.kind == "get"):
            if word.kind == "get":
                raise NotFoundError("the result is not kept any more; the call did run")
            raise NoRouteError("the arguments are not kept any more; nothing was run")
        held.heard_s = self._clock.monotonic_s()
        match word:
            case Word("put", (number,)):
                return _put(held, number, packet.body)
            case Word("get", (number,)):
                header = {HEADER: str(Word("put", (number,)))}
                return Packet(subject="", body=part_of(bytes(held.body), number), headers=header)
            case Word("run"):
                return await self._run(key, held, packet)
            case _:
                raise InvalidError(f"{HEADER}: {word} is no word for a place")

    async def _run(self, key: str, held: _Held, packet: Packet) -> bytes:
        """Return the answer of the call, which has its arguments now."""
        assert held.packet is not None, "only arguments are run"
        if held.missing:
            raise NoRouteError(f"{len(held.missing)} parts are missing; nothing was run")
        del self._held[key]  # a call is run once; its bytes count until it is over
        try:
            headers = {name: packet.headers[name] for name in packet.headers if name != HEADER}
            whole = Packet(
                subject=held.packet.subject,
                body=bytes(held.body),
                headers=headers,
                reply_to=packet.reply_to,
            )
            held.body = b""
            left_s = held.give_up_s - self._clock.monotonic_s()
            with anyio.fail_after(max(left_s, 0)):
                return await self._answer(whole)
        except TimeoutError:
            raise DeadlineExceededError("the call took longer than its caller waits") from None
        finally:
            self._bytes -= held.size

    # --- what is held ---------------------------------------------------------------------------

    def _hold(self, held: _Held) -> str | None:
        if self._bytes + held.size > HELD_BYTES_MAX or len(self._held) >= HELD_MAX:
            self._drop_forgotten()
        if self._bytes + held.size > HELD_BYTES_MAX or len(self._held) >= HELD_MAX:
            return None
        key = secrets.token_hex(12)
        self._held[key] = held
        self._bytes += held.size
        self._news.set()
        return key

    def _drop(self, key: str) -> None:
        self._bytes -= self._held.pop(key).size

    def _drop_forgotten(self) -> None:
        """Drop what nobody said a word about for `IDLE_S`."""
        oldest_s = self._clock.monotonic_s() - IDLE_S
        for key in [key for key, held in self._held.items() if held.heard_s < oldest_s]:
            self._drop(key)


def _put(held: _Held, number: int, part: bytes) -> bytes:
    size = part_size(held.size, number)
    if not size or len(part) != size:
        raise InvalidError(f"part {number} has {len(part)} bytes, expected {size}")
    assert isinstance(held.body, bytearray), "arguments are gathered"
    start = number * part_size(held.size, 0)
    held.body[start : start + size] = part
    held.missing.discard(number)
    return _OK
