"""Memory that is set aside for the stores of small components, and used again by the next one.

Made one by one, each memory, table and stack of an instance is mapped by the system and unmapped
when it ends, which takes longer than a short call does. In a pool, an instance gets places that
another one left, whose first pages are cleared in place. A pool has a bounded number of places and
components that are too large for them: both get memory of their own, by another engine.
"""

from __future__ import annotations

import contextlib
import mmap
from collections import deque

from wasmtime import Config

from hosts.engine import ffi
from hosts.engine.extent import look_into

BODY_BYTES_MAX = 32 * 1024 * 1024
"""Size of a component up to which its instances are made in a pool: with larger ones, the guest's
own work outweighs what making memory costs."""

CORE_MODULES_MAX = 30
"""Core modules in a component; each has an instance or more, and what joins them some others."""

STORES_MAX = 128
"""Stores in a pool at a time: more than are at work at once; services and idle ones count too."""

CORE_INSTANCES_MAX = 48
"""Core instances of one component: a small guest with the adapter for HTTP has about 30."""

MEMORIES_MAX = 8
"""Memories of one component: that guest has three. Each takes 4 GiB of addresses."""

TABLES_MAX = 16
"""Tables of one component: each adapter has two."""

TABLE_ELEMENTS_MAX = 20_000
"""Elements of a table; more have only large guests, to whom a pool does nothing."""

MEMORY_BYTES_MAX = 256 * 1024 * 1024
"""Size of one memory; an instance that may have more is not made in a pool."""

RECORD_BYTES_MAX = 1024 * 1024
"""Bytes of wasmtime's own records on one instance."""

MEMORY_KEPT_BYTES = 256 * 1024
"""Bytes of each memory that are cleared in place, instead of being given back to the system."""

TABLE_KEPT_BYTES = 16 * 1024
"""The same of each table."""

_ADDRESSES_BYTES = STORES_MAX * MEMORIES_MAX * (4 * 1024**3 + 64 * 1024**2)
"""Addresses that the memories of a pool take, with what guards them."""

_PROT_NONE = 0  # what the module `mmap` has no name for


class Slots:
    """Counts the free places in a pool. Safe to use on several threads."""

    def __init__(self, count: int = STORES_MAX) -> None:
        self._free = deque([None] * count)

    def take(self) -> bool:
        """Take a place; return False when none is free."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def give(self) -> None:
        """Give a place back: the store that had it is deleted."""
        self._free.append(None)

    @property
    def free(self) -> int:
        """Return how many places are free."""
        return len(self._free)


def can_pool() -> bool:
    """Tell whether this process may have as many addresses as a pool takes.

    wasmtime ends the process when it may not.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return False
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with contextlib.suppress(OSError, ValueError, OverflowError):
        mmap.mmap(-1, _ADDRESSES_BYTES, flags=flags, prot=_PROT_NONE).close()
        return True
    return False


def fits_pool(body: bytes) -> bool:
    """Tell whether instances of a component may be made in a pool, and gain by it.

    What else does not fit is told by wasmtime when it loads the code.

    Raises:
        InvalidError: the bytes are no component.
    """
    if len(body) > BODY_BYTES_MAX:
        return False
    found = look_into(body, TABLE_ELEMENTS_MAX)
    return found.core_modules <= CORE_MODULES_MAX and not found.has_large_table


def set_pool(config: Config) -> None:
    """Have a configuration make stores in a pool."""
    pool = ffi.pool_config_new()
    for name, value in (
        ("total_component_instances", STORES_MAX),
        ("total_core_instances", STORES_MAX * CORE_INSTANCES_MAX),
        ("total_memories", STORES_MAX * MEMORIES_MAX),
        ("total_tables", STORES_MAX * TABLES_MAX),
        ("total_stacks", STORES_MAX),
        ("max_core_instances_per_component", CORE_INSTANCES_MAX),
        ("max_memories_per_component", MEMORIES_MAX),
        ("max_tables_per_component", TABLES_MAX),
        ("max_memory_size", MEMORY_BYTES_MAX),
        ("table_elements", TABLE_ELEMENTS_MAX),
        ("max_component_instance_size", RECORD_BYTES_MAX),
        ("max_core_instance_size", RECORD_BYTES_MAX),
        ("linear_memory_keep_resident", MEMORY_KEPT_BYTES),
        ("table_keep_resident", TABLE_KEPT_BYTES),
    ):
        ffi.set_pool_config(pool, name, value)
    ffi.config_pooling(ffi.pointer(config), pool)
    ffi.pool_config_delete(pool)
