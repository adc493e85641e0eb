"""A store of wasmtime: the instances, memories and handles in it live and die together."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

from hosts.engine import ffi
from hosts.engine.fiber import EPOCHS_LATER
from hosts.engine.reaper import Reaper

TABLE_ELEMENTS_MAX = 1_000_000
"""Elements of a table (8 bytes each): toolchains need some ten thousand."""

CORE_INSTANCES_MAX = 1_000
"""Core instances in a store: a composition of Python and JavaScript guests has about 200."""


class Store:
    """A wasmtime store with its limits, deleted once and never while a call runs in it."""

    def __init__(self, engine: int, memory_bytes_max: int) -> None:
        self.pointer: int = ffi.store_new(engine, None, None)
        self.context: int = ffi.store_context(self.pointer)
        ffi.store_limiter(
            self.pointer,
            memory_bytes_max,
            TABLE_ELEMENTS_MAX,
            CORE_INSTANCES_MAX,
            CORE_INSTANCES_MAX,
            CORE_INSTANCES_MAX,
        )
        ffi.context_epoch_yield(self.context, EPOCHS_LATER)

    def close(self) -> None:
        """Delete the store and all instances, memories and handles in it. Idempotent."""
        pointer, self.pointer, self.context = self.pointer, 0, 0
        if pointer:
            ffi.store_delete(pointer)

    def close_later(self, reaper: Reaper) -> Future[None]:
        """Have it deleted soon and elsewhere: for a store that may hold much memory."""
        pointer, self.pointer, self.context = self.pointer, 0, 0
        return reaper.delete(partial(ffi.store_delete, pointer))
