"""Keeps instances of a composed program: made ahead of calls, used again, closed in time.

The core (`hosts.engine.pool`) decides; this makes and closes. Each instance has a `CallSlot`, so
that what it imports finds the context of the call that it works on at the moment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from hosts.callcontext import CallContext
from hosts.eager import within
from hosts.engine.adapting import SERVER
from hosts.engine.base import Import, Instance, World
from hosts.engine.pool import Policy, Pool
from hosts.programs import DroppableProgram
from lattice.clock import Clock
from lattice.errors import DeadlineExceededError, LatticeError

BIRTH_DEADLINE_S = 30.0
"""Time for what an instance calls while it starts, when no call waits for it."""

PAUSE_S = 0.02
"""Time from a call to the making of instances ahead: one that is followed by many others would
have them made for each, by turns of the event loop that cost more than making them."""

NO_ANSWER = ("?", "-")
"""How the result of `SERVER` begins when a guest set no answer to a request, or half of one."""

log = logging.getLogger(__name__)

ImportsFor = Callable[[Callable[[], CallContext]], Mapping[str, Import]]
"""Makes the imports of an instance, given how to find the context of the call it works on."""


@dataclass(slots=True)
class CallSlot:
    """The context of the call that an instance works on, changed from call to call."""

    context: CallContext

    def current(self) -> CallContext:
        """Return the context of the call at work."""
        return self.context


@dataclass(slots=True)
class Kept:
    """An instance and its slot, by the number that the core gave it; only read by others."""

    instance: Instance
    slot: CallSlot
    number: int = field(default=0)


class Instances:
    """The instances of one program in one replica. `run` makes some ahead and closes idle ones."""

    def __init__(
        self,
        program: DroppableProgram,
        policy: Policy,
        *,
        imports_for: ImportsFor,
        world: World,
        clock: Clock,
    ) -> None:
        self._program = program
        self._pool = Pool(policy)
        self._imports_for = imports_for
        self._world = world
        self._clock = clock
        self._idle: dict[int, Kept] = {}
        self._told = 0  # how many idle ones the program was told of
        self._changed = anyio.Event()
        self._is_timed = False
        self._is_ended = False

    @property
    def idle(self) -> int:
        """Return how many instances are kept that do nothing."""
        return len(self._idle)

    async def call(
        self,
        interface: str,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        *,
        deadline_s: float,
    ) -> Any:
        """Return the function's result; errors as `Program.instantiate` and `Instance.call`."""
        kept = self._take(context, self._clock.monotonic_s())
        if kept is None:
            began_s = self._clock.monotonic_s()
            kept = await self._make_for(context, deadline_s)
            deadline_s -= self._clock.monotonic_s() - began_s
        try:
            result = await kept.instance.call(interface, function, args, deadline_s=deadline_s)
            if interface == SERVER and result[:1] in NO_ANSWER:
                kept.instance.close()  # what it left undone must not meet the next request
            return result
        finally:
            self.release(kept)

    def claim(self, context: CallContext, now_s: float) -> Kept | None:
        """Return an idle instance, to be given back by `release`; None when all are at work."""
        return self._take(context, now_s)

    async def run(self) -> None:
        """Make instances ahead and close idle ones until cancelled; then close them all."""
        try:
            while True:
                self._changed = anyio.Event()
                self._close(self._pool.expired(self._clock.monotonic_s()))
                while self._pool.begin_making(self._clock.monotonic_s()):
                    await anyio.lowlevel.checkpoint()  # calls that wait for the loop come first
                    await self._make_ahead()
                await self._until_changed()
                await anyio.sleep(PAUSE_S)
        finally:
            self._is_ended = True
            self.close()

    async def try_one(self) -> None:
        """Make an instance and close it: what cannot be instantiated fails here."""
        (await self._make(self._birth_context())).instance.close()

    def close(self) -> None:
        """Close the idle instances; those at work are closed when their call ends."""
        self._close(self._pool.evict())

    def _take(self, context: CallContext, now_s: float) -> Kept | None:
        """Return an idle instance for a call, None when there is none."""
        number = self._pool.acquire(now_s)
        if number is None:
            return None
        kept = self._idle.pop(number)
        kept.slot.context = context
        # Nobody is told: most come back, and at work they hold as much memory.
        return kept

    async def _make_for(self, context: CallContext, deadline_s: float) -> Kept:
        """Return a new instance for a call; a program that left memory is loaded for it."""
        try:
            kept = await within(self._make(context), deadline_s)
        except TimeoutError:
            raise DeadlineExceededError(
                f"no instance was ready within {deadline_s:.3f} s; the call was not started"
            ) from None
        kept.number = self._pool.made()
        return kept

    def release(self, kept: Kept) -> None:
        """Take back an instance after its call; it is closed when it is not kept."""
        instance, number = kept.instance, kept.number
        idle = self._idle
        if self._pool.release(number, self._clock.monotonic_s(), is_dead=instance.is_dead):
            idle[number] = kept
            if self._told != len(idle) or not self._program.is_resident:
                self._tell_idle()
        else:
            instance.close()
            if self._told > len(idle) + len(self._pool.used):
                self._tell_idle()
        if self._is_ended:
            self.close()
        elif not self._is_timed or self._pool.is_short:
            self._changed.set()

    async def _make(self, context: CallContext) -> Kept:
        slot = CallSlot(context)
        instance = await self._program.instantiate(self._imports_for(slot.current), self._world)
        return Kept(instance, slot)

    async def _make_ahead(self) -> None:
        try:
            kept = await self._make(self._birth_context())
        except BaseException as error:
            self._pool.failed()
            if not isinstance(error, LatticeError):
                raise
            # The next call makes its own, and its caller is told why that fails.
            self.close()
            log.debug("no instance made ahead: %s", error)
            return
        kept.number = self._pool.ahead(self._clock.monotonic_s())
        self._idle[kept.number] = kept
        self._tell_idle()

    async def _until_changed(self) -> None:
        expiry_s = self._pool.next_expiry_s()
        # Who becomes idle later expires later: then nobody need wake this.
        self._is_timed = expiry_s is not None
        wait_s = float("inf") if expiry_s is None else expiry_s - self._clock.monotonic_s()
        with anyio.move_on_after(wait_s):
            await self._changed.wait()

    def _birth_context(self) -> CallContext:
        return CallContext(deadline_at_s=self._clock.monotonic_s() + BIRTH_DEADLINE_S)

    def _close(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._idle.pop(number).instance.close()
        if numbers:
            self._tell_idle()

    def _tell_idle(self) -> None:
        self._told = len(self._idle)
        self._program.keeps(self, self._told, self.close)
