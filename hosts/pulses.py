"""Signs of life for callers that asked for them: pulses while their calls are at work.

One task serves all calls of a host, and publishes nothing for those that end before the first
pulse is due; what a call costs for it is an entry in a table.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from lattice.bus.base import Bus
from lattice.errors import LatticeError
from lattice.wire.pulse import PULSE_S, PULSE_STATUS

log = logging.getLogger(__name__)


class Pulses:
    """The calls at work whose callers want to hear of them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[str, bool] = {}  # reply subject -> whether it was there a pulse ago
        self._some = anyio.Event()

    @contextmanager
    def of(self, reply_to: str) -> Iterator[None]:
        """Send pulses to who asked while the context lasts, the first after `PULSE_S` to twice
        that."""
        self._waiting[reply_to] = False
        self._some.set()
        try:
            yield
        finally:
            del self._waiting[reply_to]

    async def run(self) -> None:
        """Send what is due until cancelled."""
        while True:
            if not self._waiting:
                self._some = anyio.Event()
                await self._some.wait()
            await anyio.sleep(PULSE_S)
            for reply_to, was_there in tuple(self._waiting.items()):
                if not was_there:
                    self._waiting[reply_to] = True
                elif reply_to in self._waiting:  # it may have ended while others were told
                    await self._pulse(reply_to)

    async def _pulse(self, reply_to: str) -> None:
        try:
            await self._bus.publish(reply_to, headers=PULSE_STATUS)
        except LatticeError as error:
            log.debug("a pulse was not sent: %s", error)
