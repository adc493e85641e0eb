"""How the process's allocator treats large blocks.

By default, glibc maps a block of a megabyte anew each time and gives it back when it is freed; the
kernel then clears each of its pages again, which costs more than all that is done with the bytes.
"""

from __future__ import annotations

import ctypes
import functools

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
_KEPT_BYTES = 64 * 1024 * 1024
"""Free memory at the top of the heap that is kept."""

_MAPPED_BYTES = 32 * 1024 * 1024
"""Blocks from this size on are mapped; glibc accepts no larger value."""


@functools.cache
def keep_large_blocks() -> bool:
    """Make freed blocks of megabytes stay for the next ones; return whether the libc can do that.

    It holds for the whole process and is done once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_THRESHOLD, _MAPPED_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES))
    # Both, even when the first is refused.
    taken = [bool(mallopt(name, value)) for name, value in settings]
    return all(taken)
