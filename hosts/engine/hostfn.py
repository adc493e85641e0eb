"""Functions of the host that guests call: what happens on the guest's stack, and what waits.

Each imported function has a callback. It runs on the guest's own small stack, inside a poll of the
guest's call: it lifts the arguments, and either answers at once (the engine's own interfaces, and
`Direct` ones) or notes the call as pending and suspends the guest. The task that polls carries the
pending call out and polls again; the continuation then hands over the result. Failures are noted
on the guest, never raised: ctypes would print them and go on (`hosts.engine.ffi` says why more is
not possible).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Protocol, TypeAlias

from hosts.engine import ffi
from hosts.engine.base import Direct, Import, World
from hosts.engine.codec.compiled import compile_entry
from hosts.engine.codec.memory import MEMORY
from hosts.engine.values import Codec, Lowered
from lattice.errors import IncompatibleError, InvalidError

OwnFunction: TypeAlias = Callable[[World, Sequence[Any]], Any]
"""A function that the engine itself gives to guests: quick, and it must not block."""


@dataclass(frozen=True, slots=True)
class Imported:
    """One function that a component imports, by interface and name; `own` when the engine's."""

    interface: str
    function: str
    codec: Codec
    own: OwnFunction | None = None
    is_direct: bool = False  # a `Direct` import satisfies it, in every instance

    @property
    def answers_at_once(self) -> bool:
        """Tell whether the guest never waits for it."""
        return self.own is not None or self.is_direct


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
    imports: dict[str, Import]
    direct: dict[int, Callable[..., Any]]
    pending: Pending | None
    failure: BaseException | None


@dataclass(slots=True)
class Guest:
    """What a running guest shows to the host functions it calls."""

    world: World
    imports: dict[str, Import] = field(default_factory=dict[str, Import])
    direct: dict[int, Callable[..., Any]] = field(default_factory=dict[int, Callable[..., Any]])
    # direct: by the number of an imported function, what `Direct` gives for it; filled at first use
    pending: Pending | None = None
    failure: BaseException | None = None


_CONTINUATION = Struct("<QQQ").pack_into  # callback, env, finalizer


class HostFunctions:
    """The imported functions of all programs of an engine, each behind a C callback of its own."""

    def __init__(self) -> None:
        self.current: Caller | None = None
        """The guest that is being polled; set by whoever polls."""
        self._entries: dict[int, Any] = {}
        self._next = itertools.count(1)
        # ctypes frees a callback that nobody holds, while C still has its address.
        self._waiting_callback = ffi.Continuation(self._is_completed)
        self._waiting = ffi.callback_address(self._waiting_callback)

    def add(self, imported: Imported) -> tuple[int, int]:
        """Return a number to remove the function by, and the address of its callback.

        The callback is an `ffi.Callback` when the function answers at once, else an
        `ffi.AsyncCallback`.
        """
        number = next(self._next)
        entry = (
            ffi.Callback(self._direct_entry(imported, number))
            if imported.answers_at_once
            else ffi.AsyncCallback(self._entry(imported))
        )
        self._entries[number] = entry
        return number, ffi.callback_address(entry)

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget functions whose linker is gone."""
        for number in numbers:
            self._entries.pop(number, None)

    def _entry(self, imported: Imported) -> Callable[..., None]:
        """Return what runs when a guest calls a function that it must wait for."""
        codec, waiting = imported.codec, self._waiting

        def enter(
            _env: int,
            _context: int,
            _type: int,
            args: int,
            _count: int,
            results: int,
            _result_count: int,
            _error_out: int,
            continuation_out: int,
        ) -> None:
            _CONTINUATION(MEMORY, continuation_out, waiting, 0, 0)
            guest = self.current
            if guest is None:  # cannot be: guests run only when polled
                return
            try:
                guest.pending = Pending(imported, codec.lift_args(args), results)
            except BaseException as error:  # noqa: BLE001 (raised again by the task that polls)
                guest.failure = error

        return enter

    def _direct_entry(self, imported: Imported, number: int) -> Callable[..., int | None]:
        """Return what runs when a guest calls a function that answers at once."""
        codec, own = imported.codec, imported.own

        def write(answer: Any, address: int) -> None:
            try:
                codec.write_result(answer, address)
            except InvalidError as error:
                raise IncompatibleError(
                    f"an import was answered wrongly: {error.message}"
                ) from None

        def find(guest: Caller) -> Callable[..., Any]:
            if own is not None:
                world = guest.world
                found = guest.direct[number] = lambda *values: own(world, values)
                return found
            host = guest.imports[imported.interface]
            assert isinstance(host, Direct), "the linker was made for a direct import"
            found = guest.direct[number] = host.functions[imported.function]
            return found

        if not codec.is_compiled:
            return self._interpreted_entry(codec, find, write)
        names = {
            "SCENE": self,
            "NUMBER": number,
            "FIND": find,
            "REFUSE": codec.lift_args,
            "WRITE": write,
            "FAIL": _fail,
            "byte_vec_new": ffi.byte_vec_new,
        }
        return compile_entry(codec.function, names)

    def _interpreted_entry(
        self,
        codec: Codec,
        find: Callable[[Caller], Callable[..., Any]],
        write: Callable[[Any, int], None],
    ) -> Callable[..., int | None]:
        """Return the same as `_direct_entry`, without compiled conversions."""

        def enter(
            _env: int, _context: int, _type: int, args: int, _count: int, results: int
        ) -> int | None:
            guest = self.current
            try:
                assert guest is not None, "guests run only when polled"
                write(find(guest)(*codec.lift_args(args)), results)
            except BaseException as error:  # noqa: BLE001 (raised again by the task that polls)
                return _fail(guest, error)
            return None

        return enter

    def _is_completed(self, _env: int) -> bool:
        guest = self.current
        if guest is None or guest.pending is None or not guest.pending.is_done:
            return False
        pending, guest.pending = guest.pending, None
        if pending.lowered is not None:
            pending.lowered.write(pending.results)
        return True


def _fail(guest: Caller | None, error: BaseException) -> int:
    """Note why a host function failed, and return the error that ends the guest's call."""
    if guest is not None:
        guest.failure = error
    code: int = ffi.error_new(b"a host function failed")
    return code
