"""Log lines of guests and of the host: the last ones kept, all of them published.

Publishing is at most once and never holds up a guest: over `OUTBOX_LINES_MAX` waiting lines the
next ones are only kept here, counted, and told of when publishing works again. The host's own lines
are what its modules log, so that one text serves the process's log and the lattice's.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio

from lattice.bus.base import Bus
from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.wire.codec import encode
from lattice.wire.requests import LogLine
from lattice.wire.subjects import Names

KEPT_LINES_MAX = 2000
"""Lines of guests that a host keeps for `lattice logs`: half a megabyte of ordinary lines."""

OWN_LINES_MAX = 500
"""Lines of its own that a host keeps, apart, so that neither it nor a guest pushes out the other's.
"""

LINE_LENGTH_MAX = 4000
"""Characters of one line; the rest of a longer one is cut."""

OUTBOX_LINES_MAX = 1000
"""Lines that wait to be published: one flood of a guest, not more."""


class Logbook:
    """The log of one host."""

    def __init__(self, *, host: str, names: Names, clock: Clock) -> None:
        self._host = host
        self._names = names
        self._clock = clock
        self._numbers = itertools.count()
        self._kept: deque[tuple[int, LogLine]] = deque(maxlen=KEPT_LINES_MAX)
        self._own: deque[tuple[int, LogLine]] = deque(maxlen=OWN_LINES_MAX)
        self._outbox: deque[LogLine] = deque()
        self._wake = anyio.Event()
        self._thread = threading.get_ident()
        self._told_lines = 0
        self.dropped_lines = 0

    def write(self, deployment: str, level: str, line: str) -> None:
        """Keep a line and hand it to the publisher.

        From another thread than the logbook's, it is published together with the next one.
        """
        entry = LogLine(
            time_s=self._clock.wall_s(),
            level=level,
            deployment=deployment,
            host=self._host,
            line=line[:LINE_LENGTH_MAX],
        )
        (self._kept if deployment else self._own).append((next(self._numbers), entry))
        if len(self._outbox) >= OUTBOX_LINES_MAX:
            self.dropped_lines += 1
            return
        self._outbox.append(entry)
        if threading.get_ident() == self._thread:
            self._wake.set()

    def last(self, count: int, deployment: str | None = None) -> tuple[LogLine, ...]:
        """Return the last lines, oldest first, of one deployment, the host (`""`) or (None) all."""
        # Copies, because another thread may add to them.
        kept = sorted((*self._kept.copy(), *self._own.copy()), key=lambda numbered: numbered[0])
        lines = [line for _, line in kept if deployment in (None, line.deployment)]
        return tuple(lines[-count:]) if count > 0 else ()

    async def publish(self, bus: Bus) -> None:
        """Publish lines as they come, until cancelled. A failed one is dropped and counted."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            is_published = False
            while self._outbox:
                entry = self._outbox.popleft()
                try:
                    await bus.publish(self._names.log(entry.deployment, self._host), encode(entry))
                    is_published = True
                except LatticeError:
                    self.dropped_lines += 1
                    is_published = False
            if is_published:
                self._tell_dropped()

    def _tell_dropped(self) -> None:
        dropped = self.dropped_lines - self._told_lines
        if dropped:
            self._told_lines = self.dropped_lines
            self.write("", "warn", f"{dropped} log lines of this host were not published")


_AT_WORK: ContextVar[Logbook | None] = ContextVar("logbook of the host at work", default=None)
"""Tells the hosts of one process apart: tasks and threads inherit it from the host's first task."""


@contextmanager
def own_lines(logbook: Logbook) -> Iterator[None]:
    """Have what the host logs from `info` on in its logbook too, while the context lasts.

    What the level of the process's log leaves out is left out here too.
    """
    logger = logging.getLogger("hosts")
    forwarder = _Forwarder(logbook)
    token = _AT_WORK.set(logbook)
    logger.addHandler(forwarder)
    try:
        yield
    finally:
        logger.removeHandler(forwarder)
        _AT_WORK.reset(token)


class _Forwarder(logging.Handler):
    """Writes records into a logbook, as lines of the host's own."""

    def __init__(self, logbook: Logbook) -> None:
        super().__init__(logging.INFO)
        self._logbook = logbook

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, unless another host of this process made it."""
        if _AT_WORK.get() not in (None, self._logbook):
            return
        line = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            line += f": {record.exc_info[1]!r}"
        self._logbook.write("", _level(record.levelno), line)


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    return "warn" if number >= logging.WARNING else "info"
