"""What people told a host about its upkeep stands in the lattice, and after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from hosts.maintenance import FILE, TAINTS_MAX, Maintenance, Upkeep, joined_taints, kept_upkeep
from hosts.presence import Presence
from lattice.bus.memory import memory_connection
from lattice.errors import ConflictError, DecodeError, InvalidError, UnavailableError
from lattice.model.host import Capacity, Inventory, Taint
from lattice.model.ids import HostId
from lattice.wire.codec import decode_as

GPU, TEAM = Taint(key="gpu"), Taint(key="team", value="search", evicts=True)
INVENTORY = Inventory(
    host=HostId("H1"), boot="b", name="one", labels={}, interfaces=(),
    capacity=Capacity(cpu_milli=1, memory_bytes=1), features=(), version="0", taints=(GPU,),
)  # fmt: skip


class World:
    """A host's upkeep over a lattice in memory."""

    def __init__(self, directory: Path) -> None:
        self.hosts = memory_connection("test").hosts
        self.presence = Presence(self.hosts, INVENTORY, has_lease=lambda: True)
        self.maintenance = Maintenance(self.presence, directory)

    async def do(self, verb: str, **body: Any) -> dict[str, Any]:
        return await self.maintenance.do(verb, body)

    async def told(self) -> Inventory:
        entry = await self.hosts.get(HostId("H1"))
        assert entry is not None
        assert entry.value is not None
        return decode_as(Inventory, entry.value)


async def test_a_cordon_stands_in_the_lattice_and_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    answer = await world.do("cordon")
    assert answer == {"cordoned": True, "draining": False, "taints": [GPU]}
    told = await world.told()
    assert (told.is_cordoned, told.is_draining, told.taints) == (True, False, (GPU,))
    assert kept_upkeep(tmp_path) == Upkeep(is_cordoned=True)


async def test_a_drain_cordons_and_uncordoning_ends_both(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert (await world.do("drain"))["cordoned"]
    assert (await world.told()).is_draining
    assert kept_upkeep(tmp_path) == Upkeep(is_cordoned=True, is_draining=True)
    assert await world.do("cordon") == {"cordoned": True, "draining": True, "taints": [GPU]}
    await world.do("uncordon")
    told = await world.told()
    assert (told.is_cordoned, told.is_draining) == (False, False)
    assert kept_upkeep(tmp_path) == Upkeep()


async def test_taints_are_set_replaced_and_removed_by_key(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do("taint", set=[{"key": "team", "value": "search", "evicts": True}])
    assert (await world.told()).taints == (GPU, TEAM)
    answer = await world.do("taint", set=[{"key": "team", "value": "web"}], remove=["gpu"])
    assert answer["taints"] == [Taint(key="team", value="web")]
    assert kept_upkeep(tmp_path).taints == (Taint(key="team", value="web"),)


async def test_what_the_command_line_gave_is_not_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do("taint", set=[{"key": "team"}])
    assert kept_upkeep(tmp_path).taints == (Taint(key="team"),)
    assert joined_taints((GPU, Taint(key="team", value="x")), kept_upkeep(tmp_path).taints) == (
        GPU,
        Taint(key="team"),
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"set": [{"key": "a b"}]}, "'a b' is not a label key"),
        ({"set": [{"key": "lattice.x"}]}, "set by the lattice itself"),
        ({"set": [{"key": "lattice/flapping"}]}, "set by the lattice itself"),
        ({"set": [{"key": "a", "value": "x" * 257}]}, "value has 257 characters"),
        ({"remove": ["team"]}, "the host has no taint team, it has gpu"),
        ({"set": [{"key": f"k{n}"} for n in range(TAINTS_MAX)]}, "65 taints, at most 64"),
    ],
)
async def test_a_change_of_taints_that_cannot_be_made_changes_nothing(
    tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    world = World(tmp_path)
    await world.presence.write()
    with pytest.raises(InvalidError, match=fault):
        await world.do("taint", **change)
    assert await world.told() == INVENTORY
    assert not (tmp_path / FILE).exists()


async def test_a_malformed_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeError):
        await World(tmp_path).do("taint", set="gpu")


async def test_a_host_that_leaves_refuses_and_keeps_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.presence.withdraw()
    with pytest.raises(ConflictError):
        await world.do("cordon")
    assert not (tmp_path / FILE).exists()


async def test_a_file_that_cannot_be_written_is_told_and_the_change_holds_for_now(
    tmp_path: Path,
) -> None:
    (tmp_path / "taken").write_text("no directory")
    world = World(tmp_path / "taken")
    with pytest.raises(UnavailableError, match="only until the host ends"):
        await world.do("cordon")
    assert (await world.told()).is_cordoned


async def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(world.maintenance.do, "taint", {"set": [{"key": f"k{number}"}]})
        group.start_soon(world.maintenance.do, "cordon", {})
    kept = kept_upkeep(tmp_path)
    assert kept.is_cordoned
    assert [taint.key for taint in kept.taints] == [f"k{number}" for number in range(8)]
    assert (await world.told()).taints == joined_taints((GPU,), kept.taints)


@pytest.mark.parametrize("body", [b"", b"{", b'{"is_cordoned": 3}'])
def test_a_broken_file_is_taken_for_none(
    tmp_path: Path, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(body)
    assert kept_upkeep(tmp_path) == Upkeep()
    assert "cannot be read" in caplog.text
