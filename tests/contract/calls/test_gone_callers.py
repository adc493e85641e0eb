"""Callers that end without a word: what works for them is ended, along the whole chain."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest
from wasmtime import wat2wasm

from lattice.bus.base import Bus
from lattice.errors import LatticeError
from lattice.testing import connect_as, eventually
from lattice.wire.codec import encode
from lattice.wire.messages import Invocation
from tests.contract.calls.conftest import ATTENDED, Calling
from tests.contract.calls.test_routes import ASK, ASKS, RUN
from tests.contract.conftest import World
from tests.contract.joining import fresh_token
from tests.guests import components

pytestmark = pytest.mark.wasm


async def test_the_guests_of_a_caller_whose_connection_ended_are_ended_by_every_route(
    calling: Calling, world: World
) -> None:
    """Those of a caller that is still there go on, though it was asked whether it is."""
    if world.nats is None:
        pytest.skip("in memory no connection ends by itself")
    to = await calling.deploy("callee", components.hostile()["spin"])
    link = {"timeout": "60s"}
    fronts = await calling.deploy_in_front(bytes(wat2wasm(ASKS)), RUN, to, ATTENDED, **link)

    def at_work() -> int:
        report = calling.reports[calling.host_id]
        return sum(each.in_flight for each in report.replicas)

    async def ask(bus: Bus, subject: str) -> None:
        invocation = Invocation(op=f"{ASK}#ask", id=fresh_token(), deadline_ms=60_000)
        try:
            await bus.request(subject, encode(invocation), timeout_s=60)
        except LatticeError:
            return  # the connection ended
        pytest.fail("a guest that never ends has answered")

    async with anyio.create_task_group() as group, AsyncExitStack() as stack:
        for front in fronts.values():
            client = await stack.enter_async_context(connect_as(world.nats, "client"))
            group.start_soon(ask, client.bus, calling.names.call(front, ASK, "ask"))
        group.start_soon(calling.ask_as_client, to, RUN, "run")
        await eventually(lambda: at_work() == 2 * len(fronts) + 1, timeout_s=30)
        await stack.aclose()
        await eventually(lambda: at_work() == 1, timeout_s=20)
        group.cancel_scope.cancel()
