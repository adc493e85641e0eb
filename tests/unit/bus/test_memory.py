"""What the memory implementations do beyond the contract: time from a clock, and closing."""

from __future__ import annotations

import pytest

from lattice.bus.base import CAUGHT_UP, Entry
from lattice.bus.memory import MemoryBus, memory_connection
from lattice.bus.memory_log import DEDUP_S, MemoryLog
from lattice.bus.memory_store import MemoryStore
from lattice.errors import ConflictError, UnavailableError


class ManualClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return 1_000_000.0 + self.now_s


async def test_a_value_ends_when_the_clock_says_so() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    async with store.watch() as changes:
        assert await anext(changes) is CAUGHT_UP
        revision = await store.put("lease", b"1", ttl_s=6)
        assert await anext(changes) == Entry(key="lease", value=b"1", revision=revision)
        clock.now_s += 5.9
        assert await store.get("lease") is not None
        clock.now_s += 0.1
        store.expire_due()
        assert await anext(changes) == Entry(key="lease", value=None, revision=revision + 1)
    assert await store.get("lease") is None
    with pytest.raises(ConflictError):
        await store.put("lease", b"2", expect=revision)


async def test_a_renewed_value_lives_on() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    first = await store.put("lease", b"1", ttl_s=6)
    clock.now_s += 5
    await store.put("lease", b"1", expect=first, ttl_s=6)
    clock.now_s += 5
    assert await store.get("lease") is not None
    assert store.next_expiry_in_s() == 1


async def test_a_dedup_id_is_forgotten_after_its_time() -> None:
    clock = ManualClock()
    log = MemoryLog(clock)
    first = await log.append("a", b"1", dedup_id="x")
    clock.now_s += DEDUP_S - 1
    assert await log.append("a", b"1", dedup_id="x") == first
    clock.now_s += 1
    assert await log.append("a", b"1", dedup_id="x") == first + 1


async def test_a_closed_bus_is_unavailable_and_ends_its_subscriptions() -> None:
    bus = MemoryBus()
    async with bus.subscribe("a") as packets:
        bus.close()
        assert [packet async for packet in packets] == []
    assert bus.state == "closed"
    with pytest.raises(UnavailableError):
        await bus.publish("a")
    with pytest.raises(UnavailableError):
        await bus.request("a", timeout_s=1)


def test_two_memory_lattices_share_nothing() -> None:
    one, two = memory_connection("x"), memory_connection("x")
    assert one.bus is not two.bus
    assert one.control is not one.hosts
