"""Where wasmtime writes what it tells of one instance: used again by the next, since making it all
costs more than a short call.

It belongs to one instance at a time, and to nobody before the store of the former one is deleted.
"""

from __future__ import annotations

import ctypes

from hosts.engine import ffi
from hosts.engine.codec.memory import MEMORY

PLACES_KEPT_MAX = 64
"""Places that are kept for later; each takes a kilobyte, and up to 4 KiB of its last result."""


class Call:
    """One asynchronous call in the C API at a time: its future, and the slot for its error."""

    __slots__ = ("error", "error_out", "future")

    def __init__(self) -> None:
        self.error = ctypes.c_void_p()
        """The error that ended the call, None in it if there is none; see `take_error`."""
        self.error_out = ctypes.addressof(self.error)
        self.future: int | None = None

    def drop(self) -> None:
        """Delete the future, finished or not. Idempotent."""
        if self.future:
            ffi.call_future_delete(self.future)
        self.future = None

    def take_error(self) -> tuple[str, int | None] | None:
        """Return message and exit status of the error that ended the call; None if it succeeded."""
        error, self.error.value = self.error.value, None
        return ffi.take_error(error) if error else None


class Place:
    """The slots of one instance, and their addresses as calls of C take them."""

    __slots__ = (
        "_instance",
        "_result",
        "call",
        "error",
        "instance",
        "passed_error",
        "passed_instance",
        "passed_result",
        "result",
    )

    def __init__(self) -> None:
        self._instance = ctypes.create_string_buffer(ffi.INSTANCE_SIZE)
        self._result = ctypes.create_string_buffer(ffi.VAL_SIZE)
        self.instance = ctypes.addressof(self._instance)
        self.result = ctypes.addressof(self._result)
        self.call = Call()
        self.error = ffi.slot(self.call.error)
        self.passed_instance = ffi.passed(self.instance)
        self.passed_result = ffi.passed(self.result)
        self.passed_error = ffi.passed(self.call.error_out)

    def free_result(self) -> None:
        """Give the result's memory back; its kind must be zero then, else it is freed twice."""
        ffi.val_delete(self.result)
        MEMORY[self.result] = 0

    def __del__(self) -> None:
        self.free_result()


class Places:
    """The places that nobody has."""

    def __init__(self) -> None:
        self._free: list[Place] = []

    def take(self) -> Place:
        """Return a place for one instance."""
        return self._free.pop() if self._free else Place()

    def give(self, place: Place) -> None:
        """Take a place back: nobody writes there any more, and its last result may stay."""
        if len(self._free) < PLACES_KEPT_MAX:
            self._free.append(place)
