"""Log lines of guests and of the host: the last ones kept, all of them published.

Publishing is at most once and never holds up a guest: over `OUTBOX_LINES_MAX` waiting lines the
next ones are only kept here, and counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import anyio

from lattice.bus.base import Bus
from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.wire.codec import encode
from lattice.wire.subjects import Names

KEPT_LINES_MAX = 2000
"""Lines that a host keeps for `lattice logs`: half a megabyte of ordinary lines."""

LINE_LENGTH_MAX = 4000
"""Characters of one line; the rest of a longer one is cut."""

OUTBOX_LINES_MAX = 1000
"""Lines that wait to be published: one flood of a guest, not more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line. `deployment` is `""` for the host's own."""

    time_s: float
    level: str
    deployment: str
    host: str
    line: str


class Logbook:
    """The log of one host."""

    def __init__(self, *, host: str, names: Names, clock: Clock) -> None:
        self._host = host
        self._names = names
        self._clock = clock
        self._kept: deque[LogLine] = deque(maxlen=KEPT_LINES_MAX)
        self._outbox: deque[LogLine] = deque()
        self._wake = anyio.Event()
        self.dropped_lines = 0

    def write(self, deployment: str, level: str, line: str) -> None:
        """Keep a line and hand it to the publisher."""
        entry = LogLine(
            time_s=self._clock.wall_s(),
            level=level,
            deployment=deployment,
            host=self._host,
            line=line[:LINE_LENGTH_MAX],
        )
        self._kept.append(entry)
        if len(self._outbox) >= OUTBOX_LINES_MAX:
            self.dropped_lines += 1
            return
        self._outbox.append(entry)
        self._wake.set()

    def last(self, count: int, deployment: str | None = None) -> tuple[LogLine, ...]:
        """Return the last lines, oldest first, of one deployment or (None) of all."""
        lines = [line for line in self._kept if deployment in (None, line.deployment)]
        return tuple(lines[-count:]) if count > 0 else ()

    async def publish(self, bus: Bus) -> None:
        """Publish lines as they come, until cancelled. A failed one is dropped and counted."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._outbox:
                entry = self._outbox.popleft()
                try:
                    await bus.publish(self._names.log(entry.deployment, self._host), encode(entry))
                except LatticeError:
                    self.dropped_lines += 1
