"""Runs guests as fibers on the event loop: begin, poll, suspend, resume, drop.

The task that calls a guest polls it, and carries out the host functions that the guest calls, in
between: no task, thread or queue lies between a guest and its imports, and cancelling the task
cancels what the guest waits for. A future that did not finish is dropped, which kills its store.
"""

from __future__ import annotations

import time
from typing import Any

import anyio

from hosts.engine import ffi
from hosts.engine.base import Capability, Direct, Forward
from hosts.engine.codec.handles import TABLES
from hosts.engine.headroom import look_for_room
from hosts.engine.hostfn import Guest, HostFunctions, Pending, too_deep
from hosts.engine.passing import Moved
from hosts.engine.places import Call, Places
from hosts.engine.reaper import Reaper
from hosts.engine.turns import EPOCHS_MAX, TICK_S, Ticker, Turns
from lattice.errors import (
    DeadlineExceededError,
    GuestTrapError,
    IncompatibleError,
    InvalidError,
)

BACKTRACE_LINES_MAX = 40
"""Lines of a trap's message that are kept: a stack overflow has tens of thousands of frames."""

EPOCHS_FIRST = EPOCHS_MAX
"""Epochs that a call may run before it first yields."""

EPOCHS_LATER = 1
"""Epochs that a guest may run after it yielded."""


class Fibers:
    """Polls the guests of one engine, on one event loop."""

    def __init__(self, functions: HostFunctions, ticker: Ticker) -> None:
        self.functions = functions
        self.ticker = ticker
        self.turns = Turns()
        self.reaper = Reaper()
        self.places = Places()

    async def finish(
        self, guest: Guest, call: Call, has_begun: bool, *, deadline_s: float, what: str
    ) -> None:
        """Return when the call is over, whether it succeeded or trapped (`Call.take_error`).

        `has_begun` says that it was polled already. Whatever is raised, cancellation included,
        leaves the guest's store unfit for use; the future is the caller's to drop.

        Raises:
            DeadlineExceededError: the call was not over within `deadline_s`.
            Exception: what a host function raised, as it is.
        """
        if not has_begun and not self.turns.is_spent:
            if self._poll(guest, call):
                return
            has_begun = True
        with anyio.CancelScope(deadline=anyio.current_time() + deadline_s) as scope:
            if not has_begun:
                await self.turns.wait(is_woken=True)
                if self._poll(guest, call):
                    return
            await self._resume(guest, call)
        if scope.cancelled_caught:
            raise DeadlineExceededError(f"{what} did not return within {deadline_s:g} s")

    async def _resume(self, guest: Guest, call: Call) -> None:
        """Carry the guest on until its call is over."""
        while True:
            if guest.failure is not None:
                failure, guest.failure = guest.failure, None
                raise failure
            if guest.pending is not None:
                await _carry_out(guest)
                if self.turns.is_spent:
                    await self.turns.wait(is_woken=True)
            else:
                await self.turns.wait(is_woken=False)
            if self._poll(guest, call):
                return

    def _poll(self, guest: Guest, call: Call) -> bool:
        """Run the guest until it is over (True), suspends, or has used up its turn."""
        look_for_room()
        started = time.perf_counter()
        ticker = self.ticker
        ticker.begin_turn(is_long=guest.was_long, is_owed=self.turns.take_owed())
        while True:
            ticker.enter()
            self.functions.current = guest
            try:
                is_over = bool(ffi.call_future_poll(call.future))
            finally:
                self.functions.current = None
                ticker.leave()
            if is_over or guest.pending is not None or guest.failure is not None:
                ticker.end_turn()
                return is_over and guest.failure is None
            # It yielded. Epochs also pass while a guest is suspended: it is not charged for those.
            if ticker.is_wanted or time.perf_counter() - started >= TICK_S / 2:
                ticker.end_turn()
                self.turns.spend()
                guest.was_long = guest.is_suspect = True
                return False


async def _carry_out(guest: Guest) -> None:
    """Call the host function that the guest waits for, and lower its result."""
    pending = guest.pending
    assert pending is not None, "the guest waits for a host function"
    imported = pending.imported
    provider = guest.imports.get(imported.interface, guest.wait)
    assert not isinstance(provider, Direct), "a direct import answers at once"
    if isinstance(provider, Capability):
        result = await provider.waiting[imported.function](*pending.args)
    elif isinstance(provider, Forward):
        result = await _forward(provider, pending)
    else:
        result = await provider(imported.interface, imported.function, pending.args)
    if type(result) is Moved:
        pending.pass_on(result)
        return
    if imported.codec.has_handles:
        TABLES.current = guest.handles
    try:
        pending.complete(imported.codec.lower_result(result))
    except InvalidError as error:
        raise IncompatibleError(f"an import was answered wrongly: {error.message}") from None


async def _forward(forward: Forward, pending: Pending) -> Any:
    """Return what the guest that is called answers."""
    imported, lease = pending.imported, pending.lease
    try:
        if pending.begun is None:
            return await forward.call(imported.interface, imported.function, pending.args)
        return await pending.begun()
    except RecursionError:
        raise too_deep(imported) from None
    finally:
        if lease is not None:
            lease.release()


def trap(message: str, exit_status: int | None, what: str) -> GuestTrapError:
    """Return the error for a guest that trapped or exited, with its backtrace truncated."""
    if exit_status is not None:
        return GuestTrapError(f"{what} exited with status {exit_status}", exit_status=exit_status)
    lines = message.splitlines()
    if len(lines) > BACKTRACE_LINES_MAX:
        # The cause stands at the end, the innermost frames at the beginning.
        half = BACKTRACE_LINES_MAX // 2
        left_out = f"    ... {len(lines) - 2 * half} lines left out ..."
        lines = [*lines[:half], left_out, *lines[-half:]]
    return GuestTrapError(f"{what} trapped: " + "\n".join(lines))
