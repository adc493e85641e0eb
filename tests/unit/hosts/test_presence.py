"""A host's inventory stands while it is there, and never again once it was withdrawn."""

from __future__ import annotations

import anyio
import pytest

from hosts import presence
from hosts.presence import Presence
from lattice.bus.base import Store
from lattice.bus.memory import memory_connection
from lattice.errors import ConflictError
from lattice.model.host import Capacity, Inventory
from lattice.model.ids import HostId
from lattice.testing import eventually
from lattice.wire.codec import encode

HOST = HostId("H1")
INVENTORY = Inventory(
    host=HOST, boot="b", name="one", labels={}, interfaces=(),
    capacity=Capacity(cpu_milli=1, memory_bytes=1), features=(), version="0",
)  # fmt: skip


class SlowStore:
    """A store whose writes wait until they are let through."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.is_asked = anyio.Event()
        self.go_on = anyio.Event()

    async def put(self, key: str, value: bytes) -> int:
        self.is_asked.set()
        await self.go_on.wait()
        return await self.store.put(key, value)

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


def standing(store: Store) -> Presence:
    return Presence(store, INVENTORY, has_lease=lambda: True)


async def test_a_write_that_is_under_way_does_not_outlast_the_withdrawal() -> None:
    hosts = memory_connection("test").hosts
    slow = SlowStore(hosts)
    own = standing(slow)
    async with anyio.create_task_group() as group:
        group.start_soon(own.write)
        await slow.is_asked.wait()
        group.start_soon(own.withdraw)
        await anyio.wait_all_tasks_blocked()
        slow.go_on.set()
    assert await hosts.get(HOST) is None


async def test_nothing_writes_after_the_withdrawal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "INVENTORY_CHECK_S", 0.0)
    hosts = memory_connection("test").hosts
    own = standing(hosts)
    async with anyio.create_task_group() as group:
        group.start_soon(own.keep)

        async def stands() -> bool:
            return await hosts.get(HOST) is not None

        await eventually(stands)
        await own.withdraw()
        with pytest.raises(ConflictError, match="is leaving"):
            await own.relabel({"zone": "eu"})
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert not await stands()
        assert own.inventory == INVENTORY
        group.cancel_scope.cancel()


async def test_new_labels_stand_in_the_lattice() -> None:
    hosts = memory_connection("test").hosts
    own = standing(hosts)
    await own.relabel({"zone": "eu"})
    entry = await hosts.get(HOST)
    assert entry is not None
    assert entry.value == encode(own.inventory)
    assert own.inventory.labels == {"zone": "eu"}
