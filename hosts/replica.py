"""A running replica: the programs of a workload, its services, and the calls between them.

The stateless components run as one composed program, whose instances `hosts.instances` keeps; every
service is an actor. Imports are satisfied as `lattice.component.wiring` resolved them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskStatus

from hosts.actor import ServiceActor
from hosts.engine.base import HostImport
from hosts.gate import Gate
from hosts.instances import Instances
from hosts.invoker import CallContext, Invoker
from hosts.programs import DroppableProgram
from hosts.workload import Prepared
from lattice.clock import Clock
from lattice.component.types import Function
from lattice.component.wiring import COMPOSED, Connection
from lattice.errors import DeadlineExceededError
from lattice.model.ids import ReplicaId

WriteLine = Callable[[str, str], None]
"""Takes (level, line) of a guest's output."""


class Replica:
    """One replica on this host. `run` keeps it alive; `call` uses it while it is ready."""

    def __init__(
        self,
        replica: ReplicaId,
        prepared: Prepared,
        *,
        invoker: Invoker,
        clock: Clock,
        log: WriteLine,
    ) -> None:
        self.id = replica
        self.deployment = str(prepared.deployment.name)
        self.generation = prepared.generation
        self.calls = 0
        self._open: set[anyio.CancelScope] = set()
        self._prepared = prepared
        self._invoker = invoker
        self._clock = clock
        self._world = replace(prepared.composed_world, log=log)
        self._composed = self._instances(prepared.programs.get(COMPOSED))
        limits = prepared.composed_limits
        self._deadline_s = limits.deadline_s
        self._gate = Gate(f"replica {replica}", concurrency=limits.concurrency, queue=limits.queue)
        self._actors = {
            service.name: ServiceActor(
                service,
                prepared.programs[service.name],
                owner=replica,
                imports_for=partial(self._imports, service.name),
                world=replace(prepared.world_of(service), log=log),
                clock=clock,
            )
            for service in prepared.deployment.services
        }

    @property
    def in_flight(self) -> int:
        """Return how many calls run or wait in this replica."""
        return self._gate.in_flight + sum(a.in_flight for a in self._actors.values())

    @property
    def restarts(self) -> int:
        """Return how often services of this replica were started again."""
        return sum(actor.restarts for actor in self._actors.values())

    @property
    def trouble(self) -> str:
        """Return what is wrong with services of this replica at the moment, "" when nothing is."""
        return "; ".join(each.trouble for each in self._actors.values() if each.trouble)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the services alive until cancelled; "started" when all are ready for calls.

        Raises:
            LatticeError: a service could not start, or failed too often, or the composed
                components cannot be instantiated.
        """
        async with anyio.create_task_group() as group:
            for service in self._prepared.start_order():
                await group.start(self._actors[service].run)
            if self._composed is not None:
                # What cannot be instantiated must not count as ready.
                await self._composed.try_one()
                group.start_soon(self._composed.run)
            task_status.started()
            await anyio.sleep_forever()

    def lookup(self, interface: str, function: str) -> tuple[str, Function, str]:
        """Return the exact name of an exposed interface, the type of a function in it, and the
        fingerprint of that type.

        Raises:
            NotFoundError: it is not exposed; what is, is listed.
        """
        return self._prepared.lookup(interface, function)

    async def call(
        self, interface: str, function: str, args: Sequence[Any], context: CallContext
    ) -> Any:
        """Return the result of an exposed function, called from outside the workload.

        Raises:
            LatticeError: as `hosts.engine.base.Instance.call`, and the limits of the replica.
        """
        self.calls += 1
        chained = context.within(self.deployment)
        program = self._prepared.program_of(interface)
        with anyio.CancelScope() as scope:
            self._open.add(scope)
            try:
                return await self._call_program(program, interface, function, args, chained)
            finally:
                self._open.discard(scope)
        raise DeadlineExceededError(
            f"replica {self.id} was stopped before {interface}#{function} ended; whether it took "
            "effect is unknown"
        )

    async def drained(self) -> None:
        """Return when no call runs or waits."""
        await self._gate.drained()
        for actor in self._actors.values():
            await actor.drained()

    def end_calls(self) -> None:
        """End the calls that still run; their callers are told."""
        for scope in tuple(self._open):
            scope.cancel()

    async def _call_program(
        self,
        program: str,
        interface: str,
        function: str,
        args: Sequence[Any],
        context: CallContext,
    ) -> Any:
        actor = self._actors.get(program)
        if actor is not None:
            return await actor.call(interface, function, args, context)
        async with self._admission(context):
            left_s = min(context.left_s(self._clock.monotonic_s()), self._deadline_s)
            assert self._composed is not None, "the composed program was called"
            return await self._composed.call(interface, function, args, context, deadline_s=left_s)

    def _admission(self, context: CallContext) -> AbstractAsyncContextManager[None]:
        """Return what holds a place for a call of the composed program while it runs.

        One that comes from a service of this replica takes none: those who have the places may be
        waiting for that very service, which has one such call at a time. A chain that comes back
        through another deployment does wait for a place, like any caller; when all places wait
        for each other in this way, their deadlines end it, and `HOPS_MAX` ends a longer chain.
        """
        if any(actor.id in context.holds for actor in self._actors.values()):
            return nullcontext()
        return self._gate.entry(deadline_s=context.left_s(self._clock.monotonic_s()))

    def _instances(self, program: DroppableProgram | None) -> Instances | None:
        """Return the keeper of the composed program's instances, None when there is none."""
        if program is None:
            return None
        return Instances(
            program,
            self._prepared.composed_policy,
            imports_for=partial(self._imports, COMPOSED),
            world=self._world,
            clock=self._clock,
        )

    def _imports(
        self, program: str, context: Callable[[], CallContext]
    ) -> Mapping[str, HostImport]:
        """Return the imports of an instance of a program, keyed by the names it imports."""
        return {
            connection.interface: self._import(connection, context)
            for connection in self._prepared.resolution.connections
            if connection.program == program
        }

    def _import(self, connection: Connection, context: Callable[[], CallContext]) -> HostImport:
        async def call(_interface: str, function: str, args: Sequence[Any]) -> Any:
            if connection.link is not None:
                return await self._invoker.call(connection.link, function, args, context())
            return await self._call_program(
                connection.to, connection.to_interface, function, args, context()
            )

        return call
