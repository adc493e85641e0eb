"""One instance: a store, the component in it, and one call at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosts.engine import ffi
from hosts.engine.fiber import EPOCHS_FIRST, EPOCHS_LATER, Call, Fibers, trap
from hosts.engine.hostfn import Guest
from hosts.engine.values import Codec
from hosts.engine.wasi import Stream
from lattice.errors import ConflictError, DeadlineExceededError, InternalError, InvalidError

TABLE_ELEMENTS_MAX = 1_000_000
"""Elements of a table (8 bytes each): toolchains need some ten thousand."""

CORE_INSTANCES_MAX = 1_000
"""Core instances in a store: a composition of Python and JavaScript guests has about 200."""

INSTANTIATE_DEADLINE_S = 30.0
"""Time for start functions: interpreters initialise themselves when built, not when started."""


@dataclass(frozen=True, slots=True)
class Export:
    """An exported function as its program knows it."""

    index: int  # a component export index of the C API
    codec: Codec


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
        if self.pointer:
            ffi.store_delete(self.pointer)
        self.pointer = self.context = 0


class WasmtimeInstance:
    """A component instance; see `hosts.engine.base.Instance`."""

    def __init__(
        self,
        fibers: Fibers,
        store: Store,
        guest: Guest,
        streams: Sequence[Stream],
        on_close: Callable[[], None],
    ) -> None:
        self._fibers = fibers
        self._store = store
        self._guest = guest
        self._streams = streams
        self._on_close = on_close
        self._instance = ctypes.create_string_buffer(ffi.INSTANCE_SIZE)
        self._functions: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._result = ctypes.create_string_buffer(ffi.VAL_SIZE)
        self._export: Callable[[str, str], Export] | None = None
        self._is_busy = False
        self._cause_of_death = ""
        self._is_closed = False

    async def start(
        self, linker: int, component: int, export: Callable[[str, str], Export]
    ) -> None:
        """Instantiate the component in the store; `export` finds its functions later.

        Raises:
            InvalidError: imports do not fit, or the memory does not suffice.
            GuestTrapError: the start section trapped.
            DeadlineExceededError: it took longer than `INSTANTIATE_DEADLINE_S`.
            LatticeError: what a `HostImport` raised.
        """
        call = Call()
        ffi.context_set_epoch_deadline(self._store.context, EPOCHS_FIRST)
        call.future = ffi.linker_instantiate_async(
            linker,
            self._store.context,
            component,
            ctypes.addressof(self._instance),
            call.error_out,
        )
        await self._run(call, INSTANTIATE_DEADLINE_S, "instantiating")
        error = call.take_error()
        if error is not None:
            self._die("instantiation failed")
            message, status = error
            if status is not None or "wasm trap" in message or "wasm backtrace" in message:
                raise trap(message, status, "the start of the component")
            raise InvalidError(f"the component cannot be instantiated: {message.strip()}")
        self._export = export

    async def call(
        self, interface: str, function: str, args: Sequence[Any], *, deadline_s: float
    ) -> Any:
        """Return the function's result; see `hosts.engine.base.Instance.call`."""
        if self.is_dead or self._export is None:
            raise ConflictError(f"the instance takes no call: {self._cause_of_death or 'closed'}")
        if self._is_busy:
            raise ConflictError("a call is running in this instance: it takes one at a time")
        export = self._export(interface, function)
        what = export.codec.name
        if deadline_s <= 0:
            raise DeadlineExceededError(f"{what} was not started: no time is left")
        block, keep = export.codec.lower_args(args)
        call = Call()
        ffi.context_set_epoch_deadline(self._store.context, EPOCHS_FIRST)
        has_result = export.codec.has_result
        result = ctypes.addressof(self._result)
        call.future = ffi.func_call_async(
            self._function(export),
            self._store.context,
            ffi.address_of_bytes(block),
            export.codec.arity,
            result if has_result else None,
            int(has_result),
            call.error_out,
        )
        await self._run(call, deadline_s, what)
        del keep  # the arguments had to live until here
        error = call.take_error()
        if error is not None:
            self._die("the guest trapped")
            raise trap(*error, what)
        if not has_result:
            return None
        try:
            return export.codec.lift_result(result)
        finally:
            # Gives the memory back; the kind must be zero again, else the next call frees it twice.
            ffi.val_delete(result)
            ctypes.memset(result, 0, ffi.VAL_SIZE)

    @property
    def is_dead(self) -> bool:
        """Tell whether the instance can take no further call."""
        return bool(self._cause_of_death) or self._is_closed

    def close(self) -> None:
        """Drop the store and all it holds, after the running call if there is one. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if not self._is_busy:
            self._release()

    async def _run(self, call: Call, deadline_s: float, what: str) -> None:
        self._is_busy = True
        try:
            await self._fibers.run(self._guest, call, deadline_s=deadline_s, what=what)
        except BaseException as error:
            self._die(f"its last call ended with {type(error).__name__}")
            raise
        finally:
            self._is_busy = False
            self._guest.pending = None
            if self.is_dead:
                self._release()
            else:
                for stream in self._streams:
                    stream.drain()

    def _function(self, export: Export) -> int:
        """Return the address of an exported function of this instance."""
        function = self._functions.get(export.index)
        if function is None:
            function = ctypes.create_string_buffer(ffi.FUNC_SIZE)
            is_found = ffi.instance_get_func(
                ctypes.addressof(self._instance),
                self._store.context,
                export.index,
                ctypes.addressof(function),
            )
            if not is_found:
                raise InternalError(f"{export.codec.name} is no function of the instance")
            self._functions[export.index] = function
        return ctypes.addressof(function)

    def _die(self, cause: str) -> None:
        self._cause_of_death = self._cause_of_death or cause
        if not self._is_busy:
            self._release()

    def _release(self) -> None:
        """Give back what a dead or closed instance holds. Idempotent."""
        if not self._store.pointer:
            return
        self._store.close()
        for stream in self._streams:
            stream.close()
        self._on_close()


def new_streams(directory: Path, number: int, guest: Guest) -> tuple[Stream, Stream]:
    """Return the output streams of an instance: stdout is logged as info, stderr as warn."""
    log = guest.world.log
    return (
        Stream(directory / f"{number}.out", "info", log),
        Stream(directory / f"{number}.err", "warn", log),
    )
