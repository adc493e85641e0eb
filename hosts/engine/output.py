"""Turns what guests write to their standard streams into lines of the workload's log.

Or passes it on as it is, to whoever wants the bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

LINE_BYTES_MAX = 16 * 1024
"""Longest log line: longer output without a line break is cut into lines of this size."""

DRAIN_BYTES_MAX = 256 * 1024
"""Output of one stream that is logged in one go; a flooding guest loses the rest."""

WINDOW_S = 1.0
"""After this time a stream may log `DRAIN_BYTES_MAX` again, though its call is not over."""


class Output(Protocol):
    """One output stream of a guest."""

    def drain(self) -> None:
        """Log what is complete; called after each call of the guest."""
        ...

    def close(self) -> None:
        """Log what is left. Idempotent."""
        ...


class Lines:
    """Cuts bytes into log lines."""

    def __init__(self, level: str, log: Callable[[str, str], None]) -> None:
        self._level = level
        self._log = log
        self._partial = b""  # a line without its end

    def feed(self, output: bytes) -> None:
        """Log the lines that these bytes complete."""
        *lines, self._partial = (self._partial + output).split(b"\n")
        for line in lines:
            self._emit(line)
        while len(self._partial) > LINE_BYTES_MAX:
            self._emit(self._partial[:LINE_BYTES_MAX])
            self._partial = self._partial[LINE_BYTES_MAX:]

    def flush(self) -> None:
        """Log a last line without its end."""
        if self._partial:
            self._emit(self._partial)
            self._partial = b""

    def _emit(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        for start in range(0, len(text) or 1, LINE_BYTES_MAX):
            self._log(self._level, text[start : start + LINE_BYTES_MAX])


class LoggedOutput:
    """An output stream whose bytes arrive one writing at a time; bounded in time."""

    def __init__(self, level: str, log: Callable[[str, str], None]) -> None:
        self._log = log
        self._lines = Lines(level, log)
        self._window_began_s = 0.0
        self._left_bytes = 0
        self._dropped_bytes = 0

    def write(self, output: bytes) -> None:
        """Log the lines that are complete; what is too much at once is dropped and counted."""
        now_s = time.monotonic()
        if now_s - self._window_began_s >= WINDOW_S:
            self._new_window(now_s)
        taken = output[: self._left_bytes]
        self._left_bytes -= len(taken)
        self._dropped_bytes += len(output) - len(taken)
        if taken:
            self._lines.feed(taken)

    def drain(self) -> None:
        """Tell what was dropped since the last time; what follows may be logged again."""
        if self._dropped_bytes:
            self._new_window(time.monotonic())

    def close(self) -> None:
        """Log what is left, a last line without its end included. Idempotent."""
        self.drain()
        self._lines.flush()

    def _new_window(self, now_s: float) -> None:
        self._window_began_s = now_s
        self._left_bytes = DRAIN_BYTES_MAX
        if self._dropped_bytes:
            self._lines.flush()
            dropped, self._dropped_bytes = self._dropped_bytes, 0
            self._log("warn", f"{dropped} bytes of output dropped: more than is kept at once")


class PassedOutput:
    """An output stream whose bytes go to somebody as they come."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def write(self, output: bytes) -> None:
        """Pass the bytes on; what `take` raises ends the guest's call."""
        self._take(output)

    def drain(self) -> None:
        """Do nothing: nothing is kept."""

    def close(self) -> None:
        """Do nothing: nothing is kept."""


WrittenOutput = LoggedOutput | PassedOutput


def output_of(
    level: str, log: Callable[[str, str], None], take: Callable[[bytes], None] | None
) -> WrittenOutput:
    """Return the stream that a guest's world asks for: lines of the log unless `take` is there."""
    return LoggedOutput(level, log) if take is None else PassedOutput(take)
