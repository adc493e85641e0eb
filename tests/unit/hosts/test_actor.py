"""A service over the fake engine: what waiting calls see when its instance dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from hosts.actor import ServiceActor
from hosts.callcontext import CallContext
from hosts.engine.base import Import, World
from hosts.engine.fake import FakeComponent, FakeEngine, FakeFunction, FakeGuest
from hosts.instances import ImportsFor
from hosts.waits import Waits
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

    async def actor(
        self, imports_for: ImportsFor = lambda _: {}, on_start: FakeFunction | None = None
    ) -> ServiceActor:
        functions = {
            (COUNTER, "start"): self.start,
            (COUNTER, "next"): self.next,
            (COUNTER, "fail"): self.fail,
        }
        body = components.counter()
        engine = FakeEngine({body: FakeComponent(functions=functions, on_start=on_start)})
        return ServiceActor(
            Service(
                name="counter", image="", restart=Restart(backoff_min_s=0.001, backoff_max_s=0.002)
            ),
            await engine.load([part("counter", body)], []),
            owner="r",
            deployment="d",
            waits=Waits(),
            imports_for=imports_for,
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


async def test_what_an_instance_calls_while_it_is_made_has_a_context() -> None:
    """A start section may call imports, before any call of the service."""
    life = Life()
    seen: list[CallContext] = []
    current: list[Callable[[], CallContext]] = []

    def imports_for(find: Callable[[], CallContext]) -> dict[str, Import]:
        current.append(find)
        return {}

    def on_start(_guest: FakeGuest) -> None:
        seen.append(current[0]())

    actor = await life.actor(imports_for=imports_for, on_start=on_start)
    async with anyio.create_task_group() as group:
        await group.start(actor.run)
        group.cancel_scope.cancel()
    assert [(each.holds, each.steps) for each in seen] == [
        (("r:counter",), (("d", "counter", "start"),))
    ]
