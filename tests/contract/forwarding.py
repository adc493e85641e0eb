"""Hosts that forward HTTP requests to each other, over memory or a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio

from hosts.callcontext import CallContext
from hosts.http.base import Exchange, Handler
from hosts.http.lanes import Pace
from hosts.http.relay import Relay
from lattice.bus.base import Bus
from lattice.bus.embedded import EmbeddedNats
from lattice.bus.memory import MemoryBus
from lattice.clock import SystemClock
from lattice.testing import LATTICE, connect_as, new_host
from lattice.wire.subjects import Names

FAST = Pace(beat_s=0.05, silence=6)
"""Two sides that notice each other's end within a third of a second."""


@dataclass(slots=True)
class Site:
    """What answers on one host, and how it was asked."""

    handler: Handler
    generation: int = 1
    answers_http: bool = True
    http_in_memory: bool = True
    contexts: list[CallContext] = field(default_factory=list)

    async def answer(self, exchange: Exchange, context: CallContext) -> None:
        self.contexts.append(context)
        await self.handler(exchange)


class Sites(dict[str, Site]):
    """What answers on one host, by deployment."""

    turned_down: anyio.Event

    def pick(self, deployment: str, generation: int = 0) -> Site | None:
        site = self.get(deployment)
        if site is None:
            self.turned_down.set()
        return site if site is not None and generation in (0, site.generation) else None


@dataclass(slots=True)
class Party:
    """One host."""

    id: str
    bus: Bus
    relay: Relay
    sites: Sites
    scope: anyio.CancelScope

    async def serves(self, deployment: str, handler: Handler, *, generation: int = 1) -> Site:
        site = self.sites[deployment] = Site(handler, generation)
        await self.relay.open(deployment)
        return site

    async def ask(self, exchange: Exchange, deployment: str = "site") -> None:
        """Have another host answer a request of a client here."""
        await self.relay.forward(deployment)(exchange)


class Net:
    """A lattice of such hosts."""

    def __init__(self, nats: EmbeddedNats | None) -> None:
        self._nats = nats
        self._memory = MemoryBus()

    @asynccontextmanager
    async def bus(self, name: str) -> AsyncIterator[tuple[str, Bus]]:
        """Yield a host's id and its connection."""
        async with AsyncExitStack() as stack:
            if self._nats is None:
                yield f"U{name.upper()}", self._memory
                return
            identity = await new_host(self._nats, name)
            joined = await stack.enter_async_context(connect_as(self._nats, "host", identity))
            yield identity.id, joined.bus

    @asynccontextmanager
    async def party(self, name: str, *, pace: Pace = FAST) -> AsyncIterator[Party]:
        async with self.bus(name) as (host, bus), party_on(bus, host, pace) as party:
            yield party


@asynccontextmanager
async def party_on(bus: Bus, host: str, pace: Pace = FAST) -> AsyncIterator[Party]:
    """Yield a host that is cut off, as if killed, when its scope is cancelled."""
    sites = Sites()
    sites.turned_down = anyio.Event()
    names = Names(LATTICE)
    relay = Relay(host=host, bus=bus, names=names, clock=SystemClock(), sites=sites, pace=pace)
    async with anyio.create_task_group() as group:
        await group.start(relay.run)
        yield Party(host, bus, relay, sites, group.cancel_scope)
        group.cancel_scope.cancel()


async def hello(exchange: Exchange) -> None:
    """Greet whoever the body names."""
    name = exchange.body or b"nobody"
    exchange.answer(200, ((b"x-method", exchange.head.method.encode()),), b"hello " + name)


async def echo(exchange: Exchange) -> None:
    """Answer with the body as it comes."""
    await exchange.begin(200, ())
    while part := await exchange.read(65536):
        await exchange.write(part)
    await exchange.finish(((b"x-end", b"yes"), *exchange.trailers))
