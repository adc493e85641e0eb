"""How the process's allocator treats large blocks.

By default, glibc maps a block of a megabyte anew each time and gives it back when it is freed; the
kernel then clears each of its pages again, which costs more than all that is done with the bytes.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping

TUNABLES = "GLIBC_TUNABLES"
"""The environment variable from which glibc takes its settings when a process starts."""

_CACHED_BLOCKS = "glibc.malloc.tcache_count=127"
"""Small blocks of each size that a thread keeps at hand, 7 by default: a record of nine fields that
passes from guest to guest is a hundred blocks. At most some megabytes; saves a fourth of such a
call, and a tenth of others with records."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
_KEPT_BYTES = 64 * 1024 * 1024
"""Free memory at the top of the heap that is kept."""

_MAPPED_BYTES = 32 * 1024 * 1024
"""Blocks from this size on are mapped; glibc accepts no larger value."""


def tuned(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that runs guests; what it sets itself is kept."""
    set_already = environment.get(TUNABLES, "")
    if "malloc.tcache_count" in set_already:
        return dict(environment)
    words = [each for each in (set_already, _CACHED_BLOCKS) if each]
    return {**environment, TUNABLES: ":".join(words)}


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
