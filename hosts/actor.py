"""A service that is called: one long-lived instance, one call at a time, first in, first out.

When the instance dies (a trap, a passed deadline) its state dies with it; the actor makes a new
one after a backoff, and waiting calls wait on within their deadlines.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskStatus

from hosts.callcontext import CallContext, told
from hosts.engine.base import Instance, Program, World
from hosts.gate import Gate
from hosts.instances import ImportsFor
from hosts.leases import CallLease
from hosts.restarts import Restarts
from hosts.waits import Waits
from lattice.clock import Clock
from lattice.component.programs import START, STOP
from lattice.component.types import Function
from lattice.errors import ConflictError, DeadlineExceededError, LatticeError, NoRouteError
from lattice.model.deployment import Service

START_DEADLINE_S = 120.0
"""What `start` may take: it may index files of hundreds of megabytes."""


class ServiceActor:
    """One service of one replica that answers calls."""

    def __init__(
        self,
        service: Service,
        program: Program,
        *,
        owner: str,
        deployment: str,
        imports_for: ImportsFor,
        world: World,
        clock: Clock,
        waits: Waits,
    ) -> None:
        self.id = f"{owner}:{service.name}"
        self._service = service
        self._deployment = deployment
        self._program = program
        self._world = world
        self._clock = clock
        self._waits = waits
        self._imports = imports_for(self._current_context)
        self._gate = Gate(f"service {self.id}", concurrency=1, queue=service.limits.queue)
        self._ready = anyio.Event()
        self._died = anyio.Event()
        self._instance: Instance | None = None
        self._context: CallContext | None = None
        self._life = Restarts(service.name, service.restart)
        self._error = ""  # of the last call that failed

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep an instance alive until cancelled; "started" when the first one is ready.

        Raises:
            LatticeError: the first start failed, or restarts ran out; the last cause is told.
        """
        is_first = True
        while True:
            self._life.begin(self._clock.monotonic_s())
            try:
                self._died = anyio.Event()
                self._instance = await self._start()
                self._ready.set()
                self._life.up()
                if is_first:
                    task_status.started()
                    is_first = False
                await self._died.wait()
            except LatticeError as exc:
                self._error = exc.message
                if is_first:
                    raise
            finally:
                if self._ready.is_set():  # else calls wait for it, beyond a restart that failed
                    self._ready = anyio.Event()
                self._close()
            await self._pause()

    async def call(
        self,
        interface: str,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        *,
        begun: Callable[[], None] | None = None,
    ) -> Any:
        """Return the result; waits for its turn, then calls `begun`. Errors as `Instance.call`,
        and:

        Raises:
            OverloadedError: the queue is full.
            ConflictError: the service is busy with the call that this one comes from, or with one
                that waits for it in turn: waiting for it would never end. The chain is told.
            NoRouteError: the service failed and is not restarted.
        """
        limit_s = self._service.limits.deadline_s
        async with self._turn(context) as instance:
            left_s = context.limited_s(self._clock.monotonic_s(), limit_s)
            self._context = context.inside(self.id)
            if begun is not None:
                begun()
            try:
                answer = await instance.call(interface, function, args, deadline_s=left_s)
            except LatticeError as exc:
                self._error = exc.message
                raise
            else:
                self._life.useful()
                return answer
            finally:
                self._context = None
                if instance.is_dead:
                    self._died.set()

    def claim(self, interface: str, function: str, context: CallContext) -> CallLease | None:
        """Return a claim on the instance, None when the call has to wait for anything.

        Raises:
            ConflictError: as `call`.
        """
        if self.id in context.holds:
            raise self._circular(context, (self.id,))
        left_s = context.limited_s(self._clock.monotonic_s(), self._service.limits.deadline_s)
        instance = self._instance
        if instance is None or instance.is_dead or not self._ready.is_set():
            return None
        place = self._gate.try_enter()
        if place is None:
            return None
        self._context = context.inside(self.id)

        def release() -> None:
            self._context = None
            if instance.is_dead:
                # Whoever releases a lease is ending the call, by this error if it failed.
                error = sys.exc_info()[1]
                if isinstance(error, LatticeError):
                    self._error = error.message
                else:
                    self._error = "a call of it was cancelled"
                self._died.set()
            else:
                self._life.useful()
            self._gate.leave(place)

        return CallLease(instance, interface, function, left_s, release)

    async def stop(self, *, within_s: float) -> None:
        """Let the guest end its work: call its `stop` functions, when its turn comes.

        What goes wrong is logged: it ends in any case.
        """
        functions = hooks(self._program, STOP)
        if self._instance is None or self._instance.is_dead or not functions:
            return
        context = self._own_context(STOP, within_s)
        for interface, function in functions:
            try:
                await self.call(interface, function, (), context)
            except LatticeError as exc:
                self._world.log("warn", f"service {self._service.name} did not stop well: {exc}")
                return

    @property
    def restarts(self) -> int:
        """Return how often the service was started again."""
        return self._life.total

    @property
    def trouble(self) -> str:
        """Return what is wrong with the service at the moment, "" when nothing is."""
        return self._life.trouble(self._clock.monotonic_s())

    @property
    def is_looping(self) -> bool:
        """Tell whether it fails again and again."""
        return self._life.is_looping(self._clock.monotonic_s())

    @property
    def gate(self) -> str:
        """Return the name of the queue that a call waits in."""
        return self._gate.name

    @property
    def in_flight(self) -> int:
        """Return how many calls run or wait."""
        return self._gate.in_flight

    @property
    def waiting(self) -> int:
        """Return how many calls wait for their turn."""
        return self._gate.waiting

    @asynccontextmanager
    async def _turn(self, context: CallContext) -> AsyncIterator[Instance]:
        """Yield the instance when it is this call's turn, and keep the others waiting."""
        circle = self._waits.begin(context.holds, self.id)
        if circle:
            raise self._circular(context, circle)
        is_waiting = True
        try:
            async with self._gate.entry(deadline_s=context.left_s(self._clock.monotonic_s())):
                instance = await self._live_instance(context)
                self._waits.end(context.holds)
                is_waiting = False
                yield instance
        finally:
            if is_waiting:
                self._waits.end(context.holds)

    def _circular(self, context: CallContext, circle: Sequence[str]) -> ConflictError:
        chain = told(context.steps)
        if len(circle) == 1:
            message = f"service {self.id} is busy with the call that this one comes from: {chain}"
        else:
            message = (
                f"service {self.id} is busy with a call that waits, through "
                f"{' -> '.join(circle[1:])}, for this one: {chain}; calls of services that call "
                "each other both ways can meet like this, call again"
            )
        return ConflictError(message, chain=chain.split(" -> "))

    async def _live_instance(self, context: CallContext) -> Instance:
        with anyio.move_on_after(context.left_s(self._clock.monotonic_s())):
            # A dead instance is replaced by `run`; until then the call waits for the next one.
            while self._instance is None or self._instance.is_dead or not self._ready.is_set():
                if self._life.verdict == "failed":
                    raise NoRouteError(
                        f"service {self.id} failed and is not restarted (restart.policy: never): "
                        f"{self._life.last_error}"
                    )
                await self._ready.wait()
                await anyio.lowlevel.checkpoint()
            return self._instance
        raise DeadlineExceededError(
            f"service {self.id} did not come back in time, it is restarting after: {self._error}"
        )

    async def _start(self) -> Instance:
        # Held from the beginning: what the guest runs when it is instantiated may call others.
        self._context = self._own_context(START, START_DEADLINE_S).inside(self.id)
        try:
            instance = await self._program.instantiate(self._imports, self._world)
            try:
                for interface, function in hooks(self._program, START):
                    await instance.call(interface, function, (), deadline_s=START_DEADLINE_S)
            except BaseException:
                instance.close()
                raise
        finally:
            self._context = None
        return instance

    async def _pause(self) -> None:
        """Wait until the next life begins; for ever when there is none."""
        ending = self._life.end(self._clock.monotonic_s(), self._error or "its instance ended")
        name, error = self._service.name, self._life.last_error
        if ending.verdict == "given-up":
            raise LatticeError(
                f"service {self.id} failed {self._life.failures} times in a row, "
                f"restart.max is {self._service.restart.attempts}: {error}"
            )
        if ending.verdict == "failed":
            self._world.log("error", f"service {name} failed and is not restarted: {error}")
            self._ready.set()  # who waits for it is told
            await anyio.sleep_forever()
        again = f"restart {self._life.total} in {ending.delay_s:.1f} s"
        self._world.log("warn", f"service {name} stopped: {error}; {again}")
        await anyio.sleep(ending.delay_s)

    def _close(self) -> None:
        if self._instance is not None:
            self._instance.close()
            self._instance = None

    def _own_context(self, function: str, deadline_s: float) -> CallContext:
        return CallContext(
            deadline_at_s=self._clock.monotonic_s() + deadline_s,
            steps=((self._deployment, self._service.name, function),),
            caller=self._deployment,
            chain=(self._deployment,),
        )

    def _current_context(self) -> CallContext:
        assert self._context is not None, "a guest calls out only while it works on a call"
        return self._context


def hooks(program: Program, function: str) -> tuple[tuple[str, str], ...]:
    """Return (interface, function) of the exported functions of that name that take nothing, in
    the order of the binary.
    """
    return tuple(
        (name, function)
        for name, interface in program.type.exports.items()
        if _takes_nothing(interface.functions.get(function))
    )


def _takes_nothing(function: Function | None) -> bool:
    return function is not None and not function.params
