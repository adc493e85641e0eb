"""What a host grants, and scratch that is made, bounded and removed."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hosts.directories import Directories
from hosts.engine.base import Directory
from hosts.engine.openfiles import Granted, OpenFiles
from hosts.engine.quota import ENTRY_BYTES, Quota
from lattice.errors import DeniedError, InternalError
from lattice.model.deployment import Component, Service
from lattice.model.ids import ReplicaId
from lattice.model.mounts import Access, Mount

REPLICA = ReplicaId("docs/1/H1/1.0")
NEW = ("read", "write", "create")


def part(access: Access = "ro", scratch_bytes: int = 0) -> Service:
    return Service(
        name="index",
        image="",
        scratch_bytes=scratch_bytes,
        directories=(Mount(grant="corpus", path="/data", access=access),),
    )


def test_what_is_not_granted_is_denied_with_what_to_do(tmp_path: Path) -> None:
    none = Directories(tmp_path).of_replica(REPLICA)
    with pytest.raises(DeniedError, match=r"granted on this host are none; start it with --grant-"):
        none.of_program("index", [part()])
    grants = {"corpus": Directory(tmp_path), "other": Directory(tmp_path)}
    reading = Directories(tmp_path, grants).of_replica(REPLICA)
    with pytest.raises(DeniedError, match="for reading only"):
        reading.of_program("index", [part("rw")])


def test_a_guest_gets_no_more_than_it_wants(tmp_path: Path) -> None:
    grants = {"corpus": Directory(tmp_path, is_writable=True)}
    directories = Directories(tmp_path, grants).of_replica(REPLICA)
    assert directories.of_program("index", [part()]) == {"/data": Directory(tmp_path)}
    assert directories.of_program("index", [part("rw")])["/data"].is_writable


async def test_scratch_is_empty_at_the_start_and_gone_at_the_end(tmp_path: Path) -> None:
    host = Directories(tmp_path / "scratch")
    directories = host.of_replica(REPLICA)
    components = [Component(name="a", image="", scratch_bytes=5), Component(name="b", image="")]
    scratch = directories.of_program("@composed", components)["/scratch"]
    other = directories.of_program("c", [Component(name="c", image="", scratch_bytes=9)])
    assert (scratch.is_writable, scratch.quota and scratch.quota.bytes_max) == (True, 5)
    assert scratch.path != other["/scratch"].path
    scratch.path.mkdir(parents=True)
    (scratch.path / "left by an earlier process").touch()
    async with directories.scratch():
        assert list(scratch.path.iterdir()) == []
        (scratch.path / "file").write_text("x")
    assert list((tmp_path / "scratch").iterdir()) == []
    scratch.path.mkdir(parents=True)
    await host.clear()
    assert not (tmp_path / "scratch").exists()


async def test_scratch_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directories = Directories(tmp_path / "file").of_replica(REPLICA)
    directories.of_program("a", [Component(name="a", image="", scratch_bytes=1)])
    with pytest.raises(InternalError, match="scratch cannot be made"):
        async with directories.scratch():
            pass


def files_under(quota: Quota, root: Path) -> tuple[OpenFiles, int]:
    files = OpenFiles()
    return files, files.grant(Granted("/scratch", root, True, quota))


def code(error: pytest.ExceptionInfo[OSError]) -> str:
    return errno.errorcode[error.value.errno or 0]


def test_a_bound_holds_over_writing_growing_and_many_small_files(tmp_path: Path) -> None:
    files, root = files_under(Quota(tmp_path, 20 * ENTRY_BYTES), tmp_path)
    one = files.open_at(root, "one", NEW)
    files.write(one, bytes(10 * ENTRY_BYTES), None)
    for _ in range(100):
        files.write(one, bytes(10 * ENTRY_BYTES), 0)  # in place: nothing is added
    with pytest.raises(OSError) as full:
        files.write(one, bytes(11 * ENTRY_BYTES), None)
    assert code(full) == "ENOSPC"
    with pytest.raises(OSError) as sparse:
        files.resize(one, 1 << 40)
    assert code(sparse) == "ENOSPC"
    files.resize(one, 0)
    for number in range(18):
        files.close(files.open_at(root, f"small-{number}", NEW))
    files.make_directory(root, "directory")
    with pytest.raises(OSError) as crowded:
        files.open_at(root, "one-too-many", NEW)
    assert code(crowded) == "ENOSPC"
    files.unlink(root, "small-0")
    files.close(files.open_at(root, "after-one-left", NEW))
    files.close_all()


def test_what_is_removed_while_it_is_open_keeps_its_place_until_it_is_closed(
    tmp_path: Path,
) -> None:
    files, root = files_under(Quota(tmp_path, 4 * ENTRY_BYTES), tmp_path)
    one = files.open_at(root, "one", NEW)
    files.write(one, bytes(3 * ENTRY_BYTES), 0)
    files.unlink(root, "one")
    two = files.open_at(root, "two", NEW)
    with pytest.raises(OSError) as full:
        files.write(two, bytes(2 * ENTRY_BYTES), 0)
    assert code(full) == "ENOSPC"
    files.close(one)
    files.write(two, bytes(2 * ENTRY_BYTES), 0)
    files.close_all()


def test_nothing_is_moved_past_a_bound(tmp_path: Path) -> None:
    (tmp_path / "free").mkdir()
    (tmp_path / "bound").mkdir()
    files, bound = files_under(Quota(tmp_path / "bound", 1), tmp_path / "bound")
    free = files.grant(Granted("/data", tmp_path / "free", True))
    files.close(files.open_at(free, "big", NEW))
    with pytest.raises(OSError) as crossing:
        files.rename(free, "big", bound, "big")
    assert code(crossing) == "EXDEV"
    files.rename(free, "big", free, "bigger")
    files.close_all()
