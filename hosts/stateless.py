"""A program of components in one replica: it admits calls within its limits, each in an instance.

The eager components of a workload are one such program, each lazy component is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hosts.callcontext import CallContext
from hosts.engine.base import World
from hosts.engine.pool import Policy
from hosts.gate import Gate
from hosts.instances import ImportsFor, Instances
from hosts.leases import CallLease
from hosts.programs import DroppableProgram
from lattice.clock import Clock
from lattice.model.deployment import Limits


class StatelessProgram:
    """The instances of one program of components, and who may call them."""

    def __init__(
        self,
        name: str,
        program: DroppableProgram,
        *,
        limits: Limits,
        policy: Policy,
        imports_for: ImportsFor,
        world: World,
        clock: Clock,
    ) -> None:
        """Prepare; nothing is loaded and no instance made. `name` is for messages."""
        self._clock = clock
        self._deadline_s = limits.deadline_s
        self._gate = Gate(name, concurrency=limits.concurrency, queue=limits.queue)
        self._instances = Instances(
            program, policy, imports_for=imports_for, world=world, clock=clock
        )

    @property
    def in_flight(self) -> int:
        """Return how many calls run or wait."""
        return self._gate.in_flight

    @property
    def waiting(self) -> int:
        """Return how many calls wait for their turn."""
        return self._gate.waiting

    async def call(
        self,
        interface: str,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        *,
        takes_place: bool,
    ) -> Any:
        """Return the result of an exported function.

        `takes_place`: the call counts against `limits.concurrency`, and waits for a place.

        Raises:
            OverloadedError: the queue is full.
            LatticeError: as `hosts.engine.base.Instance.call`.
        """
        place = self._gate.try_enter() if takes_place else -1
        if place is None:
            wait_s = context.left_s(self._clock.monotonic_s())
            async with self._gate.entry(deadline_s=wait_s):
                return await self._call(interface, function, args, context)
        try:
            return await self._call(interface, function, args, context)
        finally:
            if takes_place:
                self._gate.leave(place)

    async def _call(
        self, interface: str, function: str, args: Sequence[Any], context: CallContext
    ) -> Any:
        left_s = min(context.left_s(self._clock.monotonic_s()), self._deadline_s)
        return await self._instances.call(interface, function, args, context, deadline_s=left_s)

    def claim(
        self, interface: str, function: str, context: CallContext, *, takes_place: bool
    ) -> CallLease | None:
        """Return a claim on an idle instance, None when the call has to wait for anything."""
        left_s = min(context.left_s(self._clock.monotonic_s()), self._deadline_s)
        place = self._gate.try_enter() if takes_place else -1
        if place is None:
            return None
        claimed = self._instances.claim(context)
        if claimed is None:
            if takes_place:
                self._gate.leave(place)
            return None
        instance, give_back = claimed

        def release() -> None:
            give_back()
            if takes_place:
                self._gate.leave(place)

        return CallLease(instance, interface, function, left_s, release)

    async def try_one(self) -> None:
        """Make an instance and close it: what cannot be instantiated fails here."""
        await self._instances.try_one()

    async def run(self) -> None:
        """Keep instances as the policy says until cancelled."""
        await self._instances.run()
