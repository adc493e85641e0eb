"""Output of guests becomes bounded log lines; sets of files are shared and removed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.engine.files import FILE_SETS_IDLE_MAX, FileSets, Scratch
from hosts.engine.output import DRAIN_BYTES_MAX, LINE_BYTES_MAX, LoggedOutput, output_of
from hosts.engine.wasi import OUTPUT_KEPT_BYTES, Stream


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def stream(tmp_path: Path, lines: list[tuple[str, str]]) -> Stream:
    (tmp_path / "out").touch()
    return Stream(tmp_path / "out", "info", lambda level, line: lines.append((level, line)))


def write(stream: Stream, output: bytes, at: int | None = None) -> None:
    """Write as a guest does: at its own offset, whatever the size of the file is."""
    with stream.path.open("r+b") as file:
        file.seek(*((0, 2) if at is None else (at, 0)))
        file.write(output)


def test_lines_are_cut_at_line_breaks(stream: Stream, lines: list[tuple[str, str]]) -> None:
    write(stream, "a\nß\r\n\nlast".encode())
    stream.drain()
    assert lines == [("info", "a"), ("info", "ß"), ("info", "")]
    stream.drain()
    stream.close()
    assert lines[3:] == [("info", "last")]
    assert not stream.path.exists()


def test_bytes_that_are_no_text_are_replaced(stream: Stream, lines: list[tuple[str, str]]) -> None:
    write(stream, b"\xff\xfe\n")
    stream.drain()
    assert lines == [("info", "\ufffd\ufffd")]


def test_endless_line_is_cut(stream: Stream, lines: list[tuple[str, str]]) -> None:
    write(stream, b"x" * (2 * LINE_BYTES_MAX + 5))
    stream.close()
    assert [len(line) for _, line in lines] == [LINE_BYTES_MAX, LINE_BYTES_MAX, 5]


def test_flood_is_dropped_and_counted(stream: Stream, lines: list[tuple[str, str]]) -> None:
    write(stream, b"0123456789abcde\n" * (DRAIN_BYTES_MAX // 16) + b"lost\n" * 10)
    stream.drain()
    assert len(lines) == DRAIN_BYTES_MAX // 16 + 1
    assert lines[-1] == ("warn", "50 bytes of output dropped: more than is kept at once")


def test_large_file_is_emptied_while_the_guest_writes_on_at_its_offset(
    stream: Stream, lines: list[tuple[str, str]]
) -> None:
    size = OUTPUT_KEPT_BYTES + 1
    write(stream, b"x" * (size - 1) + b"\n")
    stream.drain()
    assert stream.path.stat().st_size == 0
    lines.clear()
    write(stream, b"more\n", at=size)
    stream.drain()
    assert lines == [("info", "more")]


@pytest.fixture
def sets(tmp_path: Path) -> Iterator[FileSets]:
    made = FileSets(tmp_path)
    yield made
    made.close()


async def test_same_files_are_materialised_once(sets: FileSets, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    first = await sets.acquire({"name": source})
    second = await sets.acquire({"name": source})
    assert first == second
    assert [(path.name, path.read_bytes()) for path in first.iterdir()] == [("name", b"content")]
    assert not any(path.is_symlink() for path in first.iterdir())


async def test_changed_file_makes_another_set(sets: FileSets, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"old")
    first = await sets.acquire({"name": source})
    source.unlink()
    source.write_bytes(b"newer")
    second = await sets.acquire({"name": source})
    assert (first / "name").read_bytes() == b"old"
    assert (second / "name").read_bytes() == b"newer"


async def test_unused_sets_are_removed_oldest_first_and_used_ones_stay(
    sets: FileSets, tmp_path: Path
) -> None:
    kept_source = tmp_path / "kept"
    kept_source.write_bytes(b"")
    kept = await sets.acquire({"kept": kept_source})
    made: list[Path] = []
    for index in range(FILE_SETS_IDLE_MAX + 2):
        source = tmp_path / f"source-{index}"
        source.write_bytes(b"")
        made.append(await sets.acquire({"name": source}))
        sets.release(made[-1])
    await sets.acquire({"kept": kept_source})  # comes after the releases, on the same thread
    exist = [path.exists() for path in made]
    assert exist == [False, False] + [True] * FILE_SETS_IDLE_MAX
    assert kept.exists()


def test_scratch_of_a_dead_process_is_removed_and_that_of_a_living_one_stays(
    tmp_path: Path,
) -> None:
    living = Scratch(tmp_path)
    (living.path / "output").touch()
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from hosts.engine.files import Scratch\n"
        "print(Scratch(Path(sys.argv[1])).path, flush=True)\n"
        "os._exit(1)\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    dead = Path(died.stdout.strip())
    assert dead.exists()
    newest = Scratch(tmp_path)
    assert not dead.exists()
    assert (living.path / "output").exists()
    for scratch in (living, newest, newest):
        scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_logged_output_is_bounded_in_each_call(lines: list[tuple[str, str]]) -> None:
    output = LoggedOutput("info", lambda level, line: lines.append((level, line)))
    for _ in range(DRAIN_BYTES_MAX // 16):
        output.write(b"0123456789abcde\n")
    output.write(b"lost\n" * 10)
    assert len(lines) == DRAIN_BYTES_MAX // 16
    output.drain()
    assert lines[-1] == ("warn", "50 bytes of output dropped: more than is kept at once")
    output.write(b"again\nno end")
    assert lines[-1] == ("info", "again")
    output.close()
    assert lines[-1] == ("info", "no end")
    output.close()
    assert lines[-1] == ("info", "no end")


def test_text_that_comes_in_pieces_is_one_line(lines: list[tuple[str, str]]) -> None:
    output = LoggedOutput("warn", lambda level, line: lines.append((level, line)))
    for byte in "größe\n".encode():
        output.write(bytes([byte]))
    assert lines == [("warn", "größe")]


def test_output_that_somebody_takes_is_passed_on_untouched(lines: list[tuple[str, str]]) -> None:
    taken: list[bytes] = []
    stream = output_of("info", lambda level, line: lines.append((level, line)), taken.append)
    for written in (b"half a li", b"ne\n\xff", b"x" * (2 * DRAIN_BYTES_MAX)):
        stream.write(written)
    stream.drain()
    stream.close()
    assert taken == [b"half a li", b"ne\n\xff", b"x" * (2 * DRAIN_BYTES_MAX)]
    assert lines == []
