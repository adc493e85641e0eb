"""Functions of the host that guests call: what happens on the guest's stack, and what waits.

One callback serves every imported function. It runs on the guest's own small stack, inside a poll
of the guest's call: it lifts the arguments, and either answers at once (the engine's own
interfaces) or notes the call as pending and suspends the guest. The task that polls carries the
pending call out and polls again; the continuation then hands over the result. Failures are noted
on the guest, never raised: ctypes would print them and go on (`hosts.engine.ffi` says why more is
not possible).
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from hosts.engine import ffi
from hosts.engine.base import HostImport, World
from hosts.engine.values import Codec, Lowered

OwnFunction: TypeAlias = Callable[[World, Sequence[Any]], Any]
"""A function that the engine itself gives to guests: quick, and it must not block."""


@dataclass(frozen=True, slots=True)
class Imported:
    """One function that a component imports, by interface and name; `own` when the engine's."""

    interface: str
    function: str
    codec: Codec
    own: OwnFunction | None = None


@dataclass(slots=True)
class Pending:
    """A call of a host function for which a guest is suspended."""

    imported: Imported
    args: list[Any]
    results: int  # address of the slot, valid until the continuation said "done"
    is_done: bool = False
    lowered: Lowered | None = None

    def complete(self, lowered: Lowered | None) -> None:
        """Note the result; the next poll hands it to the guest."""
        self.lowered = lowered
        self.is_done = True


class Caller(Protocol):
    """The guest that is being polled."""

    world: World
    pending: Pending | None
    failure: BaseException | None


@dataclass(slots=True)
class Guest:
    """What a running guest shows to the host functions it calls."""

    world: World
    imports: dict[str, HostImport] = field(default_factory=dict[str, HostImport])
    pending: Pending | None = None
    failure: BaseException | None = None


class _ContinuationOut(ctypes.Structure):
    _fields_ = (
        ("callback", ctypes.c_void_p),
        ("env", ctypes.c_void_p),
        ("finalizer", ctypes.c_void_p),
    )


class HostFunctions:
    """The imported functions of all programs of an engine, behind one C callback."""

    def __init__(self) -> None:
        self.current: Caller | None = None
        """The guest that is being polled; set by whoever polls."""
        self._imported: dict[int, Imported] = {}
        self._next = itertools.count(1)  # 0 would reach the callback as None
        # ctypes frees a callback that nobody holds, while C still has its address.
        self._enter_callback = ffi.AsyncCallback(self._enter)
        self._ready_callback = ffi.Continuation(lambda _env: True)
        self._waiting_callback = ffi.Continuation(self._is_completed)
        self._ready = ffi.callback_address(self._ready_callback)
        self._waiting = ffi.callback_address(self._waiting_callback)
        self.callback = ffi.callback_address(self._enter_callback)

    def add(self, imported: Imported) -> int:
        """Return the number under which a linker registers the function."""
        number = next(self._next)
        self._imported[number] = imported
        return number

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget functions whose linker is gone."""
        for number in numbers:
            self._imported.pop(number, None)

    def _enter(
        self,
        env: int,
        _context: int,
        _type: int,
        args: int,
        _count: int,
        results: int,
        _result_count: int,
        _error_out: int,
        continuation_out: int,
    ) -> None:
        out = _ContinuationOut.from_address(continuation_out)
        out.callback, out.env, out.finalizer = self._waiting, None, None
        guest = self.current
        if guest is None:  # cannot be: guests run only when polled
            return
        try:
            imported = self._imported[env]
            values = imported.codec.lift_args(args)
            if imported.own is None:
                guest.pending = Pending(imported, values, results)
                return
            lowered = imported.codec.lower_result(imported.own(guest.world, values))
            if lowered is not None:
                lowered.write(results)
            out.callback = self._ready
        except BaseException as error:  # noqa: BLE001 (raised again by the task that polls)
            guest.failure = error

    def _is_completed(self, _env: int) -> bool:
        guest = self.current
        if guest is None or guest.pending is None or not guest.pending.is_done:
            return False
        pending, guest.pending = guest.pending, None
        if pending.lowered is not None:
            pending.lowered.write(pending.results)
        return True
