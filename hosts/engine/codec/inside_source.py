"""The source of what calls a guest inside the callback of another guest: begin, poll, move.

Nothing is converted, so it is the same for all functions: arguments are at an address, and a result
is moved to another. The caller is being polled all the while, so it keeps the ticker awake, and is
again the guest that is polled when this returns. What suspends, traps or needs care is handed to
the instance (`hosts.engine.instance`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from hosts.engine import ffi
from hosts.engine.codec.source import Source

_BIND = """\
def bind(codec, instance, guest, fibers, target, context, result, error_out, error, address):
    ticker, scene = fibers.ticker, fibers.functions
    arity, results = count(codec.arity), count(codec.has_result)
    slot = MEMORY[address:address + SIZE]
    def attempt(args, into):
        instance._is_busy = True
        if instance._epoch != ticker.epoch:
            instance._set_epoch_deadline(ticker.epoch)
        pointer = begin(target, context, passed(args), arity, result, results, error_out)
        future = passed(pointer)
        caller = scene.current
        scene.current = guest
        is_over = poll(future)
        scene.current = caller
        if not is_over or error[0]:
            instance._suspend(pointer, is_over, target, ())
            return False
        delete(future)
        instance._is_busy = False
        if result is not None:
            MEMORY[into:into + SIZE] = slot
            slot[0] = 0  # the kind of an empty slot: nobody frees the value there
        if guest.needs_care:
            instance._end_call()
        return True
    return attempt
"""


@cache
def compile_inside() -> Callable[..., Callable[[int, int], bool]]:
    """Return what binds such calls to an instance.

    It takes the same as what `attempt_source.write_attempt` writes. A call tells whether it is
    over; `Instance._complete` has the rest of one that is not.
    """
    source = Source(
        {
            "SIZE": ffi.VAL_SIZE,
            "begin": ffi.func_call_async,
            "count": ffi.count,
            "delete": ffi.call_future_delete_held,
            "passed": ffi.passed,
            "poll": ffi.call_future_poll_held,
        }
    )
    source.text(_BIND)
    return source.function("bind")
