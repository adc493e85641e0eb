"""A service over the fake engine: what waiting calls see when its instance dies."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from hosts.actor import ServiceActor
from hosts.engine.base import World
from hosts.engine.fake import FakeComponent, FakeEngine, FakeGuest
from hosts.invoker import CallContext
from lattice.clock import SystemClock
from lattice.errors import GuestTrapError
from lattice.model.deployment import Restart, Service
from tests.contract.engine.building import COUNTER, part
from tests.guests import components

CLOCK = SystemClock()


class Life:
    """The behaviour of a counter whose start traps at the given attempts, counted from 1."""

    def __init__(self, *failing_starts: int) -> None:
        self.starts = 0
        self._failing = failing_starts

    def start(self, _guest: FakeGuest) -> None:
        self.starts += 1
        if self.starts in self._failing:
            raise RuntimeError("cannot start now")

    def next(self, guest: FakeGuest) -> int:
        guest.state["count"] = int(guest.state.get("count", 0)) + 1
        return int(guest.state["count"])

    def fail(self, _guest: FakeGuest) -> Any:
        raise RuntimeError("unreachable")

    async def actor(self) -> ServiceActor:
        functions = {
            (COUNTER, "start"): self.start,
            (COUNTER, "next"): self.next,
            (COUNTER, "fail"): self.fail,
        }
        body = components.counter()
        engine = FakeEngine({body: FakeComponent(functions=functions)})
        return ServiceActor(
            Service(
                name="counter", image="", restart=Restart(backoff_min_s=0.001, backoff_max_s=0.002)
            ),
            await engine.load([part("counter", body)], []),
            owner="r",
            imports_for=lambda _: {},
            world=World(),
            clock=CLOCK,
        )


def context() -> CallContext:
    return CallContext(deadline_at_s=CLOCK.monotonic_s() + 5.0)


async def test_a_call_that_waits_for_a_restart_outlasts_restarts_that_fail() -> None:
    life = Life(2, 3)
    actor = await life.actor()
    async with anyio.create_task_group() as group:
        await group.start(actor.run)
        with pytest.raises(GuestTrapError):
            await actor.call(COUNTER, "fail", (), context())
        assert await actor.call(COUNTER, "next", (), context()) == 1
        group.cancel_scope.cancel()
    assert life.starts == 4
    assert actor.restarts == 3
