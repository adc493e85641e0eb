"""A replica that is full says so: to who routes that the call was not begun, to callers the same
by every route.
"""

from __future__ import annotations

import anyio
import pytest
from wasmtime import wat2wasm

from lattice.client.spreading import FULL
from lattice.testing import eventually
from tests.contract.calls.conftest import ATTENDED, Calling
from tests.contract.calls.test_routes import ASK, ASKS, RUN, outcome
from tests.guests import components

pytestmark = pytest.mark.wasm


async def test_a_full_replica_is_told_the_same_by_every_route(calling: Calling) -> None:
    limits = {"limits": {"concurrency": 1, "queue": 0}}
    to = await calling.deploy("callee", components.hostile()["spin"], part=limits)
    fronts = await calling.deploy_in_front(bytes(wat2wasm(ASKS)), RUN, to, ATTENDED, timeout="20s")

    def at_work() -> int:
        report = calling.reports[calling.host_id]
        return sum(each.in_flight for each in report.replicas if each.deployment == to)

    async with anyio.create_task_group() as group:
        group.start_soon(calling.ask_as_client, to, RUN, "run")
        await eventually(lambda: at_work() == 1, timeout_s=30)
        refused = await calling.ask(to, RUN, "run")
        through = [await calling.ask(front, ASK, "ask") for front in fronts.values()]
        group.cancel_scope.cancel()
    assert (refused.err or {})["kind"] == "overloaded"
    assert (refused.err or {})["details"].pop(FULL), "whose queue it was: the call was not begun"
    assert {outcome(each) for each in through} == {outcome(refused)}
    assert [[leg.deployment for leg in each.legs] for each in through] == [[to]] * len(fronts)
