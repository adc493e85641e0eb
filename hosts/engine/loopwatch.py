"""Tells what waits for an event loop while something else has its thread.

asyncio says neither that a socket is ready nor that a callback waits, so this looks at two
attributes that its loops have had since Python 3.4. A loop without them is served less well and
not wrongly: nothing ever seems to wait for it.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Sized


class LoopWatch:
    """Watches one event loop; `wait` is for another thread, `is_quiet` for the loop's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ready: Sized = getattr(loop, "_ready", ())
        descriptor = _descriptor(loop)
        self._poll: select.poll | None = None
        if descriptor is not None:
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)

    @classmethod
    def of_running_loop(cls) -> LoopWatch | None:
        """Return a watch of the loop that runs on this thread, None when none does."""
        try:
            return cls(asyncio.get_running_loop())
        except RuntimeError:
            return None

    @property
    def can_wait(self) -> bool:
        """Tell whether `wait` can see anything."""
        return self._poll is not None

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as I/O waits for the loop, False when none did until the timeout.

        It stays True until the loop has taken what waits. A loop that was closed is never ready.
        """
        assert self._poll is not None, "asked before whether it can wait"
        try:
            return any(event & select.POLLIN for _, event in self._poll.poll(timeout_s * 1000))
        except OSError:
            return False

    @property
    def is_quiet(self) -> bool:
        """Tell whether no callback waits to run, besides the one that asks."""
        return not self._ready


def _descriptor(loop: asyncio.AbstractEventLoop) -> int | None:
    """Return the file descriptor that is readable while I/O waits for the loop, if it has one."""
    selector = getattr(loop, "_selector", None)
    fileno: Callable[[], int] | None = getattr(selector, "fileno", None)
    try:
        return None if fileno is None else fileno()
    except (OSError, ValueError):  # closed
        return None
