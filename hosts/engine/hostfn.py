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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Protocol, TypeAlias

from hosts.engine import ffi
from hosts.engine.base import Capability, Direct, Forward, Import, Lease, World
from hosts.engine.codec.compiled import compile_entry
from hosts.engine.codec.handles import TABLES, GuestHandles
from hosts.engine.codec.memory import MEMORY
from hosts.engine.output import Output
from hosts.engine.passing import BEGINS_INSIDE_MAX, Begun, Callee, Moved, Passed, shape_of
from hosts.engine.values import Codec, Lowered
from lattice.errors import GuestTrapError, IncompatibleError, InvalidError

OwnFunction: TypeAlias = Callable[[World, Sequence[Any]], Any]
"""A function that the engine itself gives to guests: quick, and it must not block."""


@dataclass(frozen=True, slots=True)
class Imported:
    """One function that a component imports, by interface and name; `own` when the engine's."""

    interface: str
    function: str
    codec: Codec
    own: OwnFunction | None = None
    is_direct: bool = False  # it answers at once, in every instance

    @property
    def answers_at_once(self) -> bool:
        """Tell whether the guest never waits for it."""
        return self.own is not None or self.is_direct


@dataclass(slots=True)
class Pending:
    """A call of a host function for which a guest is suspended."""

    imported: Imported
    args: Sequence[Any]
    results: int  # address of the slot, valid until the continuation said "done"
    begun: Callable[[], Awaitable[Any]] | None = None  # the rest of a call that has begun
    lease: Lease | None = None  # to be released when that call is over
    is_done: bool = False
    lowered: Lowered | Moved | None = None

    def complete(self, lowered: Lowered | Moved | None) -> None:
        """Note the result; the next poll hands it to the guest."""
        self.lowered = lowered
        self.is_done = True

    def pass_on(self, result: Moved) -> None:
        """Note the result of the guest that was called, which nobody converts.

        Raises:
            IncompatibleError: it answered another call.
        """
        is_own = self.begun is not None or getattr(self.args, "shape", "") == result.shape
        if not is_own or result.is_taken:
            raise IncompatibleError(
                f"an import was answered wrongly: {self.imported.codec.name} got the result of "
                "another call"
            )
        result.is_taken = True
        self.complete(result)


class System(Protocol):
    """What answers the adapter of one guest (`hosts.engine.guestsystem`)."""

    def world(self) -> World:
        """Return the guest's world with this in it."""
        ...

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Return the output streams."""
        ...

    async def wait(self, interface: str, function: str, args: Sequence[Any]) -> Any:
        """Answer a function for which the guest is suspended."""
        ...

    def close(self) -> None:
        """Close what the guest has open."""
        ...


class Caller(Protocol):
    """The guest that is being polled."""

    imports: Mapping[str, Import]
    direct: dict[int, Callable[..., Any]]
    handles: GuestHandles | None
    pending: Pending | None
    failure: BaseException | None
    is_suspect: bool

    def scene(self) -> World:
        """Return what the engine's own functions are called with."""
        ...


@dataclass(slots=True)
class Guest:
    """What a running guest shows to the host functions it calls."""

    world: World
    imports: Mapping[str, Import] = field(default_factory=dict[str, Import])
    handles: GuestHandles | None = None
    new_system: Callable[[], System] | None = None  # None: nobody asks for one
    direct: dict[int, Callable[..., Any]] = field(default_factory=dict[int, Callable[..., Any]])
    # direct: by the number of an imported function, what `Direct` gives for it; filled at first use
    pending: Pending | None = None
    failure: BaseException | None = None
    was_long: bool = False  # a call of it used up a turn of the loop
    is_suspect: bool = False  # the same, or such a call is to be expected
    needs_care: bool = False  # when a call is over, there is more to do than to return its result
    system: System | None = None
    _scene: World | None = None

    def scene(self) -> World:
        """Return the world; the system in it is made when somebody asks: many guests never do."""
        if self._scene is None:
            self._scene = self.world
            if self.new_system is not None:
                self.system = self.new_system()
                self._scene = self.system.world()
                self.needs_care = True
        return self._scene

    async def wait(self, interface: str, function: str, args: Sequence[Any]) -> Any:
        """Answer a function of the adapter for which the guest is suspended."""
        self.scene()
        assert self.system is not None, "only an adapter asks"
        return await self.system.wait(interface, function, args)


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
        self._destructor_callback = ffi.Destructor(self._dropped)
        self.destructor = ffi.callback_address(self._destructor_callback)
        """The address of what wasmtime calls when a guest drops a resource of the host."""
        self._resource_types = itertools.count(1)
        self._begun_inside = 0  # calls that begin inside each other's callbacks at this moment

    def runs_suspect(self) -> bool:
        """Tell whether a guest is polled that is expected to run for long; for any thread."""
        guest = self.current
        return guest is not None and guest.is_suspect

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

    def new_resource_type(self) -> int:
        """Return a number that no other resource of this engine has."""
        return next(self._resource_types)

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget functions whose linker is gone."""
        for number in numbers:
            self._entries.pop(number, None)

    def _entry(self, imported: Imported) -> Callable[..., None]:
        """Return what runs when a guest calls a function that it must wait for."""
        codec, waiting, interface = imported.codec, self._waiting, imported.interface
        has_handles = codec.has_handles
        done, env = ffi.ALREADY_DONE
        shape = ""

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
            nonlocal shape
            _CONTINUATION(MEMORY, continuation_out, waiting, 0, 0)
            guest = self.current
            if guest is None:  # cannot be: guests run only when polled
                return
            try:
                provider = guest.imports.get(interface)  # None: the engine's own
                if type(provider) is not Forward:
                    if has_handles:
                        TABLES.current = guest.handles
                    guest.pending = Pending(imported, codec.lift_args(args), results)
                    return
                shape = shape or shape_of(codec)
                pending = self._forward(provider, imported, shape, args, results)
                if pending is None:
                    _CONTINUATION(MEMORY, continuation_out, done, env, 0)
                else:
                    guest.pending = pending
            except BaseException as error:  # noqa: BLE001 (raised again by the task that polls)
                guest.failure = error

        return enter

    def _forward(
        self, forward: Forward, imported: Imported, shape: str, args: int, results: int
    ) -> Pending | None:
        """Call another guest, inside the callback if it is idle; None: the call is over.

        `args` is the address of the callback's arguments, `results` that of its result.
        """
        lease = None
        if forward.claim is not None and self._begun_inside < BEGINS_INSIDE_MAX:
            lease = forward.claim(imported.interface, imported.function)
        if lease is None:
            return Pending(imported, Passed(imported.codec, shape, args).clone(), results)
        callee = lease.instance
        begun: Begun = True
        self._begun_inside += 1
        try:
            assert isinstance(callee, Callee), "a lease is on an instance of the same engine"
            begun = callee.begin_inside(lease, shape, args, results)
        except RecursionError:
            raise too_deep(imported) from None
        finally:
            self._begun_inside -= 1
            if begun is True:
                lease.release()
        if begun is True:
            return None
        if begun is False:
            begun = _later(lease, Passed(imported.codec, shape, args).clone())
        return Pending(imported, (), results, begun, lease)

    def _direct_entry(self, imported: Imported, number: int) -> Callable[..., int | None]:
        """Return what runs when a guest calls a function that answers at once."""
        codec, own, has_handles = imported.codec, imported.own, imported.codec.has_handles

        def write(answer: Any, address: int) -> None:
            if has_handles and self.current is not None:
                # Set anew: the function may have converted something for another guest.
                TABLES.current = self.current.handles
            try:
                codec.write_result(answer, address)
            except InvalidError as error:
                raise IncompatibleError(
                    f"an import was answered wrongly: {error.message}"
                ) from None

        def find(guest: Caller) -> Callable[..., Any]:
            if own is not None:
                world = guest.scene()
                found = guest.direct[number] = lambda *values: own(world, values)
                return found
            host = guest.imports[imported.interface]
            assert isinstance(host, Direct | Capability), "the linker was made for a direct import"
            functions = host.functions if isinstance(host, Direct) else host.direct
            found = guest.direct[number] = functions[imported.function]
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
        return compile_entry(codec.function, names, records=codec.records)

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
                TABLES.current = guest.handles
                write(find(guest)(*codec.lift_args(args)), results)
            except BaseException as error:  # noqa: BLE001 (raised again by the task that polls)
                return _fail(guest, error)
            return None

        return enter

    def _dropped(self, _env: int, _context: int, rep: int) -> int | None:
        """Drop an object of the host whose handle the guest has dropped."""
        guest = self.current
        try:
            assert guest is not None, "guests run only when polled"
            assert guest.handles is not None, "the guest got the handle from its table"
            guest.handles.drop(rep)
        except BaseException as error:  # noqa: BLE001 (raised again by the task that polls)
            return _fail(guest, error)
        return None

    def _is_completed(self, _env: int) -> bool:
        guest = self.current
        if guest is None or guest.pending is None or not guest.pending.is_done:
            return False
        pending, guest.pending = guest.pending, None
        if pending.lowered is not None:
            pending.lowered.write(pending.results)
        return True


def too_deep(imported: Imported) -> GuestTrapError:
    """Return the error for a guest whose call of another one found no room."""
    return GuestTrapError(
        f"{imported.codec.name} was not called: guests call each other too deep, "
        "each while it waits for the next"
    )


def _later(lease: Lease, args: Passed) -> Callable[[], Awaitable[Any]]:
    """Return what makes a leased call when the callback has returned."""
    return lambda: lease.instance.call(
        lease.interface, lease.function, args, deadline_s=lease.deadline_s
    )


def _fail(guest: Caller | None, error: BaseException) -> int:
    """Note why a host function failed, and return the error that ends the guest's call."""
    if guest is not None:
        guest.failure = error
    code: int = ffi.error_new(b"a host function failed")
    return code
