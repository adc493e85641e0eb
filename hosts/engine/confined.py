"""Opens paths below a directory and never leaves it, whatever links and `..` say.

A path is walked name by name from an open directory, each step without following a link, so that
nobody who changes the tree meanwhile can lead the walk elsewhere. Links are followed here, within
the directory; absolute ones are refused. POSIX only. Nothing here knows guests or the engine.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

PATH_BYTES_MAX = 4096
"""Longest path, as on Linux."""

LINKS_MAX = 40
"""Links followed in one path, as on Linux; more of them form a circle."""

_WALK = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""What a caller must open the last name with."""


@contextmanager
def parent_of(base: int, path: str, *, follow: bool) -> Iterator[tuple[int, str]]:
    """Yield the open directory that holds the last name of a path, and that name.

    The name is `.` when the path leads to the directory itself. With `follow`, a link at the end
    is followed; what then is yielded is no link, or was none a moment ago: open it with
    `NO_FOLLOW`. The directory is closed afterwards. The last name need not exist.

    Raises:
        OSError: `EPERM` when the path leads out of `base`; else what the system says.
    """
    if not path:
        raise OSError(errno.ENOENT, "an empty path")
    if path.startswith("/"):
        raise OSError(errno.EPERM, "an absolute path")
    if "\0" in path:
        raise OSError(errno.EINVAL, "a path with NUL")
    if len(path.encode()) > PATH_BYTES_MAX:
        raise OSError(errno.ENAMETOOLONG, "a path that is too long")
    walk = _Walk(base, path, follow=follow)
    try:
        yield walk.run()
    finally:
        walk.close()


class _Walk:
    """One walk: the names that are still to be taken, and the directories above where it is."""

    def __init__(self, base: int, path: str, *, follow: bool) -> None:
        self._base = base
        self._opened: list[int] = []
        self._names = path.split("/")[::-1]
        self._follow = follow
        self._links = 0

    def run(self) -> tuple[int, str]:
        while self._names:
            name = self._names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if not self._opened:
                    raise OSError(errno.EPERM, "a path that leads out of its directory")
                os.close(self._opened.pop())
                continue
            is_last = not any(each not in ("", ".") for each in self._names)
            # A slash or a dot behind the last name means the directory that a link leads to.
            must_follow = self._follow or bool(self._names)
            if (must_follow or not is_last) and self._take_link(name):
                continue
            if is_last and not self._names:
                return self._here, name
            self._opened.append(os.open(name, _WALK, dir_fd=self._here))
        return self._here, "."

    def close(self) -> None:
        while self._opened:
            os.close(self._opened.pop())

    @property
    def _here(self) -> int:
        return self._opened[-1] if self._opened else self._base

    def _take_link(self, name: str) -> bool:
        """Put what a link says in the place of its name; False when it is no link."""
        try:
            target = os.readlink(name, dir_fd=self._here)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # no link; or nothing, found out later
                return False
            raise
        self._links += 1
        if self._links > LINKS_MAX:
            raise OSError(errno.ELOOP, "too many links")
        if target.startswith("/"):
            raise OSError(errno.EPERM, "a link to an absolute path")
        self._names.extend(target.split("/")[::-1])
        return True
