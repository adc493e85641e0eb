"""An unmodified guest in Python on the WASI adapter: it sleeps, prints and uses its directories."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from hosts.engine.adapting import SWITCH
from hosts.engine.base import Directory, Instance, World
from hosts.engine.wasmtime_engine import WasmtimeEngine
from lattice.errors import GuestTrapError, InvalidError
from tests.contract.engine.building import ADD, start
from tests.guests import components
from tests.guests.interpreter import INTERPRETER, interpreter
from tests.integration.observer import SEE, from_wit, observer

pytestmark = [
    pytest.mark.wasm,
    pytest.mark.timeout(300),  # the first run builds the guest and compiles it
]

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("code")


@pytest.fixture
def engine(cache: Path) -> Iterator[WasmtimeEngine]:
    made = WasmtimeEngine(cache)
    yield made
    made.close()


Start = Callable[..., Awaitable[Instance]]
"""Starts an interpreter that sees a world."""


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
async def python(engine: WasmtimeEngine, lines: list[tuple[str, str]]) -> AsyncIterator[Start]:
    """Return what starts an interpreter that sees a world."""
    started: list[Instance] = []

    async def new(**world: Any) -> Instance:
        log = world.pop("log", lambda level, line: lines.append((level, line)))
        instance = await start(engine, interpreter(), world=World(log=log, **world))
        started.append(instance)
        return instance

    yield new
    for instance in started:
        instance.close()


async def run(instance: Instance, source: str) -> str:
    """Return what the source binds to `result`; its traceback fails the test."""
    case, text = await instance.call(INTERPRETER, "run", [source], deadline_s=DEADLINE_S)
    assert case == "ok", text
    return str(text)


async def failure(instance: Instance, source: str) -> str:
    """Return the last line of the traceback."""
    case, text = await instance.call(INTERPRETER, "run", [source], deadline_s=DEADLINE_S)
    assert case == "err", text
    return str(text).strip().splitlines()[-1]


async def test_sleeping_guest_leaves_the_loop_to_others(
    engine: WasmtimeEngine, python: Start
) -> None:
    asleep = anyio.Event()
    sleeper = await python(log=lambda _level, _line: asleep.set())
    other = await start(engine, components.add())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, sleeper, "print('now', flush=True); pause(3600)")
        await asleep.wait()
        assert await other.call(ADD, "add", [1, 2], deadline_s=DEADLINE_S) == 3
        tasks.cancel_scope.cancel()
    assert sleeper.is_dead
    other.close()


async def test_sleep_lasts_as_long_as_it_should(
    python: Start,
) -> None:
    instance = await python()
    slept_ns = await run(
        instance,
        "began = time.monotonic_ns(); pause(0.05); result = time.monotonic_ns() - began",
    )
    assert int(slept_ns) >= 50_000_000


async def test_output_is_logged_while_the_call_runs(
    python: Start, lines: list[tuple[str, str]]
) -> None:
    instance = await python()
    await run(instance, "print('one'); print('größe', file=sys.stderr); print('tw', end='')")
    assert lines == [("info", "one"), ("warn", "größe")]
    await run(instance, "sys.stdout.buffer.write(b'o \\xff' + bytes([10]))")
    assert lines[2:] == [("info", "two \ufffd")]


async def test_flood_of_output_is_bounded(python: Start, lines: list[tuple[str, str]]) -> None:
    instance = await python()
    await run(instance, "print('x' * 1_000_000)")
    assert sum(len(line) for level, line in lines if level == "info") <= 256 * 1024
    assert lines[-1][0] == "warn"
    assert "bytes of output dropped" in lines[-1][1]


async def test_environment_and_arguments_are_those_of_the_world(
    python: Start,
) -> None:
    instance = await python(env={"LANG": "C", "Ä": ""}, args=("a", "b c"))
    assert await run(instance, "result = dict(os.environ), sys.argv") == str(
        ({"LANG": "C", "Ä": ""}, ["a", "b c"])
    )


async def test_nothing_else_is_there(python: Start) -> None:
    instance = await python()
    assert await run(instance, "result = dict(os.environ), sys.stdin.read()") == str(({}, ""))
    assert "FileNotFoundError" in await failure(instance, "open('/etc/passwd')")
    source = "socket.create_connection(('10.0.0.1', 80))"
    assert "PermissionError" in await failure(instance, source)
    assert await run(instance, "result = len(os.urandom(100))") == "100"


async def test_files_are_read_only(python: Start, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(bytes(range(256)) * 5000)
    instance = await python(files={"corpus": tmp_path / "real"})
    assert await run(instance, "result = os.listdir('/files')") == "['corpus']"
    assert await run(instance, "result = os.stat('/files/corpus').st_size") == "1280000"
    source = "body = open('/files/corpus', 'rb').read(); result = body == bytes(range(256)) * 5000"
    assert await run(instance, source) == "True"
    assert "OSError" in await failure(instance, "open('/files/corpus', 'w')")
    assert "OSError" in await failure(instance, "os.unlink('/files/corpus')")
    assert (tmp_path / "real").stat().st_size == 1280000


async def test_granted_directory_is_a_file_system(python: Start, tmp_path: Path) -> None:
    instance = await python(directories={"/data": Directory(tmp_path, is_writable=True)})
    await run(
        instance,
        """
os.makedirs('/data/a/b')
with open('/data/a/b/file', 'w') as file:
    file.write('hello\\n')
with open('/data/a/b/file', 'a') as file:
    file.write('größe\\n')
os.rename('/data/a/b/file', '/data/a/moved')
os.rmdir('/data/a/b')
""",
    )
    assert (tmp_path / "a" / "moved").read_text(encoding="utf-8") == "hello\ngröße\n"
    source = """
with open('/data/a/moved', 'r+b') as file:
    file.seek(6)
    rest = file.read()
    file.truncate(5)
result = (rest.decode(), os.path.getsize('/data/a/moved'), os.listdir('/data/a'),
          os.path.isdir('/data/a'), os.path.exists('/data/b'))
os.unlink('/data/a/moved')
"""
    assert await run(instance, source) == str(("größe\n", 5, ["moved"], True, False))
    assert os.listdir(tmp_path / "a") == []


async def test_times_of_files_can_be_set(python: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    instance = await python(directories={"/data": Directory(tmp_path, is_writable=True)})
    source = """
os.utime('/data/file', ns=(1_000_000_001, 2_000_000_002))
status = os.stat('/data/file')
result = status.st_atime_ns, status.st_mtime_ns
"""
    assert await run(instance, source) == str((1_000_000_001, 2_000_000_002))
    await run(instance, "os.utime('/data/file')")
    assert (tmp_path / "file").stat().st_mtime > 1e9


async def test_guest_cannot_leave_its_directory(python: Start, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text("secret")
    (inside / "relative").symlink_to("../secret")
    (inside / "absolute").symlink_to(tmp_path / "secret")
    (inside / "file").write_text("found")
    (inside / "alias").symlink_to("file")
    instance = await python(directories={"/data": Directory(inside, is_writable=True)})
    assert await run(instance, "result = open('/data/alias').read()") == "found"
    for path in ("/data/relative", "/data/absolute", "/data/../secret", str(tmp_path / "secret")):
        assert "Error" in await failure(instance, f"open({path!r})"), path
        assert "Error" in await failure(instance, f"open({path!r}, 'w')"), path
    assert "Error" in await failure(instance, "os.symlink('/etc', '/data/new')")
    assert "Error" in await failure(instance, "os.link('/data/file', '/data/new')")
    assert (tmp_path / "secret").read_text() == "secret"


async def test_exit_of_an_interpreter_is_a_trap(
    python: Start,
) -> None:
    instance = await python()
    with pytest.raises(GuestTrapError, match="exited with status") as caught:
        await run(instance, "sys.exit(1)")
    assert caught.value.details["exit_status"] == 1


@pytest.mark.parametrize(
    ("path", "fault"),
    [("data", "no absolute path"), ("/files", "no absolute path")],
)
async def test_directories_that_cannot_be_shown_are_refused(
    python: Start, tmp_path: Path, path: str, fault: str
) -> None:
    with pytest.raises(InvalidError, match=fault):
        await python(directories={path: Directory(tmp_path)})


async def test_directory_that_is_missing_is_named(python: Start, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"directories\./data: .*absent is no directory"):
        await python(directories={"/data": Directory(tmp_path / "absent")})


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
async def test_instance_that_dies_while_it_uses_files_leaves_none_open(
    python: Start, tmp_path: Path
) -> None:
    def opened() -> int:
        return sum(
            str(tmp_path) in os.readlink(entry.path)
            for entry in os.scandir("/proc/self/fd")
            if os.path.islink(entry.path)
        )

    instance = await python(directories={"/data": Directory(tmp_path, is_writable=True)})
    source = "sys.kept = [open(f'/data/{number}', 'w') for number in range(5)]"
    await run(instance, source)
    assert opened() >= 5
    with pytest.raises(GuestTrapError):
        await run(instance, "sys.exit(1)")
    assert opened() == 0


async def test_parts_of_one_composition_share_the_adapter(
    engine: WasmtimeEngine, lines: list[tuple[str, str]]
) -> None:
    world = World(env={"LANG": "C"}, log=lambda level, line: lines.append((level, line)))
    instance = await start(engine, components.talker(), observer(), world=world)
    await instance.call("test:talker/talk@0.1.0", "say", ["hello\n"], deadline_s=DEADLINE_S)
    seen = await instance.call(SEE, "environment", [], deadline_s=DEADLINE_S)
    assert (lines, seen) == ([("info", "hello")], [["LANG", "C"]])
    instance.close()


async def test_builtin_wasi_serves_too_but_without_directories(
    engine: WasmtimeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "builtin")
    instance = await start(engine, observer(), world=World(env={"LANG": "C"}))
    seen = await instance.call(SEE, "environment", [], deadline_s=DEADLINE_S)
    assert seen == [["LANG", "C"]]
    instance.close()
    with pytest.raises(InvalidError, match="unset LATTICE_WASI"):
        await start(engine, observer(), world=World(directories={"/data": Directory(tmp_path)}))


_RACE_WIT = """
package test:race@0.1.0;
interface race { ready: func(a: u64, b: u64) -> list<u32>; }
world race-guest {
  import wasi:io/poll@0.2.3;
  import wasi:clocks/monotonic-clock@0.2.3;
  export race;
}
package wasi:io@0.2.3 {
  interface poll {
    resource pollable;
    poll: func(in: list<borrow<pollable>>) -> list<u32>;
  }
}
package wasi:clocks@0.2.3 {
  interface monotonic-clock {
    use wasi:io/poll@0.2.3.{pollable};
    subscribe-duration: func(when: u64) -> pollable;
  }
}
"""

_RACE_CORE = """
(module
  (import "wasi:clocks/monotonic-clock@0.2.3" "subscribe-duration"
    (func $subscribe (param i64) (result i32)))
  (import "wasi:io/poll@0.2.3" "poll" (func $poll (param i32 i32 i32)))
  (import "wasi:io/poll@0.2.3" "[resource-drop]pollable" (func $drop (param i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
  (func (export "test:race/race@0.1.0#ready") (param $a i64) (param $b i64) (result i32)
    (i32.store (i32.const 16) (call $subscribe (local.get $a)))
    (i32.store (i32.const 20) (call $subscribe (local.get $b)))
    (call $poll (i32.const 16) (i32.const 2) (i32.const 32))
    (call $drop (i32.load (i32.const 16)))
    (call $drop (i32.load (i32.const 20)))
    (i32.const 32)))
"""


async def test_poll_returns_what_is_ready_first(engine: WasmtimeEngine) -> None:
    instance = await start(engine, from_wit(_RACE_WIT, "race-guest", _RACE_CORE))

    async def ready(a: int, b: int) -> Any:
        return await instance.call("test:race/race@0.1.0", "ready", [a, b], deadline_s=DEADLINE_S)

    for_ever = 2**64 - 1
    assert await ready(0, for_ever) == [0]
    assert await ready(for_ever, 0) == [1]
    assert await ready(0, 0) == [0, 1]
    assert await ready(for_ever, 2_000_000) == [1]
    # Far more than the adapter can hold at a time: what is dropped is used again.
    for _ in range(10_000):
        await ready(0, for_ever)
    instance.close()
