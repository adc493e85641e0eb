"""A running replica: the programs of a workload, its services, and the calls between them.

The eager components run as one composed program, each lazy component as a program of its own; a
service is an actor or a process. Imports are satisfied as `lattice.component.wiring` resolved them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskStatus

from hosts.actor import ServiceActor
from hosts.blackbox import Mark
from hosts.callcontext import CallContext, at_work
from hosts.directories import ReplicaDirectories
from hosts.engine.base import Forward, Import, Lease, World
from hosts.engine.exchanges import serving, trace
from hosts.engine.network.loopback import Loopback
from hosts.http.base import Exchange
from hosts.http.egress import Egress
from hosts.http.guest import GuestHandler
from hosts.http.internaloutlet import Asker, outlets
from hosts.instances import ImportsFor
from hosts.invoker import Invoker
from hosts.opencalls import OpenCalls
from hosts.prepared import Prepared
from hosts.process import ServiceProcess
from hosts.stateless import StatelessProgram
from hosts.waits import Waits
from lattice.clock import Clock
from lattice.component.programs import run_interface
from lattice.component.resolution import COMPOSED, Connection
from lattice.component.types import Function
from lattice.errors import DeadlineExceededError, NotFoundError
from lattice.model.deployment import Service
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
        waits: Waits | None = None,
        mark: Mark | None = None,
        directories: ReplicaDirectories | None = None,
    ) -> None:
        """Prepare; `waits` is shared by the replicas of a host, whose services may call each other
        through links. `mark` notes when the replica is at work.

        Raises:
            DeniedError: a part wants a directory that this host does not grant.
        """
        self.id = replica
        self.deployment = str(prepared.deployment.name)
        self.generation = prepared.generation
        self.calls = 0
        self.fuel = 0
        """What its calls used since it started; only those of programs with `limits.fuel` count."""
        self._open = OpenCalls()  # from outside
        self._mark = mark or Mark()
        self._prepared = prepared
        self._http = http = prepared.resolution.http
        self.answers_http = http is not None
        """Whether a part of the workload answers requests over HTTP."""
        self.http_in_memory = prepared.deployment.http_route == "auto"
        """Whether requests from and to deployments on the same host may stay in memory."""
        self.answer_s = prepared.limits_of(http.program).deadline_s if http else 0.0
        """Seconds that such an answer may take."""
        self._invoker = invoker
        self._clock = clock
        self._log = log
        self._loopback = Loopback()
        self._egress = Egress() if prepared.senders else None
        self._waits = waits or Waits()
        self._directories = directories or ReplicaDirectories(Path(), {})
        self._connections = _connections(prepared)
        self._stateless = {name: self._stateless_program(name) for name in prepared.stateless}
        self._actors: dict[str, ServiceActor] = {}
        self._processes: dict[str, ServiceProcess] = {}
        for service in prepared.deployment.services:
            self._add_service(service)

    @property
    def in_flight(self) -> int:
        """Return how many calls run or wait in this replica."""
        return sum(each.in_flight for each in self._callees)

    @property
    def restarts(self) -> int:
        """Return how often services of this replica were started again."""
        return sum(each.restarts for each in self._services)

    @property
    def trouble(self) -> str:
        """Return what is wrong with services of this replica at the moment, "" when nothing is."""
        return "; ".join(each.trouble for each in self._services if each.trouble)

    @property
    def is_looping(self) -> bool:
        """Tell whether a service of this replica fails again and again."""
        return any(each.is_looping for each in self._services)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the services alive until cancelled; "started" when all are ready for calls.

        Raises:
            LatticeError: a service could not start, or failed too often, or the composed
                components cannot be instantiated.
        """
        async with (
            self._directories.scratch(),
            self._egress or nullcontext(),
            anyio.create_task_group() as group,
        ):
            # Side by side, because services that need each other could not start in any order; a
            # call of one that is not ready yet waits for it.
            async with anyio.create_task_group() as starting:
                for name in self._prepared.start_order():
                    service = self._actors.get(name) or self._processes[name]
                    starting.start_soon(group.start, service.run)
            if COMPOSED in self._stateless:
                # What cannot be instantiated must not count as ready. What is lazy is not tried.
                await self._stateless[COMPOSED].try_one()
            for program in self._stateless.values():
                group.start_soon(program.run)
            task_status.started()
            # A process is at work for as long as it runs, all else while it is called.
            with self._mark if self._processes else nullcontext():
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
        program = self._prepared.program_of(interface)
        # Who calls may be answering a request over HTTP, of which the callee is to see nothing.
        outer = serving.set(None)
        try:
            return await self._call_from_outside(program, interface, function, args, context)
        finally:
            serving.reset(outer)

    async def answer(self, exchange: Exchange, context: CallContext) -> None:
        """Answer a request over HTTP; it counts and waits as a call does.

        Raises:
            NotFoundError: no part of the workload answers requests.
            LatticeError: as `call`, and as `hosts.http.guest.GuestHandler`.
            HttpError: the client went away, or its body was none that is taken.
        """
        http = self._http
        if http is None:
            raise NotFoundError(f"{self.deployment} has no part that answers requests over HTTP")

        async def call(
            interface: str, function: str, args: Sequence[Any], _deadline_s: float
        ) -> Any:
            return await self._call_from_outside(http.program, interface, function, args, context)

        await GuestHandler(call)(exchange)

    async def _call_from_outside(
        self,
        program: str,
        interface: str,
        function: str,
        args: Sequence[Any],
        context: CallContext,
    ) -> Any:
        self.calls += 1
        chained = context.within(self.deployment)
        # Without a place, a call that comes from a service of this replica: those who have the
        # places may be waiting for that very service. A chain that comes back in another way does
        # wait for one, like any caller; when all places wait for each other in this way, their
        # deadlines end it, and `HOPS_MAX` ends a longer chain.
        takes_place = not context.holds or not any(
            actor.id in context.holds for actor in self._actors.values()
        )
        outer = trace.set(context.trace)
        try:
            with self._mark:
                return await self._open.run(
                    self._call_program(
                        program, interface, function, args, chained, takes_place=takes_place
                    ),
                    partial(self._stopped, interface, function),
                )
        finally:
            trace.reset(outer)

    def _stopped(self, interface: str, function: str) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"replica {self.id} was stopped before {interface}#{function} ended; whether it took "
            "effect is unknown"
        )

    def _count_fuel(self, used: int) -> None:
        self.fuel += used

    async def drained(self) -> None:
        """Return when no call from outside runs or waits; processes never rest."""
        await self._open.done()

    def end_calls(self) -> None:
        """End the calls that still run; their callers are told."""
        self._open.end_all()

    async def stop(self, *, within_s: float) -> None:
        """End the processes, then let the actors end their work, those that others need last."""
        for process in self._processes.values():
            await process.stop()
        for name in reversed(self._prepared.start_order()):
            if name in self._actors:
                await self._actors[name].stop(within_s=within_s)

    @property
    def _callees(self) -> tuple[StatelessProgram | ServiceActor, ...]:
        return (*self._stateless.values(), *self._actors.values())

    @property
    def _services(self) -> tuple[ServiceActor | ServiceProcess, ...]:
        return (*self._actors.values(), *self._processes.values())

    def _world_of(self, program: str) -> World:
        world = self._prepared.world_of(program)
        outlet = None
        if self._egress is not None and program in self._prepared.senders:
            asker = Asker(self.deployment, world.network.http, self.http_in_memory, self._log)
            outlet = outlets(asker, self._egress, self._invoker.internal)
        return replace(
            world,
            directories=self._directories.of_program(program, self._prepared.parts_of(program)),
            log=self._log,
            meter=self._count_fuel,
            loopback=self._loopback,
            outlet=outlet,
        )

    def _stateless_program(self, name: str) -> StatelessProgram:
        what = "" if name == COMPOSED else f" component {name}"
        return StatelessProgram(
            f"replica {self.id}{what}",
            self._prepared.programs[name],
            limits=self._prepared.limits_of(name),
            policy=self._prepared.policy_of(name),
            imports_for=self._imports_for(name),
            world=self._world_of(name),
            clock=self._clock,
        )

    def _add_service(self, service: Service) -> None:
        program = self._prepared.programs[service.name]
        world = self._world_of(service.name)
        imports_for = self._imports_for(service.name)
        if interface := run_interface(program.type):
            self._processes[service.name] = ServiceProcess(
                service, program, interface, owner=self.id, deployment=self.deployment,
                imports_for=imports_for, world=world, clock=self._clock,
            )  # fmt: skip
        else:
            self._actors[service.name] = ServiceActor(
                service, program, owner=self.id, deployment=self.deployment,
                imports_for=imports_for, world=world, clock=self._clock, waits=self._waits,
            )  # fmt: skip

    async def _call_program(
        self,
        program: str,
        interface: str,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        *,
        takes_place: bool,
    ) -> Any:
        """Return the result of a program's function.

        `takes_place`: a call of components counts against their limit of concurrency.
        """
        part = self._prepared.part_of(program, interface, function)
        inner = context.into((self.deployment, part, function))
        actor = self._actors.get(program)
        outer = None
        if program in self._prepared.senders:
            outer = at_work.set(inner.inside(actor.id) if actor is not None else inner)
        try:
            if actor is not None:
                return await actor.call(interface, function, args, inner)
            return await self._stateless[program].call(
                interface, function, args, inner, takes_place=takes_place
            )
        finally:
            if outer is not None:
                at_work.reset(outer)

    def _claim(
        self,
        program: str,
        interface: str,
        function: str,
        context: CallContext,
        *,
        takes_place: bool,
    ) -> Lease | None:
        """Return a claim on an idle instance of a program, None: it is to be called."""
        if program in self._prepared.senders:
            return None  # its requests belong to the call, which `_call_program` tells
        part = self._prepared.part_of(program, interface, function)
        inner = context.into((self.deployment, part, function))
        actor = self._actors.get(program)
        if actor is not None:
            return actor.claim(interface, function, inner)
        return self._stateless[program].claim(interface, function, inner, takes_place=takes_place)

    def _imports_for(self, program: str) -> ImportsFor:
        return partial(self._imports, program)

    def _imports(self, program: str, context: Callable[[], CallContext]) -> Mapping[str, Import]:
        """Return the imports of an instance of a program, keyed by the names it imports."""
        return {
            connection.interface: self._import(connection, context, takes_place=takes_place)
            for connection, takes_place in self._connections.get(program, ())
        }

    def _import(
        self,
        connection: Connection,
        context: Callable[[], CallContext],
        *,
        takes_place: bool,
    ) -> Import:
        link = connection.link
        if link is not None:

            async def call_linked(_interface: str, function: str, args: Sequence[Any]) -> Any:
                return await self._invoker.call(link, function, args, context())

            return Forward(call_linked)

        program, interface = connection.to, connection.to_interface

        async def call(_interface: str, function: str, args: Sequence[Any]) -> Any:
            return await self._call_program(
                program, interface, function, args, context(), takes_place=takes_place
            )

        def claim(_interface: str, function: str) -> Lease | None:
            return self._claim(program, interface, function, context(), takes_place=takes_place)

        return Forward(call, claim)


def _connections(prepared: Prepared) -> dict[str, list[tuple[Connection, bool]]]:
    """Return the connections of each program, and whether calls through one take a place.

    They do where a lazy component is called that never calls back: else those who have its places
    may be waiting for that very call. What is composed bounds the calls from outside only.
    """
    found: dict[str, list[tuple[Connection, bool]]] = {}
    for each in prepared.resolution.connections:
        is_lazy = each.link is None and each.to != COMPOSED
        takes_place = is_lazy and not prepared.reaches(each.to, each.program)
        found.setdefault(each.program, []).append((each, takes_place))
    return found
