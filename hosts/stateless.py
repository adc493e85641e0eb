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
from hosts.instances import ImportsFor, Instances, Kept
from hosts.programs import DroppableProgram
from lattice.clock import Clock
from lattice.model.deployment import Limits


class PooledLease:
    """A claim on an idle instance for one call of another guest of the same replica; see
    `hosts.engine.base.Lease`.
    """

    __slots__ = (
        "_gate", "_instances", "_kept", "_place", "deadline_s", "function", "instance", "interface",
    )  # fmt: skip

    def __init__(
        self,
        kept: Kept,
        interface: str,
        function: str,
        deadline_s: float,
        instances: Instances,
        gate: Gate | None,
        place: int,
    ) -> None:
        self.instance = kept.instance
        self.interface = interface
        self.function = function
        self.deadline_s = deadline_s
        self._kept = kept
        self._instances = instances
        self._gate = gate
        self._place = place

    def release(self) -> None:
        """Give the instance back, and the place that the call had."""
        self._instances.release(self._kept)
        if self._gate is not None:
            self._gate.leave(self._place)


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
        left_s = context.limited_s(self._clock.monotonic_s(), self._deadline_s)
        return await self._instances.call(interface, function, args, context, deadline_s=left_s)

    def claim(
        self, interface: str, function: str, context: CallContext, *, takes_place: bool
    ) -> PooledLease | None:
        """Return a claim on an idle instance, None when the call has to wait for anything."""
        now_s = self._clock.monotonic_s()
        left_s = context.limited_s(now_s, self._deadline_s)
        gate = self._gate if takes_place else None
        place = gate.try_enter() if gate is not None else -1
        if place is None:
            return None
        kept = self._instances.claim(context, now_s)
        if kept is None:
            if gate is not None:
                gate.leave(place)
            return None
        return PooledLease(kept, interface, function, left_s, self._instances, gate, place)

    async def try_one(self) -> None:
        """Make an instance and close it: what cannot be instantiated fails here."""
        await self._instances.try_one()

    async def run(self) -> None:
        """Keep instances as the policy says until cancelled."""
        await self._instances.run()
