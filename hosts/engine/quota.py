"""Bounds how much guests put into one directory of this machine.

What is written is counted as it is asked for, which is more than what stays; when that reaches the
bound, the directory is measured. Blocks on the disk, so it is used on worker threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path

ENTRY_BYTES = 4096
"""What a file or directory takes at least: a block, so that the bound holds for empty files too."""


class Quota:
    """The bytes that may lie below one directory, for all guests that see it."""

    def __init__(self, root: Path, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._root = root
        self._counted = 0  # at least what lies there
        self._lock = threading.Lock()
        self._open: set[int] = set()

    def take(self, size: int) -> None:
        """Count bytes that are about to be added.

        Raises:
            OSError: `ENOSPC`, they do not fit; nothing was counted.
        """
        with self._lock:
            if self._counted + size > self.bytes_max:
                self._counted = self._measured()
            if self._counted + size > self.bytes_max:
                raise OSError(errno.ENOSPC, "the bound of the directory is reached")
            self._counted += size

    def opened(self, descriptor: int) -> None:
        """Note an open file: one that is removed meanwhile takes its place until it is closed."""
        with self._lock:
            self._open.add(descriptor)

    def closed(self, descriptor: int) -> None:
        """Note that a file is about to be closed. Idempotent."""
        with self._lock:
            self._open.discard(descriptor)

    def _measured(self) -> int:
        found = 0
        for directory, names, files in os.walk(self._root):
            found += ENTRY_BYTES * len(names)
            for name in files:
                with contextlib.suppress(OSError):  # removed meanwhile
                    status = os.stat(os.path.join(directory, name), follow_symlinks=False)
                    found += max(ENTRY_BYTES, status.st_size)
        for descriptor in self._open:
            with contextlib.suppress(OSError):
                status = os.fstat(descriptor)
                found += 0 if status.st_nlink else max(ENTRY_BYTES, status.st_size)
        return found
