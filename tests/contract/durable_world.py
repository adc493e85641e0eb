"""Hosts that run durable jobs of a stand-in guest, and the client that submits them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from hosts.durable_attempt import Tell, Workplace
from hosts.durable_worker import DurableWorker
from lattice.bus.base import Connection, Packet
from lattice.client.asking import Asker
from lattice.client.jobs import Jobs
from lattice.clock import SystemClock
from lattice.errors import LatticeError
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import CallReply, Invocation
from lattice.wire.subjects import Names

Function = Callable[[Invocation], Awaitable[Any]]

ACK_WAIT_S = 1.0


class Guest:
    """What a deployment does: one function, and a record of the calls that began."""

    def __init__(self, function: Function) -> None:
        self.began: list[tuple[str, int]] = []  # key and attempt
        self.ended: Counter[str] = Counter()
        self._function = function

    async def call(self, invocation: Invocation) -> Any:
        key = invocation.key or ""
        self.began.append((key, invocation.attempt))
        value = await self._function(invocation)
        self.ended[key] += 1
        return value


@asynccontextmanager
async def working(
    connection: Connection,
    names: Names,
    deployment: str,
    guest: Guest,
    *,
    host: str = "h",
    tell: Tell = lambda _kind, _entity, _data: None,
) -> AsyncIterator[anyio.CancelScope]:
    """Have a host run the jobs of a deployment; cancelling the scope that is yielded kills it."""

    async def answer(packet: Packet) -> bytes:
        invocation = decode_as(Invocation, packet.body)
        try:
            return encode(CallReply(ok=[await guest.call(invocation)], host=host))
        except LatticeError as error:
            return encode(CallReply(err=error.to_wire(), host=host))

    place = Workplace(
        host=host,
        names=names,
        jobs=connection.jobs,
        clock=SystemClock(),
        answer=answer,
        tell=tell,
    )
    worker = DurableWorker(place, connection.bus, ack_wait_s=ACK_WAIT_S)
    async with anyio.create_task_group() as group:
        await group.start(worker.run)
        worker.open(deployment)
        yield group.cancel_scope
        if not group.cancel_scope.cancel_called:
            await worker.close(deployment)
        group.cancel_scope.cancel()


@asynccontextmanager
async def submitting(
    client: Connection, scheduler: Connection, names: Names
) -> AsyncIterator[Jobs]:
    """Yield what submits jobs of any deployment: each has a function `f`."""

    async def get(packet: Packet) -> bytes:
        return encode({"ok": {"record": {"exposed": {"": {"f": ""}}}, "revision": 1}})

    async with scheduler.bus.serve(names.api("get"), get):
        yield Jobs(Asker(client), client.jobs, "tester")
