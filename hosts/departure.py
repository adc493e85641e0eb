"""How a host leaves its lattice: told first, emptied if that was asked, and then in good order.

What runs goes on until it is told to stop; nothing here decides what runs where. A host that was
asked to drain is an ordinary host until its replicas are elsewhere, or the time for that is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import anyio

from hosts.http.front import Front
from hosts.presence import Presence
from hosts.runner import DRAIN_S, STOP_S, Runner
from hosts.slots import Slot
from lattice.errors import LatticeError

LEAVE_S = 2.0
"""Seconds that a stopping host spends on each of its last words to the lattice."""

log = logging.getLogger(__name__)


class Departure:
    """The leaving of one host. `stop` is set when it is to leave now."""

    def __init__(
        self,
        *,
        presence: Presence,
        runner: Runner,
        front: Front,
        slots: Callable[[], Collection[Slot]],
        stop: anyio.Event,
    ) -> None:
        self._presence = presence
        self._runner = runner
        self._front = front
        self._slots = slots
        self._stop = stop
        self._changed = anyio.Event()

    def noted(self) -> None:
        """Take note that replicas may have gone."""
        self._changed.set()

    async def drain(self, within_s: float) -> None:
        """Have the scheduler move what runs here, then let the host leave; at the latest when the
        time is over, with what is left.
        """
        log.info("host drains before it stops, for up to %g s", within_s)
        with anyio.move_on_after(within_s) as waiting:
            await self._tell()
            while any(slot.lives for slot in self._slots()):
                self._changed = anyio.Event()
                await self._changed.wait()
        if waiting.cancelled_caught:
            left = sum(slot.lives for slot in self._slots())
            log.warning("host stops with %d replicas that were not moved within %g s",
                        left, within_s)  # fmt: skip
        self._stop.set()

    async def leave(self) -> None:
        """Take nothing new, finish what runs in time, and end every replica.

        The lattice is told first, so that replacements begin while the calls here are finished.
        """
        log.info("host stops")
        with anyio.move_on_after(LEAVE_S):
            await self._tell()
        await self._front.drain()
        with anyio.move_on_after(DRAIN_S + STOP_S):
            await self._runner.stop_all()

    async def withdraw(self) -> None:
        """Take the host's inventory out of the lattice, if it can be reached."""
        with anyio.move_on_after(LEAVE_S):
            try:
                await self._presence.withdraw()
            except LatticeError as exc:
                log.info("inventory not withdrawn: %s", exc)

    async def _tell(self) -> None:
        try:
            await self._presence.change(is_draining=True)
        except LatticeError as exc:
            log.info("the lattice was not told that this host leaves: %s", exc)
