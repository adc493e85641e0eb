"""Paths never leave the directory that they are seen from."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.engine.confined import LINKS_MAX, NO_FOLLOW, PATH_BYTES_MAX, parent_of


@pytest.fixture
def base(tmp_path: Path) -> Iterator[int]:
    """The directory `inside` with `sub/deep/file`, beside a file `secret` that is out of it."""
    (tmp_path / "inside" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "inside" / "sub" / "deep" / "file").write_text("found")
    (tmp_path / "secret").write_text("secret")
    descriptor = os.open(tmp_path / "inside", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def read(base: int, path: str, *, follow: bool = True) -> str:
    with parent_of(base, path, follow=follow) as (parent, name):
        descriptor = os.open(name, os.O_RDONLY | NO_FOLLOW, dir_fd=parent)
    try:
        return os.read(descriptor, 100).decode()
    finally:
        os.close(descriptor)


def link(tmp_path: Path, name: str, target: str) -> None:
    (tmp_path / "inside" / name).symlink_to(target)


@pytest.mark.parametrize(
    "path",
    ["sub/deep/file", "./sub//deep/./file", "sub/../sub/deep/file", "sub/deep/../deep/file"],
)
def test_paths_inside_are_found(base: int, path: str) -> None:
    assert read(base, path) == "found"


@pytest.mark.parametrize(
    "path", ["../secret", "sub/../../secret", "..", "sub/../..", "/etc/passwd"]
)
def test_paths_that_lead_out_are_refused(base: int, path: str) -> None:
    with pytest.raises(PermissionError):
        read(base, path)


def test_links_inside_are_followed(base: int, tmp_path: Path) -> None:
    link(tmp_path, "alias", "sub/deep/file")
    link(tmp_path, "folder", "./sub/deep/")
    link(tmp_path, "sub/up", "../alias")
    for path in ("alias", "folder/file", "sub/up", "folder/../deep/file"):
        assert read(base, path) == "found"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("../secret", "out"), ("sub/../../secret", "out"), ("..", "out/secret"),
        ("/", "out/etc/passwd"), ("/etc/passwd", "out"), ("out", "out"),
    ],
)  # fmt: skip
def test_links_that_lead_out_are_refused(base: int, tmp_path: Path, target: str, path: str) -> None:
    link(tmp_path, "out", target)
    with pytest.raises(OSError, match=r"out|absolute|too many") as caught:
        read(base, path)
    assert caught.value.errno in (errno.EPERM, errno.ELOOP)


def test_link_at_the_end_is_itself_unless_followed(base: int, tmp_path: Path) -> None:
    link(tmp_path, "alias", "../secret")
    with parent_of(base, "alias", follow=False) as (parent, name):
        assert os.readlink(name, dir_fd=parent) == "../secret"
    with pytest.raises(OSError, match="symbolic link"):
        read(base, "alias", follow=False)


def test_slash_behind_a_link_means_what_it_leads_to(base: int, tmp_path: Path) -> None:
    link(tmp_path, "folder", "sub")
    with parent_of(base, "folder/", follow=False) as (parent, name):
        assert sorted(os.listdir(parent)) == ["deep"]
        assert name == "."


def test_chain_of_links_is_limited(base: int, tmp_path: Path) -> None:
    link(tmp_path, "link0", "sub/deep/file")
    for number in range(LINKS_MAX + 1):
        link(tmp_path, f"link{number + 1}", f"link{number}")
    assert read(base, f"link{LINKS_MAX - 1}") == "found"
    with pytest.raises(OSError, match="too many links"):
        read(base, f"link{LINKS_MAX}")


def test_paths_that_are_none_are_refused(base: int) -> None:
    for path, code in (
        ("", errno.ENOENT),
        ("a\0b", errno.EINVAL),
        ("a" * (PATH_BYTES_MAX + 1), errno.ENAMETOOLONG),
        ("absent/file", errno.ENOENT),
        ("sub/deep/file/more", errno.ENOTDIR),
        ("sub/deep/file/", errno.ENOTDIR),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            read(base, path)
        assert caught.value.errno == code, path


_NAMES = st.sampled_from(["sub", "deep", "file", "up", "out", "here", "..", ".", "", "secret"])


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with links in all directions."""
    inside = tmp_path_factory.mktemp("maze") / "inside"
    (inside / "sub" / "deep").mkdir(parents=True)
    (inside / "sub" / "deep" / "file").write_text("found")
    (inside.parent / "secret").write_text("secret")
    for folder in (inside, inside / "sub", inside / "sub" / "deep"):
        (folder / "up").symlink_to("..")
        (folder / "out").symlink_to("../../..")
        (folder / "here").symlink_to("./sub/../")
    return inside


@settings(max_examples=300, deadline=None)
@given(names=st.lists(_NAMES, min_size=1, max_size=12))
def test_no_path_leads_to_the_secret(maze: Path, names: list[str]) -> None:
    base = os.open(maze, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with contextlib.suppress(OSError):
        assert read(base, "/".join(names)) == "found"
    after = len(os.listdir("/proc/self/fd")) if before else 0
    os.close(base)
    assert after == before, "a walk left a directory open"
