"""Time as a value that shells hand to cores.

A core never holds a clock: it gets `now_s` as an argument. Only durations are compared across
machines, never clock times.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a shell reads the time."""

    def monotonic_s(self) -> float:
        """Return seconds that only ever grow; their zero means nothing."""
        ...

    def wall_s(self) -> float:
        """Return seconds since the Unix epoch, for people and event times only."""
        ...


class SystemClock:
    """The machine's own clocks."""

    # The functions themselves, without one around: a request asks for the time eight times.
    monotonic_s = staticmethod(time.monotonic)
    wall_s = staticmethod(time.time)
