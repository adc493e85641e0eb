"""Directories that a part of a workload sees, besides its files: what it wants, as checked values.

Paths are those of the guest. What a grant's name stands for is the matter of each host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

FILES_PATH = "/files"
"""Where a guest sees the `files` of the manifest."""

SCRATCH_PATH = "/scratch"
"""Where a guest sees the directory that is its own."""

PATH_LENGTH_MAX = 255
"""Characters of a guest's path: WASI guests compare it with every path that they open."""

Access = Literal["ro", "rw"]
"""What may be done in a directory: reading, or writing too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A directory that hosts grant by a name, and where the guest sees it."""

    grant: str
    path: str
    access: Access = "ro"


def path_fault(path: str) -> str | None:
    """Return why a guest cannot see a directory at a path, None when it can."""
    names = path.split("/")
    if names[0] or path == "/" or any(name in ("", ".", "..") for name in names[1:]):
        return f"{path!r} is no absolute path such as /data, without '.', '..' and a '/' at its end"
    if f"/{names[1]}" in (FILES_PATH, SCRATCH_PATH):
        return f"{path!r} is taken, {FILES_PATH} and {SCRATCH_PATH} have a meaning of their own"
    return None


def mounts_fault(mounts: Sequence[Mount]) -> str | None:
    """Return which of several mounts hides another one, None when none does."""
    paths = sorted(f"{mount.path}/" for mount in mounts)
    for path, following in pairwise(paths):
        if following.startswith(path):
            return f"{following[:-1]!r} lies in {path[:-1]!r}"
    return None
