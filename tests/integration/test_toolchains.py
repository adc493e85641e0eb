"""Tools that `lattice build` runs: their end, their absence, and that they do not outlive us."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import anyio
import pytest

from lattice.cli.building import javascript, toolchain
from lattice.cli.building.making import make
from lattice.cli.building.project import read_project
from lattice.cli.building.toolchain import OUTPUT_BYTES_MAX, on_path, run_tool, script
from lattice.errors import DeadlineExceededError, InvalidError, NotFoundError
from lattice.testing import eventually


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_output_and_status_are_returned(tmp_path: Path) -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    ran = await run_tool([sys.executable, "-c", code], folder=tmp_path)
    assert (ran.status, ran.output) == (3, "out\nerr\n")


async def test_a_flood_of_output_is_cut(tmp_path: Path) -> None:
    code = f"import sys; sys.stdout.write('x' * {OUTPUT_BYTES_MAX * 2})"
    ran = await run_tool([sys.executable, "-c", code], folder=tmp_path)
    assert len(ran.output) == OUTPUT_BYTES_MAX


async def test_a_tool_that_is_cancelled_ends_with_its_children(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "child.wait()\n"
    )
    async with anyio.create_task_group() as group:
        run = lambda: run_tool([sys.executable, "-c", code], folder=tmp_path)  # noqa: E731
        group.start_soon(run)
        pids = tmp_path / "pids"
        text = await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        assert text
        found = [int(word) for word in pids.read_text().split()]
        group.cancel_scope.cancel()
    await eventually(lambda: not any(is_alive(pid) for pid in found))


async def test_a_tool_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "STEP_S", 0.2)
    with pytest.raises(DeadlineExceededError, match=r"ran longer than 0\.2 s"):
        await run_tool([sys.executable, "-c", "import signal; signal.pause()"], folder=tmp_path)


def test_a_missing_tool_is_told_with_what_installs_it() -> None:
    with pytest.raises(NotFoundError, match=r"no-such-tool is missing: .*pip install a-package"):
        script("no-such-tool", package="a-package", extra="c-guests")
    with pytest.raises(NotFoundError, match="no-such-tool is missing: do this"):
        on_path("no-such-tool", "do this")


async def test_missing_packages_of_npm_are_named(tmp_path: Path) -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node or npm is not on the PATH")
    (tmp_path / "index.js").write_text("")
    [component] = read_project(tmp_path).components
    with pytest.raises(NotFoundError, match="npm install --save-dev @bytecodealliance/"):
        await javascript.prepare(component, lambda _text: None)


@pytest.mark.wasm
async def test_a_build_that_fails_leaves_what_was_built(tmp_path: Path) -> None:
    (tmp_path / "app.zig").write_text("export fn f() void { return 1; }")
    project = read_project(tmp_path)
    [component] = project.components
    component.image.parent.mkdir()
    component.image.write_bytes(b"as it was")
    with pytest.raises(InvalidError) as caught:
        await make(project, component, say=lambda _text: None)
    assert component.image.read_bytes() == b"as it was"
    assert caught.value.faults[0].startswith("app.zig:1:")
