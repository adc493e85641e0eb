"""The programs and services of one replica, and the calls between them.

The eager components run as one composed program, each lazy component as a program of its own; a
service is an actor or a process. Imports are satisfied as `lattice.component.wiring` resolved them.
Who may call from outside, and when, is the replica's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from hosts.actor import ServiceActor
from hosts.bytestream import capability, stream_imports
from hosts.callcontext import CallContext, Step, at_work
from hosts.durable_guests import INTERFACE as JOBS
from hosts.durable_guests import GuestJobs, is_jobs
from hosts.dynamic import Dynamic, Grant, is_dynamic, parse_grant
from hosts.engine.base import Forward, Import, Lease, World
from hosts.fencing import Fence
from hosts.instances import ImportsFor
from hosts.invoker import Invoker
from hosts.prepared import Prepared
from hosts.process import ServiceProcess
from hosts.stateless import StatelessProgram
from hosts.waits import Waits
from lattice.clock import Clock
from lattice.component.programs import run_interface
from lattice.component.resolution import COMPOSED, Connection, LinkTarget
from lattice.errors import InvalidError, LatticeError, first_cause
from lattice.model.deployment import Restart, Service

STEPS_MAX = 4096
"""Functions that are remembered as steps of chains; those of further ones are made anew."""


class Members:
    """What one replica consists of."""

    def __init__(
        self,
        replica: str,
        prepared: Prepared,
        *,
        invoker: Invoker,
        clock: Clock,
        waits: Waits,
        world_of: Callable[[str], World],
        fence: Fence | None = None,
    ) -> None:
        """Prepare; nothing is loaded and nothing runs. `world_of` tells what a program sees.

        Raises:
            InvalidError: a binding has settings that its capability does not know.
        """
        self._id = replica
        self._deployment = str(prepared.deployment.name)
        self._prepared = prepared
        self._invoker = invoker
        self._clock = clock
        self._waits = waits
        self._world_of = world_of
        self._fence = fence
        self._connections = _connections(prepared)
        self._grants = _grants(prepared)
        self._steps: dict[tuple[str, str, str], Step] = {}
        self.stateless = {name: self._stateless_program(name) for name in prepared.stateless}
        self.actors: dict[str, ServiceActor] = {}
        self.processes: dict[str, ServiceProcess] = {}
        for service in prepared.deployment.services:
            self._add_service(service)
        self.callees: tuple[StatelessProgram | ServiceActor, ...] = (
            *self.stateless.values(),
            *self.actors.values(),
        )
        """Those that others call."""
        self.services: tuple[ServiceActor | ServiceProcess, ...] = (
            *self.actors.values(),
            *self.processes.values(),
        )
        """Those that have a life of their own."""

    async def call(
        self,
        program: str,
        interface: str,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        *,
        takes_place: bool,
        begun: Callable[[], None] | None = None,
    ) -> Any:
        """Return the result of a program's function.

        `takes_place`: a call of components counts against their limit of concurrency. `begun` is
        called when a service, which takes one call at a time, begins with this one.

        Raises:
            LatticeError: as `ServiceActor.call` and `StatelessProgram.call`.
        """
        inner = context.into(self._step(program, interface, function))
        actor = self.actors.get(program)
        outer = None
        if program in self._prepared.senders:
            outer = at_work.set(inner.inside(actor.id) if actor is not None else inner)
        try:
            if actor is not None:
                return await actor.call(interface, function, args, inner, begun=begun)
            return await self.stateless[program].call(
                interface, function, args, inner, takes_place=takes_place
            )
        finally:
            if outer is not None:
                at_work.reset(outer)

    def gate_of(self, program: str) -> str | None:
        """Return the name of the queue that calls of a program wait in, None: it is not called."""
        callee = self.actors.get(program) or self.stateless.get(program)
        return callee.gate if callee is not None else None

    async def completed(self) -> None:
        """Return when every process has ended by itself, and well: then a job's replica is done.

        Raises:
            LatticeError: one ended badly; why is told.
            InvalidError: there is none that could end.
        """
        if not self.processes:
            raise InvalidError(
                f"{self._deployment} is a job and has no service that exports wasi:cli/run"
            )

        async def one(name: str, process: ServiceProcess) -> None:
            await process.ended()
            if process.failure:
                raise LatticeError(f"process {name} of {self._id} failed: {process.failure}")

        try:
            async with anyio.create_task_group() as group:
                for name, process in self.processes.items():
                    group.start_soon(one, name, process)
        except* LatticeError as failures:
            raise first_cause(failures) from None

    def _step(self, program: str, interface: str, function: str) -> Step:
        """Return a function as a step of a chain of calls, the same object each time."""
        key = (program, interface, function)
        step = self._steps.get(key)
        if step is None:
            step = (self._deployment, self._prepared.part_of(*key), function)
            if len(self._steps) < STEPS_MAX:
                self._steps[key] = step
        return step

    def _stateless_program(self, name: str) -> StatelessProgram:
        what = "" if name == COMPOSED else f" component {name}"
        return StatelessProgram(
            f"replica {self._id}{what}",
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
            if self._prepared.deployment.job is not None:
                # The scheduler decides what follows when a job's process ends.
                service = replace(service, restart=Restart(policy="never"))
            self.processes[service.name] = ServiceProcess(
                service, program, interface, owner=self._id, deployment=self._deployment,
                imports_for=imports_for, world=world, clock=self._clock,
            )  # fmt: skip
        else:
            self.actors[service.name] = ServiceActor(
                service, program, owner=self._id, deployment=self._deployment,
                imports_for=imports_for, world=world, clock=self._clock, waits=self._waits,
            )  # fmt: skip

    def _imports_for(self, program: str) -> ImportsFor:
        return partial(self._imports, program)

    def _imports(self, program: str, context: Callable[[], CallContext]) -> Mapping[str, Import]:
        """Return the imports of an instance of a program, keyed by the names it imports."""
        imports = {
            connection.interface: self._import(connection, context, takes_place=takes_place)
            for connection, takes_place in self._connections.get(program, ())
        }
        for interface, grant in self._grants.get(program, ()):
            if is_jobs(interface):
                jobs, clock = self._invoker.jobs, self._clock
                guest_jobs = GuestJobs(grant, jobs, clock, context, self._require_open)
                imports[interface] = guest_jobs.capability()
                continue
            dynamic = Dynamic(grant, self._invoker, context, self._require_open)
            imports[interface] = dynamic.capability()
        for interface in stream_imports(self._prepared.programs[program].type.imports):
            imports.setdefault(interface, capability(lambda: context().stream))
        return imports

    def _require_open(self) -> None:
        if self._fence is not None:
            self._fence.require_open(self._id)

    def _import(
        self,
        connection: Connection,
        context: Callable[[], CallContext],
        *,
        takes_place: bool,
    ) -> Import:
        if connection.link is not None:
            return self._linked(connection.link, context)

        program, interface = connection.to, connection.to_interface
        stateless = self.stateless.get(program)
        is_sender = program in self._prepared.senders  # its requests belong to the call: see `call`
        steps: dict[str, Step] = {}

        async def call(_interface: str, function: str, args: Sequence[Any]) -> Any:
            return await self.call(
                program, interface, function, args, context(), takes_place=takes_place
            )

        def claim(_interface: str, function: str) -> Lease | None:
            step = steps.get(function)
            if step is None:  # of the functions that the guest imports
                step = steps[function] = self._step(program, interface, function)
            inner = context().into(step)
            if stateless is not None:
                return stateless.claim(interface, function, inner, takes_place=takes_place)
            return self.actors[program].claim(interface, function, inner)

        return Forward(call, None if is_sender else claim)

    def _linked(self, link: LinkTarget, context: Callable[[], CallContext]) -> Import:
        """Return an import that calls another deployment; a strict singleton only under a lease."""
        invoker = self._invoker

        async def call(_interface: str, function: str, args: Sequence[Any]) -> Any:
            self._require_open()
            return await invoker.call(link, function, args, context())

        return Forward(call)


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


def _grants(prepared: Prepared) -> dict[str, list[tuple[str, Grant]]]:
    """Return which imports of each program name deployments at run time, and which ones.

    Raises:
        InvalidError: a binding has settings that are not known.
    """
    found: dict[str, list[tuple[str, Grant]]] = {}
    for use in prepared.resolution.capabilities:
        if is_dynamic(use.interface):
            found.setdefault(use.program, []).append((use.interface, parse_grant(use.config)))
        elif is_jobs(use.interface):
            grant = parse_grant(use.config, JOBS)
            found.setdefault(use.program, []).append((use.interface, grant))
    return found
