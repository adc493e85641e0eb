"""A store of wasmtime: the instances, memories and handles in it live and die together."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import Any

from hosts.engine import ffi
from hosts.engine.fiber import EPOCHS_LATER
from hosts.engine.reaper import Reaper
from hosts.engine.slots import Slots

TABLE_ELEMENTS_MAX = 1_000_000
"""Elements of a table (8 bytes each): toolchains need some ten thousand."""

CORE_INSTANCES_MAX = 1_000
"""Core instances in a store: a composition of Python and JavaScript guests has about 200."""


_LIMITS = tuple(map(ffi.limit, (TABLE_ELEMENTS_MAX, *[CORE_INSTANCES_MAX] * 3)))
_EPOCHS_LATER = ffi.epochs(EPOCHS_LATER)


class Store:
    """A wasmtime store with its limits, deleted once and never while a call runs in it."""

    __slots__ = ("_slots", "context", "passed_context", "pointer")

    def __init__(self, engine: Any, memory_bytes_max: int, slots: Slots | None = None) -> None:
        """Make a store of an engine (`ffi.passed`).

        `slots` gets its place in a pool back when it is deleted.
        """
        self._slots = slots
        self.pointer: int = ffi.store_new(engine, None, None)
        pointer = ffi.passed(self.pointer)
        self.context: int = ffi.store_context(pointer)
        self.passed_context = context = ffi.passed(self.context)
        ffi.store_limiter(pointer, ffi.limit(memory_bytes_max), *_LIMITS)
        ffi.context_epoch_yield(context, _EPOCHS_LATER)

    def close(self) -> None:
        """Delete the store and all instances, memories and handles in it. Idempotent."""
        pointer, self.pointer, self.context = self.pointer, 0, 0
        if pointer:
            _delete(pointer, self._slots)

    def close_later(self, reaper: Reaper) -> Future[None]:
        """Have it deleted soon and elsewhere: for a store that may hold much memory."""
        pointer, self.pointer, self.context = self.pointer, 0, 0
        return reaper.delete(partial(_delete, pointer, self._slots))


def _delete(pointer: int, slots: Slots | None) -> None:
    ffi.store_delete(pointer)
    if slots is not None:
        slots.give()
