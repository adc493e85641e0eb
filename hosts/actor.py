"""A service: one long-lived instance that takes one call at a time, first in, first out.

When the instance dies (a trap, a passed deadline) its state dies with it; the actor makes a new
one after a backoff, and waiting calls wait on within their deadlines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskStatus

from hosts.engine.base import HostImport, Instance, Program, World
from hosts.gate import Gate
from hosts.invoker import CallContext
from lattice.clock import Clock
from lattice.component.types import Function
from lattice.errors import ConflictError, DeadlineExceededError, LatticeError
from lattice.model.deployment import Service

START_FUNCTION = "start"
"""An exported function of this name without parameters runs once before the service is ready."""

START_DEADLINE_S = 120.0
"""What `start` may take: it may index files of hundreds of megabytes."""

STABLE_FACTOR = 10
"""A service that ran this many times its longest backoff starts with a clean record again."""

ImportsFor = Callable[[Callable[[], CallContext]], Mapping[str, HostImport]]
"""Makes the imports of an instance, given how to find the context of the call it works on."""


class ServiceActor:
    """One service of one replica."""

    def __init__(
        self,
        service: Service,
        program: Program,
        *,
        owner: str,
        imports_for: ImportsFor,
        world: World,
        clock: Clock,
    ) -> None:
        self.id = f"{owner}:{service.name}"
        self.restarts = 0
        self._service = service
        self._program = program
        self._world = world
        self._clock = clock
        self._imports = imports_for(self._current_context)
        self._gate = Gate(f"service {self.id}", concurrency=1, queue=service.limits.queue)
        self._ready = anyio.Event()
        self._died = anyio.Event()
        self._instance: Instance | None = None
        self._context: CallContext | None = None
        self._last_error = ""
        self._failures = 0  # in a row
        self._began_s = 0.0

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep an instance alive until cancelled; "started" when the first one is ready.

        Raises:
            LatticeError: the first start failed, or restarts ran out; the last cause is told.
        """
        restart = self._service.restart
        is_first = True
        while True:
            self._began_s = self._clock.monotonic_s()
            try:
                self._died = anyio.Event()
                self._instance = await self._start()
                self._ready.set()
                if is_first:
                    task_status.started()
                    is_first = False
                await self._died.wait()
            except LatticeError as exc:
                self._last_error = exc.message
                if is_first:
                    raise
            finally:
                if self._ready.is_set():  # else calls wait for it, beyond a restart that failed
                    self._ready = anyio.Event()
                if self._instance is not None:
                    self._instance.close()
                    self._instance = None
            failures = self._failures = 1 if self._is_stable else self._failures + 1
            if failures > restart.attempts:
                raise LatticeError(
                    f"service {self.id} failed {failures} times in a row, "
                    f"restart.max is {restart.attempts}: {self._last_error}"
                )
            self.restarts += 1
            delay_s = min(restart.backoff_min_s * 2.0 ** min(failures - 1, 32),
                          restart.backoff_max_s)  # fmt: skip
            self._world.log("warn", f"service {self._service.name} stopped: {self._last_error}; "
                                    f"restart {self.restarts} in {delay_s:.1f} s")  # fmt: skip
            await anyio.sleep(delay_s)

    async def call(
        self, interface: str, function: str, args: Sequence[Any], context: CallContext
    ) -> Any:
        """Return the result; waits for its turn. Errors as `Instance.call`, and:

        Raises:
            OverloadedError: the queue is full.
            ConflictError: this call comes, through others, from the call that the service is
                busy with: waiting for it would never end.
        """
        if self.id in context.holds:
            raise ConflictError(
                f"service {self.id} is busy with the call that this one comes from: "
                f"{' -> '.join((*context.holds, self.id))}",
                chain=[*context.holds, self.id],
            )
        limit_s = self._service.limits.deadline_s
        async with self._gate.entry(deadline_s=context.left_s(self._clock.monotonic_s())):
            instance = await self._live_instance(context)
            left_s = context.left_s(self._clock.monotonic_s())
            self._context = context.inside(self.id)
            try:
                return await instance.call(
                    interface, function, args, deadline_s=min(left_s, limit_s)
                )
            except LatticeError as exc:
                self._last_error = exc.message
                raise
            finally:
                self._context = None
                if instance.is_dead:
                    self._died.set()

    @property
    def trouble(self) -> str:
        """Return what is wrong with the service at the moment, "" when nothing is."""
        if not self._failures or (self._ready.is_set() and self._is_stable):
            return ""
        times = "once" if self._failures == 1 else f"{self._failures} times in a row"
        now = "runs again" if self._ready.is_set() else "is restarting"
        return f"service {self._service.name} failed {times} and {now}: {self._last_error}"

    @property
    def _is_stable(self) -> bool:
        """Tell whether the instance has run for so long that earlier failures are forgotten."""
        ran_s = self._clock.monotonic_s() - self._began_s
        return ran_s > STABLE_FACTOR * self._service.restart.backoff_max_s

    @property
    def in_flight(self) -> int:
        """Return how many calls run or wait."""
        return self._gate.in_flight

    async def drained(self) -> None:
        """Return when no call runs or waits."""
        await self._gate.drained()

    async def _live_instance(self, context: CallContext) -> Instance:
        with anyio.move_on_after(context.left_s(self._clock.monotonic_s())):
            # A dead instance is replaced by `run`; until then the call waits for the next one.
            while self._instance is None or self._instance.is_dead or not self._ready.is_set():
                await self._ready.wait()
                await anyio.lowlevel.checkpoint()
            return self._instance
        raise DeadlineExceededError(
            f"service {self.id} did not come back in time, it is restarting after: "
            f"{self._last_error}"
        )

    async def _start(self) -> Instance:
        instance = await self._program.instantiate(self._imports, self._world)
        self._context = CallContext(
            deadline_at_s=self._clock.monotonic_s() + START_DEADLINE_S, holds=(self.id,)
        )
        try:
            for interface, function in start_functions(self._program):
                await instance.call(interface, function, (), deadline_s=START_DEADLINE_S)
        except BaseException:
            instance.close()
            raise
        finally:
            self._context = None
        return instance

    def _current_context(self) -> CallContext:
        assert self._context is not None, "a guest calls out only while it works on a call"
        return self._context


def start_functions(program: Program) -> tuple[tuple[str, str], ...]:
    """Return (interface, function) of the exported start functions, in the order of the binary."""
    return tuple(
        (name, START_FUNCTION)
        for name, interface in program.type.exports.items()
        if _is_start(interface.functions.get(START_FUNCTION))
    )


def _is_start(function: Function | None) -> bool:
    return function is not None and not function.params
