"""One instance: a store, the component in it, and one call at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeAlias

from hosts.engine import ffi
from hosts.engine.base import Lease
from hosts.engine.codec.handles import TABLES, release
from hosts.engine.codec.memory import blank
from hosts.engine.fiber import EPOCHS_FIRST, Fibers, trap
from hosts.engine.headroom import look_for_room, with_room
from hosts.engine.hostfn import Guest
from hosts.engine.output import Output
from hosts.engine.passing import Begun, Callee, Passage, PassageInside, Passed
from hosts.engine.places import Call
from hosts.engine.store import Store
from hosts.engine.values import Codec
from lattice.errors import ConflictError, DeadlineExceededError, InternalError, InvalidError

INSTANTIATE_DEADLINE_S = 30.0
"""Time for start functions: interpreters initialise themselves when built, not when started."""


_Attempt: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Export:
    """An exported function as its program knows it."""

    index: int  # a component export index of the C API
    codec: Codec
    shape: str  # of its type: see `hosts.engine.passing.shape_of`


_NO_CALL = Call()
"""The call of an instance that is closed: without future and error."""

UNFINISHED = object()
"""What an attempt returns when the guest did not come to its end at once."""


class WasmtimeInstance(Callee):
    """A component instance; see `hosts.engine.base.Instance`."""

    def __init__(
        self,
        fibers: Fibers,
        store: Store,
        guest: Guest,
        streams: Sequence[Output],
        on_close: Callable[[WasmtimeInstance], None],
        *,
        calls_host: bool,
    ) -> None:
        """Prepare; `streams` are those of the guest besides what its system has."""
        self._fibers = fibers
        self._calls_host = calls_host
        self._store = store
        self._guest = guest
        self._streams = streams
        self._on_close: Callable[[WasmtimeInstance], None] | None = on_close
        self._attempts: dict[tuple[str, str], _Attempt] = {}  # empty when it takes no call
        self._inside: dict[tuple[str, str, str], tuple[_Attempt, Passage]] = {}  # that too
        self._passages: dict[tuple[str, str, str], tuple[_Attempt, Passage]] = {}  # that too
        self._place = place = fibers.places.take()
        self._result_address = place.result
        self._call = place.call
        self._kept: tuple[object, Any] = ((), ())
        # _kept: what a call that suspended needs until it is over, and what is to be released then
        self._epoch = -1  # in which the deadline was set; it holds as long as that epoch lasts
        self._export: Callable[[str, str], Export] | None = None
        self._has_begun = self._is_over = False  # of a call that suspended
        self._is_busy = False
        self._cause_of_death = ""
        self.deletion: Future[None] | None = None
        """What is done when its store is deleted; None when that takes no time."""
        self._is_closed = False
        if streams:
            guest.needs_care = True

    async def start(
        self, linker: Any, component: Any, export: Callable[[str, str], Export]
    ) -> None:
        """Instantiate the component in the store; `export` finds its functions later.

        The addresses of linker and component are `ffi.passed`.

        Raises:
            InvalidError: imports do not fit, or the memory does not suffice.
            GuestTrapError: the start section trapped.
            DeadlineExceededError: it took longer than `INSTANTIATE_DEADLINE_S`.
            LatticeError: what a `HostImport` raised.
        """
        call, guest = self._call, self._guest
        self._is_busy = True
        try:
            if not self._begin_start(linker, component) or guest.failure is not None:
                await self._finish(self._has_begun, INSTANTIATE_DEADLINE_S, "instantiating")
        except BaseException as fault:
            self._die(f"instantiating ended with {type(fault).__name__}")
            raise
        finally:
            call.drop()
            self._is_busy = False
            if self._guest.needs_care or self._cause_of_death:
                self._end_call()
        if self._place.error[0]:
            error = call.take_error()
            assert error is not None, "it was seen"
            self._die("instantiation failed")
            message, status = error
            if status is not None or "wasm trap" in message or "wasm backtrace" in message:
                raise trap(message, status, "the start of the component")
            raise InvalidError(f"the component cannot be instantiated: {message.strip()}")
        self._export = export

    def _begin_start(self, linker: Any, component: Any) -> bool:
        """Begin to instantiate; return whether that is over: mostly, and then quickly."""
        fibers, guest = self._fibers, self._guest
        ticker, scene = fibers.ticker, fibers.functions
        if self._calls_host:
            look_for_room()
        self._set_epoch_deadline(ticker.epoch)
        context, place = self._store.passed_context, self._place
        future = self._call.future = ffi.linker_instantiate_async(
            linker, context, component, place.passed_instance, place.passed_error
        )
        if fibers.turns.is_spent:
            return False
        # The same as in `hosts.engine.codec.attempt_source`.
        ticker.is_running = True
        if ticker.is_parked:
            ticker.unpark()
        scene.current = guest
        is_over: bool = ffi.call_future_poll_held(ffi.passed(future))
        scene.current = None
        ticker.is_running = False
        ticker.was_running = True
        if not is_over:
            self._note_begun()
        self._has_begun = True
        return is_over

    async def call(
        self, interface: str, function: str, args: Sequence[Any], *, deadline_s: float
    ) -> Any:
        """Return the function's result; see `hosts.engine.base.Instance.call`."""
        if type(args) is Passed:
            return await self._call_passed(interface, function, args, deadline_s)
        attempt = self._attempts.get((interface, function))
        if attempt is None or self._is_busy or deadline_s <= 0.0:
            attempt = self._admit(interface, function, deadline_s)
        result = attempt(args)
        if result is UNFINISHED:
            assert self._export is not None, "it was admitted"
            return await self._complete(self._export(interface, function).codec, deadline_s)
        return result

    def begin_inside(self, lease: Lease, shape: str, args: int, results: int) -> Begun:
        """Begin a call inside the callback of another guest; see `Callee.begin_inside`."""
        interface, function, deadline_s = lease.interface, lease.function, lease.deadline_s
        found = self._inside.get((interface, function, shape))
        if found is None or self._is_busy or deadline_s <= 0.0:
            export = self._find(interface, function, deadline_s)
            if export.shape != shape:
                return False
            inside = PassageInside(export.codec, shape)
            found = self._bind(export.index, inside), inside
            self._inside[interface, function, shape] = found
        if self._fibers.turns.is_spent:
            return False
        attempt, passage = found
        return attempt(args, results) or partial(self._complete, passage, deadline_s)

    async def _call_passed(
        self, interface: str, function: str, args: Passed, deadline_s: float
    ) -> Any:
        """Return the unconverted result of a call whose arguments are passed on as they are."""
        found = self._passage(interface, function, args.shape, deadline_s)
        if found is None:
            return await self.call(interface, function, args.lift(), deadline_s=deadline_s)
        attempt, passage = found
        result = attempt(args)
        return await self._complete(passage, deadline_s) if result is UNFINISHED else result

    @property
    def is_dead(self) -> bool:
        """Tell whether the instance can take no further call."""
        return bool(self._cause_of_death) or self._is_closed

    @property
    def has_died(self) -> bool:
        """Tell whether a trap, a limit or a cancelled call made an end of it."""
        return bool(self._cause_of_death)

    @property
    def was_long(self) -> bool:
        """Tell whether a call used up a turn of the loop."""
        return self._guest.was_long

    def close(self) -> None:
        """Drop the store and all it holds, after the running call if there is one. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = self._guest.needs_care = True
        if self._is_busy:
            self._forget_attempts()
        else:
            self._release()

    def _admit(self, interface: str, function: str, deadline_s: float) -> _Attempt:
        """Return an exported function, ready to be called, or raise why there is no call."""
        export = self._find(interface, function, deadline_s)
        attempt = self._attempts.get((interface, function))
        if attempt is None:
            attempt = self._bind(export.index, export.codec)
            self._attempts[interface, function] = attempt
        return attempt

    def _passage(
        self, interface: str, function: str, shape: str, deadline_s: float
    ) -> tuple[_Attempt, Passage] | None:
        """Return the same for a call that is passed on; None when the types are not the same."""
        found = self._passages.get((interface, function, shape))
        if found is None or self._is_busy or deadline_s <= 0.0:
            export = self._find(interface, function, deadline_s)
            if export.shape != shape:
                return None
            passage = Passage(export.codec, shape)
            found = self._bind(export.index, passage), passage
            self._passages[interface, function, shape] = found
        return found

    def _find(self, interface: str, function: str, deadline_s: float) -> Export:
        """Return an exported function, or raise why it cannot be called now."""
        if self.is_dead or self._export is None:
            raise ConflictError(f"the instance takes no call: {self._cause_of_death or 'closed'}")
        if self._is_busy:
            raise ConflictError("a call is running in this instance: it takes one at a time")
        export = self._export(interface, function)
        if deadline_s <= 0:
            raise DeadlineExceededError(f"{export.codec.name} was not started: no time is left")
        return export

    def _bind(self, index: int, codec: Codec | Passage) -> _Attempt:
        """Return what begins a call of a function, and ends it unless the guest suspends.

        It is the way of nearly all calls, so it holds all it needs, made beforehand.
        """
        target = blank(ffi.FUNC_SIZE)
        place, context = self._place, self._store.passed_context
        if not ffi.instance_get_func(place.passed_instance, context, ffi.passed(index), target):
            raise InternalError(f"{codec.name} is no function of the instance")
        attempt: _Attempt = codec.bind(
            codec,
            self,
            self._guest,
            self._fibers,
            target,
            context,
            place.passed_result if codec.has_result else None,
            place.passed_error,
            place.error,
            place.result,
        )
        return with_room(attempt) if self._calls_host else attempt

    def _forget_attempts(self) -> None:
        """Make nothing callable any more."""
        self._attempts.clear()
        self._passages.clear()
        self._inside.clear()

    def _set_epoch_deadline(self, epoch: int) -> None:
        """Let the guest run for its first slice from now on; holds as long as the epoch lasts."""
        self._epoch = epoch
        ffi.context_set_epoch_deadline(self._store.context, EPOCHS_FIRST)

    def _suspend(self, future: int, is_over: bool | None, *kept: Any) -> object:
        """Keep what `_complete` needs; `is_over` is None for a call that has not begun to run.

        `kept` is the function and the lowered arguments, and then what these point to.
        """
        self._call.future = future
        self._kept = kept[0], kept[1]
        self._has_begun = is_over is not None
        if is_over is False:
            self._note_begun()
        self._is_over = bool(is_over)
        return UNFINISHED

    def _note_begun(self) -> None:
        """Take note that the guest was polled and is not at its end."""
        guest = self._guest
        if guest.pending is None and guest.failure is None:
            # It reached its first epoch deadline: it had a whole tick, or the loop was wanted.
            self._fibers.turns.spend()
            guest.was_long = guest.is_suspect = True

    async def _complete(self, codec: Codec | Passage, deadline_s: float) -> Any:
        """Return the result of a call that has been attempted, when it is over."""
        try:
            if not self._is_over or self._guest.failure is not None:
                await self._finish(self._has_begun, deadline_s, codec.name)
        except BaseException as error:
            self._die(f"its last call ended with {type(error).__name__}")
            raise
        finally:
            self._call.drop()
            if codec.has_handles:
                release(self._kept[1])
            self._kept = ((), ())
            self._is_busy = False
            if self._cause_of_death:
                self._end_call()
        return self._end(codec)

    def _end(self, codec: Codec | Passage) -> Any:
        """Return the result of a call that is over, or raise why it has none."""
        if self._call.error.value is not None:
            self._trapped(codec.name)
        if codec.has_handles:
            TABLES.current = self._guest.handles
        try:
            return codec.lift_result(self._result_address)
        finally:
            if codec.result_holds_memory:
                self._place.free_result()
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
        for stream in self._outputs():
            stream.drain()

    def _outputs(self) -> Sequence[Output]:
        system = self._guest.system
        return self._streams if system is None else system.outputs

    def _trapped(self, what: str) -> NoReturn:
        error = self._call.take_error()
        assert error is not None, "only a call that failed trapped"
        self._die("the guest trapped")
        raise trap(*error, what)

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
        self._forget_attempts()
        guest = self._guest
        if guest.was_long:  # only who ran for long can have filled much memory
            self._place.free_result()
            self.deletion = self._store.close_later(self._fibers.reaper)
        else:
            self._store.close()
            self._fibers.places.give(self._place)
        self._call = _NO_CALL  # the next one may have it
        for stream in self._outputs():
            stream.close()
        if guest.system is not None:
            guest.system.close()
        if guest.handles is not None:
            guest.handles.close()
        # Both know the program, and the first one this: what is closed keeps nothing in memory.
        on_close, self._on_close, self._export = self._on_close, None, None
        if on_close is not None:
            on_close(self)
