"""A host with deployments that call each other, in memory and over a real server.

Each kind of call is made by every route of `ROUTES`: a deployment in front is linked to the same
callee once for each of them, and named after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from hosts.agent import HostOptions, run_host
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.bus.base import Connection
from lattice.client.holding import Holder, leader_of
from lattice.client.sending import Order, Sender
from lattice.clock import SystemClock
from lattice.model.ids import HostId
from lattice.testing import eventually
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.subjects import Names
from tests.contract.conftest import World as Joined
from tests.contract.joining import fresh_token
from tests.integration.host_world import World

ROUTES = ("local", "remote", "durable")
"""What `links[].route` may be, `auto` aside, which is one of the first two."""

ATTENDED = ("local", "remote")
"""Those whose calls end with their callers; `durable` ones go on (test_durable_route.py)."""


class Calling(World):
    """A stand-in for the scheduler, a host, and a client that calls."""

    def __init__(
        self,
        cache: Path,
        joined: Joined,
        names: Names,
        *,
        scheduler: Connection,
        host: Connection,
        client: Connection,
    ) -> None:
        super().__init__(cache)
        self.connection = scheduler
        self.names = names
        self.host_id = joined.host
        self.client = client
        self._host = host
        self._clock = SystemClock()
        holder = Holder(leader_of(client.bus, self.names), self._clock)
        self._sender = Sender(client.bus, self._clock, holder=holder)
        self._token = fresh_token()
        self._assigned: list[tuple[str, int, int]] = []

    def name(self, kind: str) -> str:
        """Return the name of a deployment of this test."""
        return f"{kind}-{self._token}"

    async def deploy(self, kind: str, body: bytes, **fields: Any) -> str:
        """Run a deployment of one component on the host, and return its name."""
        name = self.name(kind)
        await self.submit(name, {"part": body}, **fields)
        await self.take(name)
        return name

    async def take(self, name: str) -> None:
        """Run a deployment that was submitted."""
        self._assigned.append((name, 1, 1))
        await self.assign(self.host_id, *self._assigned)
        await eventually(
            lambda: self.states(self.host_id).get(name, ("", ""))[0] in ("running", "failed"),
            timeout_s=30,
        )
        assert self.states(self.host_id)[name] == ("running", "")

    async def deploy_in_front(
        self, body: bytes, interface: str, to: str, routes: Sequence[str] = ROUTES, **link: Any
    ) -> Mapping[str, str]:
        """Link a component to a deployment by each route; return their names by route."""
        return {
            route: await self.deploy(
                f"{route}-{to.partition('-')[0]}", body,
                links=[{"import": interface, "to": to, "route": route, **link}],
            )
            for route in routes
        }  # fmt: skip

    async def ask(
        self, deployment: str, interface: str, function: str, *args: Any, **fields: Any
    ) -> CallReply:
        """Return the reply of a call, which may tell of an error."""
        invocation = Invocation(op=f"{interface}#{function}", args=list(args), **fields)
        packet = await self.client.bus.request(
            self.names.call(deployment, interface, function), encode(invocation), timeout_s=30
        )
        return decode_as(CallReply, packet.body)

    async def ask_as_client(self, deployment: str, interface: str, function: str) -> CallReply:
        """Call as clients and hosts do: who is cancelled says so."""
        subject = self.names.call(deployment, interface, function)
        call = fresh_token()
        order = Order(
            deployment=deployment,
            what=function,
            subject=subject,
            subject_at=lambda _host, _generation: subject,
            body=lambda _attempt, granted_ms: encode(
                Invocation(op=f"{interface}#{function}", id=call, deadline_ms=granted_ms)
            ),
            nobody="nobody is there",
            give_up_s=self._clock.monotonic_s() + 30,
            leave=self.names.departure(deployment, call),
        )
        reply, _ = await self._sender.send(order)
        return reply

    @asynccontextmanager
    async def running(self, directory: Path) -> AsyncIterator[None]:
        """Run the host."""
        engine = WasmtimeEngine(self.cache)
        options = HostOptions(host=HostId(self.host_id), directory=directory, heartbeat_s=0.2)
        try:
            async with self.scheduler(), anyio.create_task_group() as group:
                await group.start(run_host, self._host, options, engine)
                yield
                group.cancel_scope.cancel()
        finally:
            engine.close()


@pytest.fixture
async def calling(
    world: Joined,
    names: Names,
    scheduler: Connection,
    host: Connection,
    client: Connection,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Calling]:
    cache = tmp_path_factory.getbasetemp() / "compiled"
    made = Calling(cache, world, names, scheduler=scheduler, host=host, client=client)
    async with made.running(tmp_path / "host"):
        yield made
