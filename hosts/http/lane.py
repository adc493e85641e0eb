"""One side of a streamed exchange: sends numbered frames, and hands out those that came, in order.

What may be sent and what to make of what comes is decided by `hosts.http.flow`. Nothing here knows
requests and answers, nor how frames get here (`hosts.http.lanes`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import anyio

from hosts.engine.bodyqueue import JOINED_BYTES_MAX
from hosts.http.base import Headers
from hosts.http.flow import CHUNK_BYTES, Inflow, Outflow, Verdict
from lattice.bus.base import Bus
from lattice.errors import InvalidError, LatticeError, from_wire
from lattice.wire.codec import encode
from lattice.wire.http import FrameKind, HttpFrame, flat
from lattice.wire.messages import Leg

LAST_WORD_S = 1.0
"""Seconds for the word that an exchange is over: publishing hardly ever waits."""

UNREAD_MAX = 64
"""Frames besides those of a body that wait to be received: heads and informational answers, which
no window bounds."""


class LostError(Exception):
    """The other side of an exchange gave it up without a reason, or is heard no more."""


class Lane:
    """One side of a streamed exchange. One task sends, one receives."""

    def __init__(
        self,
        bus: Bus,
        address: str,
        inflow: Inflow,
        is_address: Callable[[str], bool],
        *,
        asks: bool,
    ) -> None:
        self.address = address
        self.peer = ""
        """Where the other side takes frames; empty as long as it has not said so."""
        self.is_alone = False
        """Whether the other side takes no frames at all."""
        self.what = "an HTTP exchange"
        """What the exchange is, for messages."""
        self.outflow = Outflow()
        self.inflow = inflow
        self.silence = 0
        """Beats without a word of the other side."""
        self.watch: Callable[[], Awaitable[None]] | None = None
        """What is to be run beside an exchange that outlives a beat."""
        self.watching: anyio.CancelScope | None = None
        self.scope = anyio.CancelScope()
        self.asks = asks
        """Whether the answer comes here, and is not made here."""
        self.failure: Exception | None = None
        self.is_closed = False
        self._has_sent_end = False
        self._bus = bus
        self._is_address = is_address
        self._arrived: deque[HttpFrame] = deque()
        self._unread = 0  # of those, how many no window bounds
        self._changed: anyio.Event | None = None  # made when somebody waits

    @property
    def is_over(self) -> bool:
        """Tell whether the whole answer has passed: what becomes of the other side then does not
        matter any more, but to who still reads from it.
        """
        return self.inflow.is_ended if self.asks else self._has_sent_end

    def attach(self, peer: str, granted: int) -> None:
        """Learn where the other side takes frames, and how many bytes may go there at first.

        Raises:
            InvalidError: it is no place for frames.
        """
        self.is_alone = not peer
        if peer and not self._is_address(peer):
            raise InvalidError(f"{self.what}: {peer[:100]!r} is no subject for frames")
        self.peer = peer
        self.outflow.grant(granted)

    def fail(self, error: Exception) -> None:
        """End the exchange with an error, unless it has one already."""
        if self.failure is None:
            self.failure = error
            if self.is_over:
                self._tell()
            else:
                self.scope.cancel()

    # --- sending -------------------------------------------------------------------------------

    async def send(
        self,
        kind: FrameKind,
        *,
        status: int = 0,
        headers: Headers = (),
        legs: list[Leg] | None = None,
    ) -> None:
        """Send a numbered frame without body.

        Raises:
            LostError: the bus cannot be reached, so the other side misses a frame.
        """
        number = self.outflow.send()
        self._has_sent_end = self._has_sent_end or kind == "end"
        await self._publish(
            HttpFrame(
                kind=kind, sequence=number, status=status, headers=flat(headers), legs=legs or []
            )
        )

    async def send_data(self, data: bytes) -> None:
        """Send bytes of the body as credit comes for them.

        Raises:
            LostError: as `send`.
        """
        view = memoryview(data)
        while view:
            while not self.outflow.room:
                await self._change()
            size = min(len(view), self.outflow.room, CHUNK_BYTES)
            number = self.outflow.send(size)
            await self._publish(HttpFrame(kind="data", sequence=number, data=bytes(view[:size])))
            view = view[size:]

    async def give_up(self, error: LatticeError | None = None) -> None:
        """Tell the other side that the exchange is over, if it can be told."""
        if self.peer:
            err = error.to_wire() if error is not None else None
            with anyio.move_on_after(LAST_WORD_S, shield=True), suppress(LostError):
                await self._publish(HttpFrame(kind="reset", err=err))

    def beat(self) -> HttpFrame:
        """Return the frame that says: I am here, and this is how far I am."""
        return HttpFrame(
            kind="beat",
            sequence=self.outflow.sent_frames,
            granted=self.inflow.granted,
            lane=self.address,
        )

    # --- receiving -----------------------------------------------------------------------------

    async def receive(self) -> HttpFrame:
        """Return the next numbered frame, with which credit for its bytes is given back.

        Raises:
            LostError: as `send`.
        """
        while not self._arrived:
            await self._change()
        frame = self._arrived.popleft()
        self._unread -= frame.kind != "data"
        granted = self.inflow.take(len(frame.data)) if frame.data else None
        if granted is not None:
            await self._publish(HttpFrame(kind="grant", granted=granted))
        return frame

    def arrive(self, frame: HttpFrame) -> None:
        """Take a frame of the other side."""
        self.silence = 0
        match frame.kind:
            case "reset":
                self.fail(_told(frame, self.what))
                return
            case "grant" | "beat":
                if not self.peer and self._is_address(frame.lane):
                    self.peer = frame.lane
                self.outflow.grant(frame.granted)
                verdict = self.inflow.told(frame.sequence) if frame.kind == "beat" else "ignore"
            case _:
                verdict = self.inflow.arrive(
                    frame.sequence, len(frame.data), is_end=frame.kind == "end"
                )
                if verdict == "take":
                    verdict = self._keep(frame)
        if verdict == "broken":
            self.fail(LostError(f"{self.what}: frames were lost on the way"))
        self._tell()

    def _keep(self, frame: HttpFrame) -> Verdict:
        """Keep a frame until it is received; small ones of a body become one."""
        if frame.kind != "data":
            self._unread += 1
            self._arrived.append(frame)
            return "take" if self._unread <= UNREAD_MAX else "broken"
        last = self._arrived.pop() if self._arrived else None
        if (
            last is not None
            and last.kind == "data"
            and (len(last.data) + len(frame.data) <= JOINED_BYTES_MAX)
        ):
            frame = replace(last, data=last.data + frame.data)
        elif last is not None:
            self._arrived.append(last)
        self._arrived.append(frame)
        return "take"

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()

    async def _change(self) -> None:
        """Return when something came; who sends and who receives may both wait.

        Raises:
            LostError: nothing will come any more, and the answer has passed.
        """
        if self.failure is not None and self.is_over:
            raise LostError(str(self.failure))
        if self._changed is None or self._changed.is_set():
            self._changed = anyio.Event()
        await self._changed.wait()

    async def _publish(self, frame: HttpFrame) -> None:
        try:
            await self._bus.publish(self.peer, encode(frame))
        except LatticeError as error:
            raise LostError(f"{self.what}: {error}") from error


def _told(frame: HttpFrame, what: str) -> Exception:
    if frame.err is not None:
        return from_wire(frame.err)
    return LostError(f"{what}: the other side gave it up")
