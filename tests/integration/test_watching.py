"""Which changes on the disk are told, and which are nobody's business."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from lattice.cli.building.project import read_project
from lattice.cli.dev.watching import changes_of

PATIENCE_S = 20.0


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[MemoryObjectReceiveStream[str]]:
    """Yield what is told. A first change is made until it is: then the watch has begun."""
    project = read_project(folder)
    send, told = anyio.create_memory_object_stream[str](100)

    async def watch() -> None:
        async for what in changes_of(folder, lambda: project, anyio.Event()):
            await send.send(what)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        with anyio.fail_after(PATIENCE_S):
            number = 0
            while not told.statistics().current_buffer_used:
                number += 1
                (folder / "app.py").write_text(f"# {number}")
                with anyio.move_on_after(0.1):
                    assert await told.receive() == "app.py"
                    break
        yield told
        group.cancel_scope.cancel()
    send.close()
    told.close()


async def next_of(told: MemoryObjectReceiveStream[str], wanted: str) -> None:
    """Wait for a change; what was left of earlier ones may come before."""
    with anyio.fail_after(PATIENCE_S):
        while wanted not in await told.receive():
            pass


async def test_sources_are_told_in_the_project_and_in_new_folders(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    async with watching(tmp_path) as told:
        (tmp_path / "other.py").write_text("x")
        await next_of(told, "other.py")
        (tmp_path / "lib").mkdir()
        await next_of(told, "lib")
        with anyio.fail_after(PATIENCE_S):
            while True:  # the new folder is watched a moment later
                (tmp_path / "lib" / "inner.py").write_text(str(anyio.current_time()))
                with anyio.move_on_after(0.2):
                    await next_of(told, "inner.py")
                    break


async def test_what_is_no_source_is_not_told(tmp_path: Path) -> None:
    for folder in (".git", "build", "node_modules"):
        (tmp_path / folder).mkdir()
    (tmp_path / "app.py").write_text("")
    async with watching(tmp_path) as told:
        for name in (".git/x.py", "build/x.py", "node_modules/x.py", "notes.txt", ".app.py.swp"):
            (tmp_path / name).write_text("x")
        (tmp_path / "last.py").write_text("x")
        with anyio.fail_after(PATIENCE_S):
            while "last.py" not in (what := await told.receive()):
                assert what == "app.py"
        assert what in ("last.py", "app.py, last.py")


async def test_a_file_that_is_replaced_is_told(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    (tmp_path / "other.py").write_text("")
    async with watching(tmp_path) as told:
        (tmp_path / "unfinished").write_text("new")
        (tmp_path / "unfinished").rename(tmp_path / "other.py")
        await next_of(told, "other.py")
