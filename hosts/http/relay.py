"""What a host has for requests over HTTP between hosts and between deployments, put together.

What they promise stands in `hosts.http.forwarding` and `hosts.http.internal`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVarTuple, Unpack

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts.callcontext import CallContext
from hosts.http.base import Exchange, Handler
from hosts.http.forwarded import ForwardedRequests
from hosts.http.forwarding import Forwarded, Forwarder
from hosts.http.internal import Internal, InternalOptions, Neighbours
from hosts.http.lanes import Lanes, Pace
from lattice.bus.base import Bus
from lattice.client.holding import Holder, leader_of
from lattice.clock import Clock
from lattice.routing.weights import Routes
from lattice.wire.subjects import Names

Args = TypeVarTuple("Args")


class Relay:
    """Requests over HTTP from this host to others, and from others to this one."""

    def __init__(
        self,
        *,
        host: str,
        bus: Bus,
        names: Names,
        clock: Clock,
        sites: Neighbours,
        options: InternalOptions | None = None,
        pace: Pace | None = None,
        routes: Routes | None = None,
    ) -> None:
        self.internal = Internal(
            host=host, lattice=names.lattice, clock=clock, neighbours=sites, relay=self,
            options=options or InternalOptions(), routes=routes,
        )  # fmt: skip
        """What carries requests between deployments that begin on this host."""
        self.holder = Holder(leader_of(bus, names), clock)
        """Holds what leaves this host while nobody answers for it."""
        self._lanes = Lanes(host=host, bus=bus, names=names, pace=pace)
        self._group: TaskGroup | None = None
        self._sending = Forwarder(
            host=host, bus=bus, names=names, clock=clock, lanes=self._lanes,
            holder=self.holder, routes=routes,
        )  # fmt: skip
        self._taking = ForwardedRequests(
            host=host, bus=bus, names=names, clock=clock, sites=sites, lanes=self._lanes,
            routes=routes, hand_over=self._sending.send_to,
        )  # fmt: skip

    @property
    def streams(self) -> int:
        """Return how many exchanges with other hosts are at work."""
        return len(self._lanes)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the subscriptions until cancelled; "started" when requests can come and go."""
        try:
            async with anyio.create_task_group() as group:
                await group.start(self._lanes.run)
                await group.start(self._taking.run)
                self._group = group
                task_status.started()
        finally:
            self._group = None

    def start(
        self, work: Callable[[Unpack[Args]], Coroutine[Any, Any, None]], *args: *Args
    ) -> bool:
        """Begin a task of this host's exchanges; False when it stops, or has not begun."""
        if self._group is None:
            return False
        self._group.start_soon(work, *args)
        return True

    def forward(self, deployment: str) -> Handler:
        """See `Forwarder.forward`."""
        return self._sending.forward(deployment)

    async def hand_over(
        self,
        deployment: str,
        generation: int,
        exchange: Exchange,
        context: CallContext | None = None,
    ) -> Forwarded | None:
        """See `Forwarder.send_to`; without a context the request is that of a client."""
        return await self._sending.send_to(deployment, generation, exchange, context)

    async def send(self, deployment: str, exchange: Exchange, context: CallContext) -> Forwarded:
        """See `Forwarder.send`."""
        return await self._sending.send(deployment, exchange, context)

    async def open(self, deployment: str) -> None:
        """See `ForwardedRequests.open`."""
        await self._taking.open(deployment)

    async def close(self, deployment: str) -> None:
        """See `ForwardedRequests.close`."""
        await self._taking.close(deployment)
