"""The streamed exchanges of one process: all its lanes, with one subscription for their frames.

Both sides of an exchange say that they are there at every beat; who hears nothing for
`Pace.silence` beats gives it up. Nothing here knows requests and answers.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts.http.flow import Budget, Inflow
from hosts.http.lane import Lane, LostError
from lattice.bus.base import Bus, Packet
from lattice.bus.options import INBOX_PREFIX
from lattice.errors import DecodeError, LatticeError
from lattice.wire.codec import decode_as, encode
from lattice.wire.http import HttpFrame
from lattice.wire.subjects import Names

FRAMES_PENDING_MAX = 65_536
"""Frames between the bus and the lanes, which take them at once: their windows bound the bytes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often two sides tell each other that they are there, and how long they wait for it."""

    beat_s: float = 1.0  # most exchanges are over before the next one
    silence: int = 5  # beats of our own without a word: a host that is stalled itself counts none


class Lanes:
    """The lanes of one process. `run` carries their frames."""

    def __init__(self, *, host: str, bus: Bus, names: Names, pace: Pace | None = None) -> None:
        self._bus = bus
        self._names = names
        self._pace = pace or Pace()
        subject = names.http_lanes(host, f"p{secrets.token_hex(8)}")
        self._pattern = subject
        self._base = subject.removesuffix("*")
        self._budget = Budget()
        self._open: dict[str, Lane] = {}
        self._group: TaskGroup | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Carry frames until cancelled; "started" when those of others arrive.

        Raises:
            LatticeError: the bus refused the subscription.
        """
        try:
            async with (
                self._bus.subscribe(self._pattern, pending_max=FRAMES_PENDING_MAX) as packets,
                anyio.create_task_group() as self._group,
            ):
                self._group.start_soon(self._beat)
                task_status.started()
                async for packet in packets:
                    self._deliver(packet)
                self._group.cancel_scope.cancel()
        finally:
            for lane in tuple(self._open.values()):
                lane.fail(LostError("this host stopped before the exchange was over"))

    @contextmanager
    def lane(
        self, peer: str | None = None, granted: int = 0, *, receives: bool = True
    ) -> Iterator[Lane]:
        """Yield a new lane, of who asks; or of who answers, with what the request says: `peer` is
        where the asker takes frames, empty if nowhere, and `granted` its credit.

        `receives`: bytes of a body come here.

        What fails the lane cancels the block, and is raised at its end.

        Raises:
            LostError: the other side gave the exchange up, or is heard no more.
            LatticeError: what it told of the end.
            InvalidError: as `Lane.attach`.
        """
        token = secrets.token_hex(16)
        window = self._budget.take() if receives else 0
        lane = Lane(
            self._bus, self._base + token, Inflow(window), self.is_address, asks=peer is None
        )
        self._open[token] = lane
        try:
            if peer is not None:
                lane.attach(peer, granted)
            with lane.scope:
                yield lane
        finally:
            del self._open[token]
            lane.is_closed = True
            if receives:
                self._budget.give_back(window)
            if lane.watching is not None:
                lane.watching.cancel()
        if lane.scope.cancelled_caught and lane.failure is not None:
            raise lane.failure

    def is_address(self, subject: str) -> bool:
        """Tell whether frames may go to a subject that somebody else named.

        We may write what the asker may not: so only to the lane of a host, or to an inbox, whose
        last tokens nobody else can know.
        """
        return self._names.is_http_lane(subject) or subject.startswith(f"{INBOX_PREFIX}.")

    def _deliver(self, packet: Packet) -> None:
        try:
            frame = decode_as(HttpFrame, packet.body)
        except DecodeError as error:
            log.warning("a frame on %s is malformed and ignored: %s", packet.subject, error)
            return
        lane = self._open.get(packet.subject.rpartition(".")[2])
        if lane is not None:
            lane.arrive(frame)
        elif frame.kind == "beat" and self.is_address(frame.lane) and self._group is not None:
            # The other side goes on with an exchange that is over here, or never was.
            self._group.start_soon(self._send, frame.lane, HttpFrame(kind="reset"))

    async def _beat(self) -> None:
        while True:
            await anyio.sleep(self._pace.beat_s)
            for lane in tuple(self._open.values()):
                lane.silence += 1
                if lane.silence > self._pace.silence and not lane.is_alone:
                    silence_s = self._pace.silence * self._pace.beat_s
                    lane.fail(
                        LostError(f"{lane.what}: the other side said nothing for {silence_s:g} s")
                    )
                elif lane.peer:
                    await self._send(lane.peer, lane.beat())
                watch, lane.watch = lane.watch, None
                if watch is not None and self._group is not None:
                    self._group.start_soon(_watched, lane, watch)

    async def _send(self, subject: str, frame: HttpFrame) -> None:
        try:
            await self._bus.publish(subject, encode(frame))
        except LatticeError as error:
            log.debug("a frame to %s was not sent: %s", subject, error)


async def _watched(lane: Lane, watch: Callable[[], Awaitable[None]]) -> None:
    if lane.is_closed:
        return  # between the beat and this
    with anyio.CancelScope() as lane.watching:
        await watch()
