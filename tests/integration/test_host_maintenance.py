"""Duties of a running host are asked for over the bus, and hold when it starts again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lattice.client import LatticeClient
from lattice.errors import InvalidError, NoRouteError
from lattice.model.host import Inventory, Taint
from lattice.wire.codec import decode_as
from tests.integration.host_world import World

pytestmark = pytest.mark.wasm

HOST = "H1"
GPU = Taint(key="gpu")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "compiled")


async def inventory(world: World) -> Inventory:
    entry = await world.connection.hosts.get(HOST)
    assert entry is not None
    assert entry.value is not None
    return decode_as(Inventory, entry.value)


def duties(inventory: Inventory) -> tuple[Any, ...]:
    return inventory.is_cordoned, inventory.is_draining, inventory.taints


async def test_what_a_host_was_told_holds_after_a_restart_until_it_is_taken_back(
    world: World, tmp_path: Path
) -> None:
    client = LatticeClient(world.connection)
    repair = Taint(key="repair", evicts=True)
    async with world.scheduler():
        async with world.host(HOST, tmp_path / "h", taints=(GPU,)):
            assert duties(await inventory(world)) == (False, False, (GPU,))
            upkeep = await client.drain(HOST)
            assert (upkeep.cordoned, upkeep.draining) == (True, True)
            upkeep = await client.taint(HOST, taints=[repair])
            assert upkeep.taints == [GPU, repair]
            assert duties(await inventory(world)) == (True, True, (GPU, repair))
        async with world.host(HOST, tmp_path / "h"):
            assert duties(await inventory(world)) == (True, True, (repair,))
            await client.uncordon(HOST)
            await client.taint(HOST, taints=[], remove=["repair"])
        async with world.host(HOST, tmp_path / "h"):
            assert duties(await inventory(world)) == (False, False, ())


async def test_a_host_refuses_taints_of_the_lattice_and_one_that_is_gone_is_told(
    world: World, tmp_path: Path
) -> None:
    client = LatticeClient(world.connection)
    async with world.scheduler(), world.host(HOST, tmp_path / "h"):
        with pytest.raises(InvalidError, match="set by the lattice itself"):
            await client.taint(HOST, taints=[Taint(key="lattice.x")])
        assert duties(await inventory(world)) == (False, False, ())
    with pytest.raises(NoRouteError, match="host H1 does not answer"):
        await client.cordon(HOST)
