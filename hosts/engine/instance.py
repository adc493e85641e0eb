"""One instance: a store, the component in it, and one call at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from hosts.engine import ffi
from hosts.engine.codec.memory import MEMORY
from hosts.engine.fiber import EPOCHS_FIRST, EPOCHS_LATER, Call, Fibers, trap
from hosts.engine.hostfn import Guest
from hosts.engine.output import Output
from hosts.engine.values import Codec
from hosts.engine.wasi import Stream
from lattice.errors import ConflictError, DeadlineExceededError, InternalError, InvalidError

TABLE_ELEMENTS_MAX = 1_000_000
"""Elements of a table (8 bytes each): toolchains need some ten thousand."""

CORE_INSTANCES_MAX = 1_000
"""Core instances in a store: a composition of Python and JavaScript guests has about 200."""

TEXT_KEPT_MAX = 4096
"""Characters up to which a result that is a string is freed by the next call, which costs nothing;
all others are freed at once."""

INSTANTIATE_DEADLINE_S = 30.0
"""Time for start functions: interpreters initialise themselves when built, not when started."""


_Attempt: TypeAlias = Callable[[Sequence[Any]], Any]


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


UNFINISHED = object()
"""What an attempt returns when the guest did not come to its end at once."""


class WasmtimeInstance:
    """A component instance; see `hosts.engine.base.Instance`."""

    def __init__(
        self,
        fibers: Fibers,
        store: Store,
        guest: Guest,
        streams: Sequence[Output],
        on_close: Callable[[], None],
    ) -> None:
        self._fibers = fibers
        self._store = store
        self._guest = guest
        self._streams = streams
        self._on_close = on_close
        self._instance = ctypes.create_string_buffer(ffi.INSTANCE_SIZE)
        self._attempts: dict[tuple[str, str], _Attempt] = {}  # empty when it takes no call
        self._result = ctypes.create_string_buffer(ffi.VAL_SIZE)
        self._result_address = ctypes.addressof(self._result)
        self._call = Call()
        self._kept: object = None  # what a call that suspended needs until it is over
        self._epoch = -1  # in which the deadline was set; it holds as long as that epoch lasts
        self._export: Callable[[str, str], Export] | None = None
        self._has_begun = self._is_over = False  # of a call that suspended
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
        call = self._call
        self._is_busy = True
        try:
            ffi.context_set_epoch_deadline(self._store.context, EPOCHS_FIRST)
            call.future = ffi.linker_instantiate_async(
                linker,
                self._store.context,
                component,
                ctypes.addressof(self._instance),
                call.error_out,
            )
            await self._finish(False, INSTANTIATE_DEADLINE_S, "instantiating")
        except BaseException as fault:
            self._die(f"instantiating ended with {type(fault).__name__}")
            raise
        finally:
            call.drop()
            self._is_busy = False
            self._end_call()
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
        attempt = self._attempts.get((interface, function))
        if attempt is None or self._is_busy or deadline_s <= 0:
            attempt = self._admit(interface, function, deadline_s)
        result = attempt(args)
        if result is UNFINISHED:
            assert self._export is not None, "it was admitted"
            return await self._complete(self._export(interface, function).codec, deadline_s)
        return result

    @property
    def is_dead(self) -> bool:
        """Tell whether the instance can take no further call."""
        return bool(self._cause_of_death) or self._is_closed

    def close(self) -> None:
        """Drop the store and all it holds, after the running call if there is one. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._attempts.clear()
        if not self._is_busy:
            self._release()

    def _admit(self, interface: str, function: str, deadline_s: float) -> _Attempt:
        """Return an exported function, ready to be called, or raise why there is no call."""
        if self.is_dead or self._export is None:
            raise ConflictError(f"the instance takes no call: {self._cause_of_death or 'closed'}")
        if self._is_busy:
            raise ConflictError("a call is running in this instance: it takes one at a time")
        export = self._export(interface, function)
        if deadline_s <= 0:
            raise DeadlineExceededError(f"{export.codec.name} was not started: no time is left")
        attempt = self._attempts.get((interface, function))
        if attempt is None:
            attempt = self._attempts[interface, function] = self._bind(export)
        return attempt

    def _bind(self, export: Export) -> _Attempt:
        """Return what begins a call of a function, and ends it unless the guest suspends.

        It is the way of nearly all calls, so it holds all it needs, made beforehand.
        """
        codec, call, fibers, guest = export.codec, self._call, self._fibers, self._guest
        ticker, turns, scene = fibers.ticker, fibers.turns, fibers.functions
        begin, poll = ffi.func_call_async, ffi.call_future_poll_held
        delete = ffi.call_future_delete_held
        found = ctypes.create_string_buffer(ffi.FUNC_SIZE)
        target = ctypes.c_void_p(ctypes.addressof(found))
        if not ffi.instance_get_func(
            ctypes.addressof(self._instance), self._store.context, export.index, target
        ):
            raise InternalError(f"{codec.name} is no function of the instance")
        context = ctypes.c_void_p(self._store.context)
        block_pointer, future = ctypes.c_void_p(), ctypes.c_void_p()
        block_slot, future_slot, error_slot = map(ffi.slot, (block_pointer, future, call.error))
        arity, results = ctypes.c_size_t(codec.arity), ctypes.c_size_t(codec.has_result)
        address = self._result_address
        result = ctypes.c_void_p(address if codec.has_result else None)
        error_out, header = ctypes.c_void_p(call.error_out), ffi.BYTES_HEADER
        needs_care, holds_memory = bool(self._streams), codec.result_holds_memory

        def attempt(args: Sequence[Any]) -> Any:
            block, kept = codec.lower_args(args)
            block_slot[0] = id(block) + header
            self._is_busy = True
            if self._epoch != ticker.epoch:
                self._set_epoch_deadline(ticker.epoch)
            future_slot[0] = begin(
                target, context, block_pointer, arity, result, results, error_out
            )
            if turns.is_spent:
                return self._suspend(future_slot[0], None, (block, kept, found))
            # The same as `ticker.enter` and `leave`, without two calls.
            ticker.is_running = True
            if ticker.is_parked:
                ticker.unpark()
            scene.current = guest
            is_over = poll(future)
            scene.current = None
            ticker.is_running = False
            ticker.was_running = True
            if not is_over or error_slot[0]:
                return self._suspend(future_slot[0], is_over, (block, kept, found))
            delete(future)
            self._is_busy = False
            if needs_care or self._is_closed:
                return self._end(codec)
            value = codec.lift_result(address)
            if holds_memory and (type(value) is not str or len(value) > TEXT_KEPT_MAX):
                self._free_result()
            return value

        return attempt

    def _set_epoch_deadline(self, epoch: int) -> None:
        """Let the guest run for its first slice from now on; holds as long as the epoch lasts."""
        self._epoch = epoch
        ffi.context_set_epoch_deadline(self._store.context, EPOCHS_FIRST)

    def _suspend(self, future: int, is_over: bool | None, kept: object) -> object:
        """Keep what `_complete` needs; `is_over` is None for a call that has not begun to run."""
        self._call.future = future
        self._kept = kept
        self._has_begun = is_over is not None
        if is_over is False and self._guest.pending is None and self._guest.failure is None:
            # It reached its first epoch deadline, so it had a whole tick.
            self._fibers.turns.spend()
        self._is_over = bool(is_over)
        return UNFINISHED

    async def _complete(self, codec: Codec, deadline_s: float) -> Any:
        """Return the result of a call that has been attempted, when it is over."""
        try:
            if not self._is_over or self._guest.failure is not None:
                await self._finish(self._has_begun, deadline_s, codec.name)
        except BaseException as error:
            self._die(f"its last call ended with {type(error).__name__}")
            raise
        finally:
            self._call.drop()
            self._kept = None
            self._is_busy = False
            if self._cause_of_death:
                self._end_call()
        return self._end(codec)

    def _end(self, codec: Codec) -> Any:
        """Return the result of a call that is over, or raise why it has none."""
        if self._call.error.value is not None:
            self._trapped(codec.name)
        try:
            return codec.lift_result(self._result_address)
        finally:
            if codec.result_holds_memory:
                self._free_result()
            self._end_call()

    async def _finish(self, has_begun: bool, deadline_s: float, what: str) -> None:
        """Wait until the call is over; its deadline in epochs is used up then."""
        self._epoch = -1
        await self._fibers.finish(
            self._guest, self._call, has_begun, deadline_s=deadline_s, what=what
        )

    def _end_call(self) -> None:
        """Log what the guest wrote; give everything back if it died."""
        if self._cause_of_death or self._is_closed:
            self._release()
            return
        for stream in self._streams:
            stream.drain()

    def _trapped(self, what: str) -> NoReturn:
        error = self._call.take_error()
        assert error is not None, "only a call that failed trapped"
        self._die("the guest trapped")
        raise trap(*error, what)

    def _free_result(self) -> None:
        """Give the result's memory back; its kind must be zero then, else it is freed twice."""
        ffi.val_delete(self._result_address)
        MEMORY[self._result_address] = 0

    def _die(self, cause: str) -> None:
        self._guest.pending = None
        self._call.take_error()  # a host function that failed left one
        self._cause_of_death = self._cause_of_death or cause
        if not self._is_busy:
            self._release()

    def _release(self) -> None:
        """Give back what a dead or closed instance holds. Idempotent."""
        if not self._store.pointer:
            return
        self._attempts.clear()
        self._free_result()
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
