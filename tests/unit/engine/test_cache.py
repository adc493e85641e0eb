"""Compiled code is loaded only when this cache wrote it and nobody changed it since."""

from __future__ import annotations

import os
import platform
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import pytest
from wasmtime import Config, Engine

from hosts.engine import cache as caching
from hosts.engine.cache import CODE_SUFFIX, SEAL_SUFFIX, CodeCache
from hosts.engine.private import KEY_FILE
from lattice.errors import InvalidError
from tests.guests import components

pytestmark = pytest.mark.wasm


@pytest.fixture(scope="module")
def core() -> Engine:
    return Engine(Config())


def cache(core: Engine, directory: Path, *, flags: str = "f", bytes_max: int = 10**9) -> CodeCache:
    return CodeCache(core, directory, flags=flags, bytes_max=bytes_max)


@pytest.fixture
def compiled(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    """Return how often something was compiled since the last time it was asked."""
    caplog.set_level("INFO", logger="hosts.engine.cache")

    def count() -> int:
        found = sum("compiled in" in message for message in caplog.messages)
        caplog.clear()
        return found

    return count


def code_files(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"*{CODE_SUFFIX}"))


def test_second_load_takes_the_file_of_the_first(
    core: Engine, tmp_path: Path, compiled: Callable[[], int]
) -> None:
    cache(core, tmp_path / "c").load(components.add(), name="add")
    assert compiled() == 1
    # Another process, as it were: the key is read again.
    cache(core, tmp_path / "c").load(components.add(), name="add")
    assert compiled() == 0
    assert len(code_files(tmp_path / "c")) == 1


def test_other_flags_and_other_bytes_are_other_files(
    core: Engine, tmp_path: Path, compiled: Callable[[], int]
) -> None:
    cache(core, tmp_path).load(components.add(), name="add")
    cache(core, tmp_path, flags="g").load(components.add(), name="add")
    cache(core, tmp_path).load(components.echo(), name="echo")
    assert compiled() == 3
    assert len(code_files(tmp_path)) == 3


@pytest.mark.parametrize(
    ("what", "name"),
    [("wasmtime", "version"), ("machine", "machine"), ("processor", "_cpu_features")],
)
def test_code_of_another_wasmtime_or_processor_is_not_found(
    core: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, name: str
) -> None:
    cache(core, tmp_path).load(components.add(), name="add")
    owner = {"wasmtime": metadata, "machine": platform, "processor": caching}[what]
    monkeypatch.setattr(owner, name, lambda *_: "another")
    assert cache(core, tmp_path).find(components.add(), name="add") is None
    monkeypatch.undo()
    assert cache(core, tmp_path).find(components.add(), name="add") is not None


PROCESS = """
import logging, sys
from pathlib import Path
from wasmtime import Config, Engine
from hosts.engine.cache import CodeCache
from tests.guests import components

logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
body = components.bulky()
cache = CodeCache(Engine(Config()), Path(sys.argv[1]), flags="f")
print("ready", flush=True)
sys.stdin.readline()
cache.load(body, name="bulky")
"""


def test_of_two_processes_at_once_one_compiles(tmp_path: Path) -> None:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PROCESS, str(tmp_path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("compiled in" in each for each in told) == 1
    assert len(code_files(tmp_path)) == 1


def test_who_waited_for_another_compiler_takes_its_result(
    core: Engine, tmp_path: Path, compiled: Callable[[], int]
) -> None:
    first, second = cache(core, tmp_path), cache(core, tmp_path)
    waiting = threading.Thread(target=second.load, args=(components.add(),), kwargs={"name": "add"})
    with first._only_compiler():
        waiting.start()
        code = tmp_path / (first.code_name(components.add()) + CODE_SUFFIX)
        first._compile(code, components.add(), "add")
    waiting.join()
    assert compiled() == 1


def test_directory_and_key_are_private(core: Engine, tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "cache"
    cache(core, directory).load(components.add(), name="add")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda code, seal: _flip(code), id="changed code"),
        pytest.param(lambda code, seal: _flip(seal), id="changed seal"),
        pytest.param(lambda code, seal: code.write_bytes(b""), id="empty code"),
        pytest.param(lambda code, seal: code.write_bytes(code.read_bytes()[:99]), id="cut code"),
        pytest.param(lambda code, seal: seal.write_bytes(b""), id="empty seal"),
        pytest.param(lambda code, seal: seal.unlink(), id="no seal"),
        pytest.param(lambda code, seal: code.unlink(), id="no code"),
        pytest.param(lambda code, seal: seal.write_bytes(b"\xff" * 64), id="seal of other bytes"),
    ],
)
def test_damaged_file_is_compiled_again_and_never_loaded(
    core: Engine,
    tmp_path: Path,
    compiled: Callable[[], int],
    damage: Callable[[Path, Path], None],
) -> None:
    cache(core, tmp_path).load(components.add(), name="add")
    (code,) = code_files(tmp_path)
    damage(code, code.with_suffix(SEAL_SUFFIX))
    compiled()
    cache(core, tmp_path).load(components.add(), name="add")
    assert compiled() == 1
    cache(core, tmp_path).load(components.add(), name="add")
    assert compiled() == 0


def test_code_of_one_component_under_the_name_of_another_is_refused(
    core: Engine, tmp_path: Path, compiled: Callable[[], int]
) -> None:
    own = cache(core, tmp_path)
    own.load(components.add(), name="add")
    (add,) = code_files(tmp_path)
    own.load(components.echo(), name="echo")
    (echo,) = (path for path in code_files(tmp_path) if path != add)
    echo.write_bytes(add.read_bytes())
    echo.with_suffix(SEAL_SUFFIX).write_bytes(add.with_suffix(SEAL_SUFFIX).read_bytes())
    compiled()
    own.load(components.echo(), name="echo")
    assert compiled() == 1


def test_code_sealed_with_another_key_is_refused(
    core: Engine, tmp_path: Path, compiled: Callable[[], int]
) -> None:
    cache(core, tmp_path).load(components.add(), name="add")
    (tmp_path / KEY_FILE).unlink()
    compiled()
    cache(core, tmp_path).load(components.add(), name="add")
    assert compiled() == 1


def test_directory_that_was_open_to_others_loses_its_key(
    core: Engine, tmp_path: Path, compiled: Callable[[], int]
) -> None:
    cache(core, tmp_path).load(components.add(), name="add")
    tmp_path.chmod(0o755)
    compiled()
    cache(core, tmp_path).load(components.add(), name="add")
    assert compiled() == 1
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_least_recently_used_code_goes_first(
    core: Engine, tmp_path: Path, compiled: Callable[[], int]
) -> None:
    own = cache(core, tmp_path)
    own.load(components.add(), name="add")
    (add,) = code_files(tmp_path)
    own.load(components.echo(), name="echo")
    (echo,) = (path for path in code_files(tmp_path) if path != add)
    os.utime(add, (1, 1))
    os.utime(echo, (2, 2))
    own.load(components.add(), name="add")  # used again: now `echo` is the oldest
    small = cache(core, tmp_path, bytes_max=add.stat().st_size + echo.stat().st_size + 1)
    small.load(components.root(), name="root")
    left = code_files(tmp_path)
    assert add in left
    assert echo not in left
    assert not echo.with_suffix(SEAL_SUFFIX).exists()


def test_files_that_were_never_finished_go_when_they_are_old(core: Engine, tmp_path: Path) -> None:
    own = cache(core, tmp_path)
    old, new = tmp_path / ".new-old", tmp_path / ".new-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    own.load(components.add(), name="add")
    assert not old.exists()
    assert new.exists()


def test_cache_that_cannot_be_written_still_compiles(
    core: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = cache(core, tmp_path / "c")
    for path in (tmp_path / "c").iterdir():
        path.unlink()
    (tmp_path / "c").rmdir()
    own.load(components.add(), name="add")
    assert any("cannot cache" in message for message in caplog.messages)


def test_path_that_is_no_directory_is_refused(core: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidError, match="cannot make the code cache"):
        cache(core, tmp_path / "file")


@pytest.mark.parametrize("body", components.not_components().values())
def test_invalid_component_is_refused_and_not_cached(
    core: Engine, tmp_path: Path, body: bytes
) -> None:
    with pytest.raises(InvalidError, match="bad is no valid component"):
        cache(core, tmp_path).load(body, name="bad")
    assert code_files(tmp_path) == []
