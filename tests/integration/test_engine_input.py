"""The standard input of guests of the real engine: who gives it, how much, and when it fails."""

from __future__ import annotations

import errno
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from hosts.engine.base import Instance, World
from hosts.engine.guestsystem import INPUT_BYTES_MAX, GuestSystem
from hosts.engine.wasmtime_engine import WasmtimeEngine
from hosts.standalone import assemble
from tests.guests.languages import building

pytestmark = pytest.mark.wasm

DEADLINE_S = 20.0
Give = Callable[[int], Awaitable[bytes]]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


async def _cat(engine: WasmtimeEngine, stdin: Give | None, output: bytearray) -> Instance:
    assembly = assemble([("cat", building.command().read_bytes())])
    program = await engine.load(assembly.parts, assembly.links)
    world = World(args=("cat", "cat"), stdin=stdin, stdout=output.extend)
    return await program.instantiate({}, world)


async def _run(instance: Instance) -> list[object]:
    result: list[object] = await instance.call(
        "wasi:cli/run@0.2.0", "run", [], deadline_s=DEADLINE_S
    )
    return result


async def test_input_comes_in_bounded_pieces_until_its_end(engine: WasmtimeEngine) -> None:
    asked: list[int] = []
    pieces = [b"one", bytes(range(256)), b"x" * INPUT_BYTES_MAX]
    left = [*pieces, b""]

    async def give(length: int) -> bytes:
        asked.append(length)
        await anyio.lowlevel.checkpoint()
        return left.pop(0)

    output = bytearray()
    instance = await _cat(engine, give, output)
    await _run(instance)
    instance.close()
    assert output == b"".join(pieces)
    assert asked == [INPUT_BYTES_MAX] * 4  # the guest asked for 100 000


@pytest.mark.parametrize("fails", [False, True])
async def test_no_input_and_one_that_fails_end_the_reading(
    engine: WasmtimeEngine, fails: bool
) -> None:
    async def give(_length: int) -> bytes:
        raise OSError(errno.EISDIR, "it is a directory")

    output = bytearray()
    instance = await _cat(engine, give if fails else None, output)
    await _run(instance)
    instance.close()
    assert output == b""


async def test_guest_that_waits_for_input_leaves_the_loop_free_and_can_be_cancelled(
    engine: WasmtimeEngine,
) -> None:
    waits, ended = anyio.Event(), anyio.Event()

    async def give(_length: int) -> bytes:
        waits.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return b""

    instance = await _cat(engine, give, bytearray())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_run, instance)
        await waits.wait()
        tasks.cancel_scope.cancel()
    assert ended.is_set()
    assert instance.is_dead
    instance.close()


async def test_closed_instance_goes_without_the_collector(
    engine: WasmtimeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[GuestSystem]] = []
    build = GuestSystem.world

    def note(self: GuestSystem) -> object:
        made.append(weakref.ref(self))
        return build(self)

    monkeypatch.setattr(GuestSystem, "world", note)
    gc.collect()
    gc.disable()
    try:
        instance = await _cat(engine, None, bytearray())
        await _run(instance)
        instance.close()
        del instance
        assert [each() for each in made] == [None]
    finally:
        gc.enable()
