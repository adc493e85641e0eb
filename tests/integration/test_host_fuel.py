"""A host counts the fuel of deployments that limit it, and reports it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from lattice.errors import GuestTrapError
from lattice.testing import eventually
from tests.guests import components
from tests.integration.host_world import World

pytestmark = pytest.mark.wasm

ADD = "test:math/add@0.1.0"
RUN = components.RUN
COUNTER = "test:counter/counter@0.1.0"


async def test_a_deployment_with_a_fuel_limit_has_its_fuel_counted_and_others_do_not(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "compiled")
    metered = {"limits": {"fuel": 100_000}}
    await world.submit("math", {"add": components.add()})
    await world.submit("spin", {"spin": components.hostile()["spin"]}, spin=metered)
    await world.submit("count", {"service": components.counter()}, service=metered)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.scheduler())
        await stack.enter_async_context(world.host("H1", tmp_path / "H1"))
        await world.assign("H1", ("math", 1, 1), ("spin", 1, 1), ("count", 1, 1))
        await eventually(
            lambda: [state for state, _ in world.states("H1").values()] == ["running"] * 3,
            timeout_s=20,
        )
        assert await world.call("math", ADD, "add", [40, 2]) == 42
        assert await world.call("count", COUNTER, "next") == 1
        with pytest.raises(GuestTrapError, match="used up its fuel") as caught:
            await world.call("spin", RUN, "run")
        assert caught.value.details["limit"] == "fuel"

        def fuel() -> dict[str, int]:
            return {str(r.deployment): r.fuel for r in world.reports["H1"].replicas}

        await eventually(lambda: fuel()["spin"] > 0 and fuel()["count"] > 0, timeout_s=20)
        assert fuel()["math"] == 0
        assert 99_000 <= fuel()["spin"] <= 100_000
        assert 0 < fuel()["count"] < 1000
