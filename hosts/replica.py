"""A running replica: keeps its members alive, and takes the calls that come from outside.

It counts them, refuses them when it may not work, and ends them when it is stopped. What it
consists of, and the calls inside, are those of `hosts.members`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskStatus

from hosts.blackbox import Mark
from hosts.callcontext import CallContext
from hosts.directories import ReplicaDirectories
from hosts.engine.base import World
from hosts.engine.exchanges import serving, trace
from hosts.engine.network.loopback import Loopback
from hosts.fencing import Singleton
from hosts.http.base import Exchange
from hosts.http.egress import Egress
from hosts.http.guest import GuestHandler
from hosts.http.internaloutlet import Asker, outlets
from hosts.invoker import Invoker
from hosts.lifecycle_events import ReplicaFigures
from hosts.members import Members
from hosts.opencalls import OpenCalls
from hosts.prepared import Prepared
from hosts.prober import Prober
from hosts.probes import probers
from hosts.waits import Waits
from lattice.client.spreading import FULL
from lattice.clock import Clock
from lattice.component.resolution import COMPOSED
from lattice.component.types import Function
from lattice.errors import DeadlineExceededError, LatticeError, NotFoundError
from lattice.model.ids import ReplicaId

_now_s = time.monotonic  # durations alone: what a call takes is measured twice a call

WriteLine = Callable[[str, str], None]
"""Takes (level, line) of a guest's output."""


LOOKED_UP_MAX = 1024
"""Functions whose types are remembered as callers name them, which may differ in the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a replica has of its host. `waits` is shared by the replicas of a host, whose services
    may call each other through links; `mark` notes when the replica is at work.
    """

    waits: Waits = field(default_factory=Waits)
    mark: Mark = field(default_factory=Mark)
    directories: ReplicaDirectories = field(default_factory=lambda: ReplicaDirectories(Path(), {}))
    singleton: Singleton | None = None  # set for a strict one


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
        surroundings: Surroundings | None = None,
    ) -> None:
        """Prepare.

        Raises:
            DeniedError: a part wants a directory that this host does not grant.
        """
        self.id = replica
        self.deployment = str(prepared.deployment.name)
        self.generation = prepared.generation
        self.calls = 0
        self.fuel = 0
        """What its calls used since it started; only those of programs with `limits.fuel` count."""
        self.errors = 0
        """Of `calls`, those that ended in an error of a guest or of the platform."""
        self.busy_s = 0.0
        """What `calls` took in all, those that have ended."""
        surroundings = surroundings or Surroundings()
        self._singleton = singleton = surroundings.singleton
        self._fence = fence = singleton.fence if singleton is not None else None
        self._open = OpenCalls()  # from outside
        self._mark = surroundings.mark
        self._prepared = prepared
        self._http = http = prepared.resolution.http
        self.answers_http = http is not None
        """Whether a part of the workload answers requests over HTTP."""
        self.http_in_memory = prepared.deployment.http_route == "auto"
        """Whether requests from and to deployments on the same host may stay in memory."""
        self.answer_s = prepared.limits_of(http.program).deadline_s if http else 0.0
        """Seconds that such an answer may take."""
        self.deadline_s = max(part.limits.deadline_s for part in prepared.deployment.parts)
        """Seconds that the longest call of it may take."""
        self._invoker = invoker
        self._clock = clock
        self._log = log
        self._loopback = Loopback()
        self._egress = Egress() if prepared.senders else None
        self._directories = surroundings.directories
        self._looked_up: dict[tuple[str, str], tuple[str, Function, str]] = {}
        self._members = Members(
            replica, prepared, invoker=invoker, clock=clock, waits=surroundings.waits,
            world_of=self._world_of, fence=fence,
        )  # fmt: skip

    @property
    def in_flight(self) -> int:
        """Return how many calls run or wait in this replica."""
        callees = self._members.callees
        if len(callees) == 1:
            return callees[0].in_flight  # the usual case, and one of every call
        return sum(each.in_flight for each in callees)

    def figures(self) -> ReplicaFigures:
        """Return what is to be reported."""
        services = self._members.services
        waiting = sum(each.waiting for each in self._members.callees)
        return ReplicaFigures(
            calls=self.calls,
            fuel=self.fuel,
            in_flight=self.in_flight - waiting,
            waiting=waiting,
            errors=self.errors,
            busy_ms=round(self.busy_s * 1000),
            restarts=sum(each.restarts for each in services),
            trouble="; ".join(each.trouble for each in services if each.trouble),
            is_looping=any(each.is_looping for each in services),
        )

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the services alive until cancelled; "started" when all are ready for calls.

        That of a job returns when its processes have ended well.

        Raises:
            LatticeError: a service could not start, or failed too often, or the composed
                components cannot be instantiated, or a job's process failed.
        """
        members = self._members
        async with (
            self._directories.scratch(),
            self._egress or nullcontext(),
            anyio.create_task_group() as group,
        ):
            # Side by side, because services that need each other could not start in any order; a
            # call of one that is not ready yet waits for it.
            async with anyio.create_task_group() as starting:
                for name in self._prepared.start_order():
                    service = members.actors.get(name) or members.processes[name]
                    starting.start_soon(group.start, service.run)
            if COMPOSED in members.stateless:
                # What cannot be instantiated must not count as ready. What is lazy is not tried.
                await members.stateless[COMPOSED].try_one()
            for program in members.stateless.values():
                group.start_soon(program.run)
            task_status.started()
            # A process is at work for as long as it runs, all else while it is called.
            with self._mark if members.processes else nullcontext():
                if self._prepared.deployment.job is None:
                    await anyio.sleep_forever()
                await members.completed()
            group.cancel_scope.cancel()

    def probers(self) -> dict[str, Prober]:
        """Return what asks its probes, see `hosts.probes.probers`."""
        return probers(self._prepared, self._members, self._clock)

    def lookup(self, interface: str, function: str) -> tuple[str, Function, str]:
        """Return the exact name of an exposed interface, the type of a function in it, and the
        fingerprint of that type.

        Raises:
            NotFoundError: it is not exposed; what is, is listed.
        """
        known = self._looked_up.get((interface, function))
        if known is None:
            known = self._prepared.lookup(interface, function)
            if len(self._looked_up) < LOOKED_UP_MAX:
                self._looked_up[interface, function] = known
        return known

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
        if self._fence is not None:
            self._fence.require_open(self.id)
        self.calls += 1
        began_s = _now_s()
        chained = context.within(self.deployment)
        # Without a place, a call that comes from a service of this replica: those who have the
        # places may be waiting for that very service. A chain that comes back in another way does
        # wait for one, like any caller; when all places wait for each other in this way, their
        # deadlines end it, and `HOPS_MAX` ends a longer chain.
        takes_place = not context.holds or not any(
            actor.id in context.holds for actor in self._members.actors.values()
        )
        outer = trace.set(context.trace)
        try:
            with self._mark:
                return await self._open.run(
                    self._members.call(
                        program, interface, function, args, chained, takes_place=takes_place
                    ),
                    partial(self._stopped, interface, function),
                )
        except LatticeError as error:
            self.errors += 1
            if error.details.get(FULL) != self._members.gate_of(program):
                error.details.pop(FULL, None)  # of something further in: this call did begin
            raise
        finally:
            trace.reset(outer)
            self.busy_s += _now_s() - began_s

    def _stopped(self, interface: str, function: str) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"replica {self.id} was stopped before {interface}#{function} ended; whether it took "
            "effect is unknown",
            ended=True,
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
        await self.halt()
        for name in reversed(self._prepared.start_order()):
            if name in self._members.actors:
                await self._members.actors[name].stop(within_s=within_s)

    async def halt(self) -> None:
        """End the processes at once, and return when they are gone."""
        for process in self._members.processes.values():
            await process.stop()

    def require_open(self) -> None:
        """Return when calls may begin now: always, but for a strict singleton.

        Raises:
            NoRouteError: as `Fence.require_open`.
        """
        if self._fence is not None:
            self._fence.require_open(self.id)

    def _world_of(self, program: str) -> World:
        world = self._prepared.world_of(program)
        outlet = None
        if self._egress is not None and program in self._prepared.senders:
            asker = Asker(self.deployment, world.network.http, self.http_in_memory, self._log)
            outlet = outlets(asker, self._egress, self._invoker.internal)
        return replace(
            world,
            config={**world.config, **(self._singleton.config if self._singleton else {})},
            directories=self._directories.of_program(program, self._prepared.parts_of(program)),
            log=self._log,
            meter=self._count_fuel,
            loopback=self._loopback,
            outlet=outlet,
        )
