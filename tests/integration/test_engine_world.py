"""What a guest of the real engine sees of the machine: what its world names, and nothing else."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.engine.base import World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import GuestTrapError, InvalidError
from lattice.testing import eventually
from tests.contract.engine.building import start
from tests.guests import components
from tests.integration.observer import SEE, observer

pytestmark = pytest.mark.wasm

TALK = "test:talker/talk@0.1.0"
DEADLINE_S = 10.0
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(tmp_path / "cache")
    yield made
    made.close()


async def test_nothing_is_granted_that_is_not_named(
    engine: WasmtimeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    instance = await start(engine, observer())
    assert await instance.call(SEE, "environment", [], deadline_s=DEADLINE_S) == []
    assert await instance.call(SEE, "arguments", [], deadline_s=DEADLINE_S) == []
    assert await instance.call(SEE, "directories", [], deadline_s=DEADLINE_S) == 0
    assert await instance.call(SEE, "config", ["a"], deadline_s=DEADLINE_S) is None
    instance.close()


async def test_environment_arguments_and_config_are_those_of_the_world(
    engine: WasmtimeEngine,
) -> None:
    world = World(env={"LANG": "C", "Ä": ""}, args=("a", "b c"), config={"stopwords": "en"})
    instance = await start(engine, observer(), world=world)
    seen = await instance.call(SEE, "environment", [], deadline_s=DEADLINE_S)
    assert sorted(seen) == [["LANG", "C"], ["Ä", ""]]
    assert await instance.call(SEE, "arguments", [], deadline_s=DEADLINE_S) == ["a", "b c"]
    assert await instance.call(SEE, "config", ["stopwords"], deadline_s=DEADLINE_S) == "en"
    assert await instance.call(SEE, "config", ["other"], deadline_s=DEADLINE_S) is None
    instance.close()


async def test_files_are_read_only_and_nothing_else_is_there(
    engine: WasmtimeEngine, tmp_path: Path
) -> None:
    (tmp_path / "real.txt").write_bytes(b"the corpus")
    (tmp_path / "alias.txt").symlink_to(tmp_path / "real.txt")
    (tmp_path / "secret.txt").write_bytes(b"not granted")
    files = {"corpus": tmp_path / "alias.txt"}
    instance = await start(engine, observer(), world=World(files=files))
    assert await instance.call(SEE, "directories", [], deadline_s=DEADLINE_S) == 1
    assert await instance.call(SEE, "read", ["corpus"], deadline_s=DEADLINE_S) == b"the corpus"
    for path in ("secret.txt", "../secret.txt", "/etc/passwd", str(tmp_path / "secret.txt")):
        assert await instance.call(SEE, "read", [path], deadline_s=DEADLINE_S) is None
    assert await instance.call(SEE, "write", ["corpus"], deadline_s=DEADLINE_S) is False
    assert await instance.call(SEE, "write", ["new"], deadline_s=DEADLINE_S) is False
    assert (tmp_path / "real.txt").read_bytes() == b"the corpus"
    instance.close()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/abs"])
async def test_file_names_that_lead_elsewhere_are_refused(
    engine: WasmtimeEngine, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidError, match="no plain file name"):
        await start(engine, observer(), world=World(files={name: tmp_path / "file"}))


async def test_missing_file_is_named(engine: WasmtimeEngine, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"files\.corpus: .*No such file"):
        await start(engine, observer(), world=World(files={"corpus": tmp_path / "absent"}))


async def test_nul_in_the_environment_is_refused(engine: WasmtimeEngine) -> None:
    with pytest.raises(InvalidError, match="NUL"):
        await start(engine, observer(), world=World(env={"A": "b\0c"}))


async def test_output_becomes_log_lines_by_stream(engine: WasmtimeEngine) -> None:
    lines: list[tuple[str, str]] = []
    world = World(log=lambda level, line: lines.append((level, line)))
    instance = await start(engine, components.talker(), world=world)
    await instance.call(TALK, "say", ["one\ntwo\nthr"], deadline_s=DEADLINE_S)
    assert lines == [("info", "one"), ("info", "two")]
    await instance.call(TALK, "say", ["ee\n"], deadline_s=DEADLINE_S)
    await instance.call(TALK, "complain", ["bad\n"], deadline_s=DEADLINE_S)
    await instance.call(TALK, "say", ["no end"], deadline_s=DEADLINE_S)
    assert lines[2:] == [("info", "three"), ("warn", "bad")]
    instance.close()
    assert lines[4:] == [("info", "no end")]


async def test_logging_interface_reaches_the_log_with_its_level(engine: WasmtimeEngine) -> None:
    lines: list[tuple[str, str]] = []
    world = World(log=lambda level, line: lines.append((level, line)))
    instance = await start(engine, observer(), world=world)
    await instance.call(SEE, "log", ["hello\nworld"], deadline_s=DEADLINE_S)
    assert lines == [("warn", "observer: hello"), ("warn", "observer: world")]
    instance.close()


async def test_exit_of_a_guest_is_a_trap_with_its_status(engine: WasmtimeEngine) -> None:
    instance = await start(engine, observer())
    with pytest.raises(GuestTrapError, match="exited with status 1") as caught:
        await instance.call(SEE, "leave", [], deadline_s=DEADLINE_S)
    assert caught.value.details["exit_status"] == 1
    assert instance.is_dead


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="open files are counted in /proc")
async def test_closed_instances_leave_no_files_open(engine: WasmtimeEngine) -> None:
    (await start(engine, components.talker())).close()
    gc.collect()  # engines of other tests hold the files of their code
    before = len(os.listdir(OPEN_FILES))
    for _ in range(50):
        (await start(engine, components.talker())).close()
    # The thread that loaded a program may still hold it when the program is at work already.
    await eventually(lambda: len(os.listdir(OPEN_FILES)) <= before, timeout_s=DEADLINE_S)
