"""A guest in the foreground of a shell: in- and output are this process's, and Ctrl-C ends it.

Output goes to the file descriptors themselves, so that nothing is kept back, re-encoded or cut
into lines.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import anyio

STDIN, STDOUT, STDERR = 0, 1, 2

SIGNALS = (signal.SIGINT, signal.SIGTERM)

SIGNAL_STATUS = 128
"""Added to the number of the signal that ended a process, as shells do."""


class Foreground:
    """The input and output of this process, and the signals that end what runs in it."""

    def __init__(self) -> None:
        self.status: int | None = None
        """What the process ends with after a signal; None when there was none."""
        self._is_writing = False

    async def stdin(self, length: int) -> bytes:
        """Return at most `length` bytes of the standard input when there are any, b"" at its end.

        Others run meanwhile. Cancelling leaves what comes to whoever reads next.

        Raises:
            OSError: what the system says, such as that it is a directory.
        """
        while True:
            # Files and some devices cannot be waited for: they always have something, or nothing.
            with suppress(OSError):
                await anyio.wait_readable(STDIN)
            try:
                return os.read(STDIN, length)
            except BlockingIOError:  # whoever shares it with us was quicker
                continue

    def stdout(self, output: bytes) -> None:
        """Write to the standard output; as `stderr`."""
        self._write(STDOUT, output)

    def stderr(self, output: bytes) -> None:
        """Write all of it before returning, however slow the reader is.

        Raises:
            BrokenPipeError: the reader is gone.
            OSError: what else the system says, such as a disk that is full.
        """
        self._write(STDERR, output)

    @contextmanager
    def ends(
        self, scope: anyio.CancelScope, *, at_once: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Cancel the scope at a signal; end the process at a second one, or if it cannot wait.

        `at_once` is called before that.
        """
        loop = asyncio.get_running_loop()

        def end(number: int, _frame: FrameType | None) -> None:
            status = SIGNAL_STATUS + number
            if self.status is not None or self._is_writing:
                # The loop does not run while a reader that is stuck is written to.
                at_once()
                os._exit(status)
            self.status = status
            loop.call_soon_threadsafe(scope.cancel)

        before = [(each, signal.signal(each, end)) for each in SIGNALS]
        try:
            yield
        finally:
            for each, handler in before:
                signal.signal(each, handler)

    def _write(self, descriptor: int, output: bytes) -> None:
        self._is_writing = True
        try:
            left = memoryview(output)
            while left:
                try:
                    left = left[os.write(descriptor, left) :]
                except BlockingIOError:  # whoever shares it with us made it so
                    select.select([], [descriptor], [])
        finally:
            self._is_writing = False
