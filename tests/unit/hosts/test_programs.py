"""Programs leave memory when others need the room, and come back when they are called."""

from __future__ import annotations

import gc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hosts.engine.base import World
from hosts.engine.fake import FAKE_PROGRAM_BYTES, FakeEngine
from hosts.programs import INSTANCE_BYTES, DroppableProgram, Programs
from hosts.residency import Residency
from tests.contract.engine.building import ADD, fakes, part
from tests.guests import components


@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.sampled_from(["use", "resize", "drop"]), st.integers(0, 5),
                       st.integers(0, 9))),
)  # fmt: skip
def test_sizes_add_up_and_stay_within_the_bound_but_for_what_is_in_use(
    bytes_max: int, steps: list[tuple[str, int, int]]
) -> None:
    core = Residency(bytes_max)
    model: dict[int, int] = {}
    for step, number, size in steps:
        if step == "use":
            gone = core.use(number, size)
            model[number] = size
            assert number not in gone
            for each in gone:
                del model[each]
            assert core.total_bytes <= bytes_max or set(core.sizes) == {number}
        elif step == "resize":
            core.resize(number, size)
            if number in model:
                model[number] = size
        else:
            core.drop(number)
            model.pop(number, None)
        assert core.sizes == model
        assert core.total_bytes == sum(model.values())


def test_what_was_used_least_recently_goes_first() -> None:
    core = Residency(3)
    for number in (1, 2, 3, 1):
        assert core.use(number, 1) == ()
    assert core.use(4, 1) == (2,)


async def program(programs: Programs, loads: list[str], name: str = "p") -> DroppableProgram:
    engine = FakeEngine(fakes())

    async def load() -> Any:
        loads.append(name)
        return await engine.load([part(name, components.add())], [])

    return programs.add(await load(), load)


async def add(program: DroppableProgram) -> Any:
    instance = await program.instantiate({}, World())
    try:
        return await instance.call(ADD, "add", [1, 2], deadline_s=5)
    finally:
        instance.close()


async def test_a_program_that_left_memory_is_loaded_when_it_is_called() -> None:
    loads: list[str] = []
    programs = Programs(bytes_max=FAKE_PROGRAM_BYTES)
    first = await program(programs, loads, "first")
    second = await program(programs, loads, "second")
    assert programs.resident == 1
    assert first.footprint_bytes == 0
    assert first.type.exports == second.type.exports, "its type is known all the time"
    assert await add(first) == await add(second) == 3
    assert await add(second) == 3
    assert loads == ["first", "second", "first", "second"]


async def test_idle_instances_count_and_are_closed_with_their_program() -> None:
    loads: list[str] = []
    programs = Programs(bytes_max=3 * FAKE_PROGRAM_BYTES)
    first = await program(programs, loads)
    closed: list[str] = []
    first.keeps("owner", 1, lambda: closed.append("owner"))
    assert programs.resident_bytes > FAKE_PROGRAM_BYTES + INSTANCE_BYTES
    second = await program(programs, loads)
    assert closed == ["owner"]
    assert programs.resident_bytes == second.footprint_bytes == FAKE_PROGRAM_BYTES


async def test_a_program_that_nobody_has_is_forgotten() -> None:
    programs = Programs()
    await program(programs, [])
    gc.collect()
    assert programs.resident == 0
    assert programs.resident_bytes == 0
