"""What a guest may do with the files of a grant, and that it may do nothing else."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosts.engine.openfiles import FILES_MAX, Granted, OpenFiles, code_of


@pytest.fixture
def files() -> Iterator[OpenFiles]:
    made = OpenFiles()
    yield made
    made.close_all()


def grant(files: OpenFiles, path: Path, *, is_writable: bool) -> int:
    return files.grant(Granted("/data", path, is_writable))


def refusal(call: Callable[..., object], *args: object) -> str:
    with pytest.raises(OSError, match=r".") as caught:
        call(*args)
    return code_of(caught.value)


def test_what_is_written_is_read(files: OpenFiles, tmp_path: Path) -> None:
    data = grant(files, tmp_path, is_writable=True)
    number = files.open_at(data, "new", ["read", "write", "create"])
    files.write(number, b"hello", None)
    files.write(number, b", world", None)
    files.write(number, b"J", 0)
    assert files.read(number, 100, 0) == b"Jello, world"
    assert files.read(number, 3, 7) == b"wor"
    assert files.read(number, 100, 12) == b""
    files.resize(number, 5)
    files.sync(number)
    assert files.stat(number)["size"] == 5
    assert (tmp_path / "new").read_bytes() == b"Jello"


def test_read_only_grant_changes_nothing(files: OpenFiles, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    data = grant(files, tmp_path, is_writable=False)
    number = files.open_at(data, "file", ["read"])
    assert files.read(number, 10, 0) == b"kept"
    assert not files.is_writable(number)
    for refused in (
        refusal(files.open_at, data, "file", ["write"]),
        refusal(files.open_at, data, "file", ["read", "truncate"]),
        refusal(files.open_at, data, "new", ["read", "create"]),
        refusal(files.write, number, b"x", 0),
        refusal(files.resize, number, 0),
        refusal(files.make_directory, data, "new"),
        refusal(files.remove_directory, data, "folder"),
        refusal(files.unlink, data, "file"),
        refusal(files.rename, data, "file", data, "other"),
    ):
        assert refused == "read-only"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_nothing_is_moved_from_a_writable_grant_into_a_read_only_one(
    files: OpenFiles, tmp_path: Path
) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from" / "file").touch()
    source = grant(files, tmp_path / "from", is_writable=True)
    target = grant(files, tmp_path / "to", is_writable=False)
    assert refusal(files.rename, source, "file", target, "file") == "read-only"
    assert refusal(files.rename, target, "file", source, "file") == "read-only"
    assert os.listdir(tmp_path / "from") == ["file"]


def test_times_are_set_or_left(files: OpenFiles, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    data = grant(files, tmp_path, is_writable=True)
    number = files.open_at(data, "file", ["read", "write"])
    files.set_times(number, 1_000_000_001, 2_000_000_002)
    files.set_times_at(data, "file", True, None, 3_000_000_003)
    status = (tmp_path / "file").stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (1_000_000_001, 3_000_000_003)
    assert refusal(files.set_times, number, 2**63, None) == "invalid"
    kept = grant(files, tmp_path, is_writable=False)
    assert refusal(files.set_times_at, kept, "file", True, 1, 1) == "read-only"
    assert refusal(files.set_times, kept, 1, 1) == "read-only"
    assert refusal(files.set_times_at, data, "absent", True, 1, 1) == "no-entry"


def test_directories_are_made_listed_and_removed(files: OpenFiles, tmp_path: Path) -> None:
    data = grant(files, tmp_path, is_writable=True)
    files.make_directory(data, "folder/")
    files.open_at(data, "b", ["write", "create", "exclusive"])
    (tmp_path / "a").symlink_to("b")
    listing = files.list_directory(data)
    found = []
    while entry := files.next_entry(listing):
        found.append((entry["name"], entry["file-type"]))
    assert found == [("a", "symbolic-link"), ("b", "regular-file"), ("folder", "directory")]
    assert files.next_entry(listing) is None
    assert files.read_link(data, "a") == "b"
    files.rename(data, "b", data, "folder/c")
    assert refusal(files.remove_directory, data, "folder") == "not-empty"
    files.unlink(data, "folder/c")
    files.remove_directory(data, "folder")
    assert os.listdir(tmp_path) == ["a"]


def test_directory_opened_inside_a_grant_confines_and_inherits(
    files: OpenFiles, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").touch()
    data = grant(files, tmp_path, is_writable=True)
    inner = files.open_at(data, "sub", ["read", "directory"])
    assert files.is_writable(inner)
    assert refusal(files.open_at, inner, "../file", ["read"]) == "not-permitted"
    assert refusal(files.stat_at, inner, "..", True) == "not-permitted"


def test_what_is_no_file_is_not_opened(files: OpenFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    data = grant(files, tmp_path, is_writable=True)
    assert refusal(files.open_at, data, "pipe", ["read"]) == "not-permitted"
    assert refusal(files.open_at, data, "pipe", ["read", "write"]) == "not-permitted"
    assert refusal(files.open_at, data, "file", ["read", "directory"]) == "not-directory"
    assert refusal(files.open_at, data, ".", ["write"]) == "is-directory"
    assert files.stat_at(data, "pipe", False)["file-type"] == "fifo"


def test_numbers_that_are_not_open_are_refused(files: OpenFiles, tmp_path: Path) -> None:
    data = grant(files, tmp_path, is_writable=True)
    listing = files.list_directory(data)
    files.close(data)
    files.close(data)
    assert refusal(files.open_at, data, "file", ["read"]) == "bad-descriptor"
    assert refusal(files.read, listing, 1, 0) == "bad-descriptor"
    assert refusal(files.stat, 12345) == "bad-descriptor"
    assert files.next_entry(12345) is None
    assert not files.is_writable(12345)


def test_open_files_are_limited_and_leak_nothing(files: OpenFiles, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    data = grant(files, tmp_path, is_writable=False)
    numbers = [files.open_at(data, "file", ["read"]) for _ in range(FILES_MAX - 1)]
    before = len(os.listdir("/proc/self/fd"))
    assert refusal(files.open_at, data, "file", ["read"]) == "insufficient-memory"
    assert refusal(files.list_directory, data) == "insufficient-memory"
    assert len(os.listdir("/proc/self/fd")) == before
    files.close(numbers[0])
    assert files.open_at(data, "file", ["read"])


def test_closing_waits_for_the_operation_under_way(tmp_path: Path) -> None:
    files = OpenFiles()
    data = grant(files, tmp_path, is_writable=False)
    with files.working():
        files.close_all()
        assert files.stat(data)["file-type"] == "directory"
    assert refusal(files.stat, data) == "bad-descriptor"
    with pytest.raises(OSError, match="closed"), files.working():
        raise AssertionError("not reached")


def test_offsets_beyond_any_file_are_refused(files: OpenFiles, tmp_path: Path) -> None:
    data = grant(files, tmp_path, is_writable=True)
    number = files.open_at(data, "new", ["read", "write", "create"])
    assert refusal(files.read, number, 1, 2**63) == "invalid"
    assert refusal(files.write, number, b"x", 2**64 - 1) == "invalid"
    assert refusal(files.resize, number, 2**64 - 1) == "invalid"


def test_failure_without_a_name_is_an_io_error() -> None:
    assert code_of(OSError(errno.EUCLEAN, "broken")) == "io"
    assert code_of(OSError("no number")) == "io"
