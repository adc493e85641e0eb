"""Holds calls while nobody answers for their deployment; `lattice.routing.holding` decides.

A held call waits in its own task, so that cancelling it leaves nothing behind; the one among them
that is the scout asks the leader and tries. This knows nothing of what is called.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio

from lattice.bus.base import Bus
from lattice.clock import Clock
from lattice.errors import LatticeError, OverloadedError
from lattice.routing.holding import HELD_MAX, RETRY_AFTER_MS, Holding, Verdict
from lattice.wire.codec import answer_of, encode
from lattice.wire.requests import OneDeployment
from lattice.wire.subjects import Names

REACHED_S = 0.05
"""Seconds after which a try that was not turned away counts as heard: that nobody listens is told
at once, but an answer takes as long as the call does."""

WAKE_TIMEOUT_S = 1.0
"""Seconds for the leader's answer: it answers at once, or it is not there."""

AskWake = Callable[[str], Awaitable[Verdict]]
"""Asks whether a deployment will have a replica soon."""


class Holder:
    """The calls that one router holds, `HELD_MAX` at most."""

    def __init__(self, ask: AskWake, clock: Clock, *, limit: int = HELD_MAX) -> None:
        self._ask = ask
        self._clock = clock
        self._core = Holding(limit)
        self._events: dict[int, anyio.Event] = {}
        self._numbers = itertools.count()

    @property
    def held(self) -> int:
        """Return how many calls are held now."""
        return len(self._core)

    @contextmanager
    def hold(self, deployment: str) -> Iterator[Held]:
        """Hold a call of a deployment that nobody answered for, while the context lasts.

        Raises:
            OverloadedError: too many are held already.
        """
        call = next(self._numbers)
        if not self._core.arrive(deployment, call):
            raise OverloadedError(
                f"no replica of {deployment} answers now, and {len(self._core)} calls wait for "
                "replicas already",
                retry_after_ms=RETRY_AFTER_MS,
            )
        held = Held(self, deployment, call)
        try:
            yield held
        finally:
            held.end()

    def shown(self, deployment: str) -> None:
        """Have the calls of a deployment tried at once: a replica was announced."""
        self.wake(self._core.shown(deployment))

    # --- for held calls -------------------------------------------------------------------------

    @property
    def core(self) -> Holding:
        """Return what decides."""
        return self._core

    async def ask(self, deployment: str) -> None:
        """Ask the leader, and act on what it says."""
        verdict = await self._ask(deployment)
        self.wake(self._core.told(deployment, verdict, self._clock.monotonic_s()))

    def now_s(self) -> float:
        """Return the time by the clock that decides."""
        return self._clock.monotonic_s()

    def wake(self, calls: tuple[int, ...]) -> None:
        """Have calls look at their turn again."""
        for call in calls:
            if (event := self._events.get(call)) is not None:
                event.set()

    async def wait(self, call: int, wait_s: float) -> None:
        """Return when the turn of a call may have changed, or after `wait_s`."""
        event = self._events[call] = anyio.Event()
        try:
            with anyio.move_on_after(wait_s):
                await event.wait()
        finally:
            del self._events[call]


class Held:
    """One held call. `turn` tells when to try; a try that reached nobody is `missed`."""

    def __init__(self, holder: Holder, deployment: str, call: int) -> None:
        self._holder = holder
        self._deployment = deployment
        self._call = call
        self._heard: asyncio.TimerHandle | None = None  # set while it tries

    async def turn(self, give_up_s: float) -> bool:
        """Return True when it should try now, False when nobody will come, or not in time.

        `give_up_s` is by the holder's clock.
        """
        holder, deployment, call = self._holder, self._deployment, self._call
        while (left_s := give_up_s - holder.now_s()) > 0:
            step, pause_s = holder.core.turn(deployment, call, holder.now_s())
            if step == "gone":
                return False
            if step == "ask":
                with anyio.move_on_after(left_s):
                    await holder.ask(deployment)
            elif step == "wait":
                await holder.wait(call, left_s)
            elif pause_s > left_s:
                return False
            else:
                if pause_s:
                    await holder.wait(call, pause_s)
                loop = asyncio.get_running_loop()
                self._heard = loop.call_later(REACHED_S, self._reached)
                return True
        return False

    def missed(self) -> None:
        """Note that the try reached nobody; without effect when it did not try."""
        if self._stop_timer() is not None:
            self._holder.wake(self._holder.core.missed(self._deployment, self._call))

    def end(self) -> None:
        """Leave; who ends while it tries has reached somebody."""
        if self._stop_timer() is not None:
            self._reached()
        self._holder.wake(self._holder.core.leave(self._deployment, self._call))

    def _stop_timer(self) -> asyncio.TimerHandle | None:
        timer, self._heard = self._heard, None
        if timer is not None:
            timer.cancel()
        return timer

    def _reached(self) -> None:
        self._holder.wake(self._holder.core.reached(self._deployment))


def leader_of(bus: Bus, names: Names) -> AskWake:
    """Return what asks the active scheduler to wake a deployment."""

    async def ask(deployment: str) -> Verdict:
        question = encode(OneDeployment(name=deployment))
        try:
            packet = await bus.request(names.lead("wake"), question, timeout_s=WAKE_TIMEOUT_S)
            answer = answer_of(packet.body)
        except LatticeError:
            return "unknown"  # nobody leads, or it does not know the question
        if not answer.get("wakes"):
            return "gone"
        return "ready" if answer.get("ready") else "starting"

    return ask
