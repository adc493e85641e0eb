"""Asks one probe of a replica at its pace, one question at a time, and tells what it says.

A question that is late counts as failed, and is not cut: ending it would cost a service its state.
No other is asked until it is over. What goes wrong in it is an answer, never a fault of the host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from hosts.probing import Probing
from lattice.errors import DeadlineExceededError, LatticeError, OverloadedError
from lattice.model.scheduling import Probe

REASON_LENGTH_MAX = 500
"""Characters of a failure that are told: what matters comes first, a backtrace is long."""


@dataclass(slots=True, eq=False)
class Question:
    """One probe on its way. Who asks it sets `has_begun` when the guest works on it."""

    has_begun: bool = False
    answer: str | None = None  # "" is a success, else why it is none; None: nobody can tell
    is_over: anyio.Event = field(default_factory=anyio.Event)


Ask = Callable[[Question], Awaitable[str]]
"""Returns "" for a success, else what was wrong; a `LatticeError` is a failure, too."""

Change = Callable[[bool, str], Awaitable[None]]
"""Takes the answer, and why it is "no"; it is called when the answer changed, and with every
failure while it is "no"."""


class Prober:
    """One probe of one replica."""

    def __init__(self, kind: Literal["ready", "live"], probe: Probe, ask: Ask) -> None:
        self._probe = probe
        self._ask = ask
        what = f"GET {probe.http}" if probe.http else probe.export
        self._what = f"{'readiness' if kind == 'ready' else 'liveness'} probe {what}"
        self._state = Probing(failures_max=probe.failures_max, is_ok=kind == "live")
        self._open: Question | None = None
        self._is_ending = anyio.Event()

    @property
    def reason(self) -> str:
        """Return why the answer is "no", for people."""
        return self._state.told(self._what)

    async def run(self, change: Change) -> None:
        """Ask until cancelled, or told to end; an answer that stays the same is told once.

        Raises:
            LatticeError: what `change` raises.
        """
        await self._pause(anyio.current_time() + self._probe.delay_s)
        async with anyio.create_task_group() as group:
            while not self._is_ending.is_set():
                began_s = anyio.current_time()
                await self._round(group, change)
                await self._pause(began_s + self._probe.every_s)

    def end(self) -> None:
        """Have `run` return when the question that is open, if one is, has been answered.

        Cancelling `run` instead would cut it, and cost a service its state.
        """
        self._is_ending.set()

    async def _pause(self, until_s: float) -> None:
        with anyio.move_on_after(until_s - anyio.current_time()):
            await self._is_ending.wait()

    async def _round(self, group: TaskGroup, change: Change) -> None:
        question = self._open
        if question is None:
            question = self._open = Question()
            group.start_soon(self._put, question)
        with anyio.move_on_after(self._probe.timeout_s):
            await question.is_over.wait()
        answer = question.answer
        if not question.is_over.is_set():
            # Who waits for its turn behind a call says nothing of the replica.
            is_late = question.has_begun
            answer = f"no answer within {self._probe.timeout_s:g} s" if is_late else None
        if answer is None or self._is_ending.is_set():
            return
        is_changed = self._state.failed(answer) if answer else self._state.succeeded()
        if is_changed or (answer and not self._state.is_ok):
            await change(self._state.is_ok, self.reason if answer else "")

    async def _put(self, question: Question) -> None:
        try:
            question.answer = (await self._ask(question))[:REASON_LENGTH_MAX]
        except OverloadedError:
            pass  # it is busy, which is not to be made worse
        except LatticeError as exc:
            if isinstance(exc, DeadlineExceededError) and not question.has_begun:
                return  # its turn never came
            first_line = exc.message.partition("\n")[0] or exc.kind
            question.answer = first_line[:REASON_LENGTH_MAX]
        finally:
            self._open = None
            question.is_over.set()
