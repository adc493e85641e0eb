"""The byte streams of one call: what its guest reads and writes, and the parts that the caller has.

Both directions are bounded: a part that the guest has not begun to read is not acknowledged, and a
guest that writes waits until what it wrote was got. Nothing here knows messages or places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import anyio

from hosts.engine.base import Capability, World
from hosts.engine.bodyqueue import append
from lattice.clock import Clock
from lattice.errors import InvalidError
from lattice.model.wit import interface_key
from lattice.wire.streaming import PART_BYTES, WINDOW

INTERFACE = "lattice:streams/bytes@0.1.0"
"""What hosts offer, and guests import without a grant."""

WRITTEN_BYTES_MAX = WINDOW * PART_BYTES
"""Bytes that wait to be got before the guest waits, too."""


class ByteStream:
    """What goes to and comes from one call while it runs."""

    def __init__(self, clock: Clock, idle_s: float) -> None:
        """`idle_s`: how long no byte need move before somebody ends the call."""
        self._clock = clock
        self.idle_s = idle_s
        self.moved_s = clock.monotonic_s()
        """When a byte moved last, or the call began."""
        self.used = anyio.Event()
        """Set when the guest uses the streams, or the call is over."""
        self.was_used = False
        """Whether the guest used them."""
        self.is_over = False
        """Whether the guest has returned: nothing more will be written."""
        self._changed = anyio.Event()
        self._parts: dict[int, bytes] = {}  # that the caller put and the guest did not begin
        self._current = memoryview(b"")  # what is left of the part that the guest reads
        self._next = 0  # the part that the guest begins next
        self._end: int | None = None  # how many parts there are, when the caller said so
        self._written: deque[memoryview] = deque()
        self._written_bytes = 0
        self._sent: dict[int, bytes] = {}  # parts that were got, and may be got again
        self._cut = 0  # the number of the next part of what is written

    @property
    def held_bytes(self) -> int:
        """Return the bytes that lie here."""
        parts = sum(map(len, self._parts.values())) + sum(map(len, self._sent.values()))
        return parts + len(self._current) + self._written_bytes

    def bound(self, idle_s: float) -> None:
        """Let the call be ended after so long, if that is shorter than before."""
        self.idle_s = min(self.idle_s, idle_s)

    # --- the guest ----------------------------------------------------------------------------

    async def read(self, at_most: int) -> bytes:
        """Return the next bytes, at least one; `b""` at the end."""
        self._use()
        while not self._current:
            part = self._parts.pop(self._next, None)
            if part is not None:
                self._current = memoryview(part)
                self._next += 1
                self._tell()
            elif self._next == self._end:
                return b""
            else:
                await self._changed.wait()
        taken = bytes(self._current[: max(at_most, 1)])
        self._current = self._current[len(taken) :]
        self._moved()
        return taken

    async def write(self, data: bytes) -> None:
        """Hand bytes to the caller; return when they have room here."""
        self._use()
        rest = memoryview(data)
        while rest:
            room = WRITTEN_BYTES_MAX - self._written_bytes
            if room <= 0:
                await self._changed.wait()
                continue
            taken, rest = rest[:room], rest[room:]
            append(self._written, data if len(taken) == len(data) else bytes(taken))
            self._written_bytes += len(taken)
            self._tell()

    def finish(self) -> None:
        """Note that the call is over; what was written can still be got."""
        self.is_over = True
        self._parts.clear()
        self._current = memoryview(b"")
        self._moved()
        self.used.set()
        self._tell()

    # --- the caller -----------------------------------------------------------------------------

    def put(self, number: int, part: bytes) -> None:
        """Take a part of what the guest reads; one that was put before is the same.

        Raises:
            InvalidError: it is empty, too large, or far ahead of what the guest reads.
        """
        if not 0 < len(part) <= PART_BYTES:
            raise InvalidError(f"part {number} has {len(part)} bytes, 1 to {PART_BYTES} are taken")
        if number >= self._next + WINDOW:
            raise InvalidError(
                f"part {number} came while the guest reads {self._next}, {WINDOW} parts are taken"
            )
        if number >= self._next and not self.is_over and number not in self._parts:
            self._parts[number] = part
            self._moved()
            self._tell()

    def end(self, count: int) -> None:
        """Note that the guest reads so many parts, and then the end."""
        if self._end is None:
            self._end = count
            self._moved()
            self._tell()

    async def taken(self, number: int, within_s: float) -> bool:
        """Return True once the guest has begun with a part or is over, False when time is up."""
        await self._until(lambda: self.is_over or number < self._next, within_s)
        return self.is_over or number < self._next

    async def part(self, number: int, within_s: float) -> bytes | None:
        """Return a part of what the guest wrote; `b""`: there are no more; None: time is up.

        Raises:
            InvalidError: the part was got before, and is not kept any more.
        """
        for old in [each for each in self._sent if each <= number - WINDOW]:
            del self._sent[old]
        if number < self._cut and number not in self._sent:
            raise InvalidError(f"part {number} of what was written is not kept any more")
        await self._until(lambda: self._has(number), within_s)
        if number in self._sent:
            return self._sent[number]
        if number == self._cut and self._written:
            part = self._sent[number] = self._cut_part()
            return part
        return b"" if self.is_over and number >= self._cut and not self._written else None

    def _has(self, number: int) -> bool:
        if number == self._cut and self._written:
            return True
        return number in self._sent or (self.is_over and not self._written)

    def _cut_part(self) -> bytes:
        found: list[memoryview] = []
        room = PART_BYTES
        while self._written and room:
            piece = self._written[0][:room]
            found.append(piece)
            room -= len(piece)
            if len(piece) == len(self._written[0]):
                self._written.popleft()
            else:
                self._written[0] = self._written[0][len(piece) :]
        self._written_bytes -= PART_BYTES - room
        self._cut += 1
        self._moved()
        self._tell()
        return b"".join(found)

    async def _until(self, is_so: Callable[[], bool], within_s: float) -> None:
        if is_so():
            return
        with anyio.move_on_after(within_s):
            while not is_so():
                await self._changed.wait()

    def _use(self) -> None:
        self.was_used = True
        self.used.set()

    def _moved(self) -> None:
        self.moved_s = self._clock.monotonic_s()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


given: ContextVar[ByteStream | None] = ContextVar("given", default=None)
"""The streams of the call that is being answered, None when its caller gave none."""


def is_streaming(interface: str) -> bool:
    """Tell whether an import is the one that this satisfies."""
    return interface_key(interface) == interface_key(INTERFACE)


def capability(current: Callable[[], ByteStream | None]) -> Capability:
    """Return what satisfies the import of an instance; `current` has the streams of its call."""

    def streams() -> ByteStream:
        found = current()
        if found is None:
            raise InvalidError(
                f"a guest used {INTERFACE} in a call that has no streams: only callers from "
                "outside give some (`stream` of the Python client), links and jobs have none"
            )
        return found

    async def read(*args: Any) -> bytes:
        return await streams().read(*args)

    async def write(*args: Any) -> None:
        await streams().write(*args)

    return Capability(waiting={"read": read, "write": write})


def of_process(world: World) -> Capability:
    """Return the same for a guest that runs by itself: its streams are those of its world."""

    async def read(at_most: int) -> bytes:
        return b"" if world.stdin is None else await world.stdin(max(at_most, 1))

    async def write(data: bytes) -> None:
        if world.stdout is not None:
            world.stdout(data)

    return Capability(waiting={"read": read, "write": write})


def stream_imports(imports: Iterable[str]) -> tuple[str, ...]:
    """Return those of a program's imports that this satisfies, as it names them."""
    return tuple(name for name in imports if is_streaming(name))
