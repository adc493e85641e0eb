"""One component, with what is linked to it, as what answers HTTP requests: no lattice, no bus.

`site_of` makes a `Site` of an assembly (`hosts.standalone`): its `handler` goes to a server, its
`run` keeps instances. What listens, and the words of a command line, are the caller's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hosts.callcontext import CallContext
from hosts.engine.adapting import HANDLER, SERVER, SWITCH
from hosts.engine.base import Engine, World
from hosts.engine.pool import Mode, Policy
from hosts.gate import Gate
from hosts.guarded import Guard, GuardedEngine
from hosts.http.base import Handler
from hosts.http.guest import GuestHandler
from hosts.instances import Instances
from hosts.programs import DroppableProgram, Programs
from hosts.standalone import Assembly
from lattice.clock import Clock, SystemClock
from lattice.errors import InvalidError
from lattice.model.deployment import Instances as Keeping
from lattice.model.deployment import Limits

if TYPE_CHECKING:
    from hosts.http.egress import Egress


_NO_CONTEXT = CallContext(deadline_at_s=float("inf"))
"""All of these calls come from outside, and what they call reaches no other deployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOptions:
    """How a component answers requests: what its instances see, and how they are kept."""

    world: World = field(default_factory=World)
    mode: Mode = "fresh"
    limits: Limits = field(default_factory=Limits)
    # limits: time of one request, waiting and bodies included; memory is as the world says


class Site:
    """A component that answers requests, and its instances."""

    def __init__(
        self,
        name: str,
        program: DroppableProgram,
        options: SiteOptions,
        *,
        mark: AbstractContextManager[None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Prepare; no instance is made. `name` is for messages, `mark` is held by each request."""
        self._mark = mark or nullcontext()
        self._clock = clock or SystemClock()
        limits = options.limits
        self._gate = Gate(name, concurrency=limits.concurrency, queue=limits.queue)
        keeping = Keeping()
        self._instances = Instances(
            program,
            Policy(
                mode=options.mode,
                invocations_max=keeping.invocations_max,
                idle_s=keeping.idle_s,
                ready=keeping.ready,
                concurrency=limits.concurrency,
            ),
            imports_for=lambda _current: {},
            world=options.world,
            clock=self._clock,
        )
        self.handler: Handler = GuestHandler(self._call, limits.deadline_s)
        """Answers requests, while `run` runs."""

    async def try_one(self) -> None:
        """Make an instance and close it: what cannot be instantiated fails here.

        Raises:
            LatticeError: as `hosts.engine.base.Program.instantiate`.
        """
        await self._instances.try_one()

    async def run(self) -> None:
        """Keep instances until cancelled."""
        await self._instances.run()

    async def _call(
        self, interface: str, function: str, args: Sequence[Any], deadline_s: float
    ) -> Any:
        place = self._gate.try_enter()
        if place is None:
            return await self._call_later(interface, function, args, deadline_s)
        try:
            with self._mark:
                return await self._instances.call(
                    interface, function, args, _NO_CONTEXT, deadline_s=deadline_s
                )
        finally:
            self._gate.leave(place)

    async def _call_later(
        self, interface: str, function: str, args: Sequence[Any], deadline_s: float
    ) -> Any:
        """Wait for a place, and call in the time that is left."""
        began_s = self._clock.monotonic_s()
        async with self._gate.entry(deadline_s=deadline_s):
            left_s = deadline_s - (self._clock.monotonic_s() - began_s)
            with self._mark:
                return await self._instances.call(
                    interface, function, args, _NO_CONTEXT, deadline_s=left_s
                )


async def site_of(
    engine: Engine,
    assembly: Assembly,
    options: SiteOptions,
    *,
    egress: Egress | None = None,
    guard: Guard | None = None,
    clock: Clock | None = None,
) -> Site:
    """Return a site whose component is compiled and can be instantiated.

    `egress`, which the caller has entered, carries the requests that the world's network grants;
    without it all are denied. `guard` ties the process to its supervisor.

    Raises:
        DeniedError: a component is quarantined on this machine.
        InvalidError: the component answers no HTTP requests, or cannot be joined or compiled.
        IncompatibleError: a type differs between an import and the export that satisfies it.
        GuestTrapError: it traps while it starts.
    """
    if egress is not None:
        from hosts.http.outlets import to_the_outside  # not above: most components need none

        world = options.world
        outlet = to_the_outside(egress, world.network.http, world.log)
        options = replace(options, world=replace(world, outlet=outlet))
    guard = guard or Guard()
    load = partial(GuardedEngine(engine, guard).load, assembly.parts, assembly.links)
    loaded = await load()
    if SERVER not in loaded.type.exports:
        raise InvalidError(
            f"{assembly.parts[0].name} answers no HTTP requests: it does not export {HANDLER}, or "
            f"{SWITCH} leaves it without the adapter"
        )
    mark = guard.black_box.mark(part.digest for part in assembly.parts)
    program = Programs().add(loaded, load)
    site = Site(assembly.parts[0].name, program, options, mark=mark, clock=clock)
    with mark:
        await site.try_one()
    return site
