"""The directories that guests work with: one private to the engine, and the files they may see."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lattice.errors import InvalidError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # tested before use

SCRATCH_PREFIX = "guests-"
SCRATCH_LOCK = "lock"

FILE_SETS_IDLE_MAX = 16
"""Unused directories of files that are kept for the next instance of the same workload."""


class Scratch:
    """A private directory that lives as long as its process, however that ends.

    Its lock falls with the process; who makes the next one removes those without a holder.
    """

    def __init__(self, parent: Path) -> None:
        """Make the directory below `parent`, which exists and is private."""
        for stale in parent.glob(f"{SCRATCH_PREFIX}*"):
            _remove_if_abandoned(stale)
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        self._lock = os.open(made / SCRATCH_LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        if fcntl is not None:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Under this name only once it is locked: nobody takes it for abandoned.
        self.path = made.rename(parent / (SCRATCH_PREFIX + made.name.removeprefix(".new-")))

    def close(self) -> None:
        """Remove the directory. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock = -1


def _remove_if_abandoned(directory: Path) -> None:
    if fcntl is None:
        return
    try:
        lock = os.open(directory / SCRATCH_LOCK, os.O_RDWR)
    except OSError:  # being made or removed at this moment
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    except OSError:  # its process lives
        return
    finally:
        os.close(lock)


class FileSets:
    """Directories that hold exactly the files of a world, as hard links or copies.

    The guest cannot follow a link out of such a directory, because there is none in it. All work
    happens on one thread, since copying would block the event loop.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="lattice-guest-files")
        self._sets: OrderedDict[tuple[object, ...], Path] = OrderedDict()
        self._users: dict[Path, int] = {}
        self._made = 0

    async def acquire(self, files: Mapping[str, Path]) -> Path:
        """Return the directory for these files, made when there is none.

        Raises:
            InvalidError: a name is no plain file name, or a file cannot be read; all listed.
        """
        acquiring = self._worker.submit(self._acquire, files)
        try:
            return await asyncio.wrap_future(acquiring)
        except asyncio.CancelledError:
            if not acquiring.cancel():
                self._worker.submit(self._abandon, acquiring)
            raise

    def release(self, path: Path) -> None:
        """Note that an instance no longer uses a directory; the oldest unused ones are removed."""
        self._worker.submit(self._release, path)

    def close(self) -> None:
        """End the thread after what it was asked to do."""
        self._worker.shutdown(wait=True)

    def _acquire(self, files: Mapping[str, Path]) -> Path:
        key = _key_of(files)
        path = self._sets.get(key)
        if path is None:
            self._made += 1
            path = self._directory / f"files-{self._made}"
            try:
                _materialise(files, path)
            except OSError as error:
                shutil.rmtree(path, ignore_errors=True)
                raise InvalidError(f"files cannot be shown to a guest: {error}") from None
            self._sets[key] = path
        self._sets.move_to_end(key)
        self._users[path] = self._users.get(path, 0) + 1
        return path

    def _release(self, path: Path) -> None:
        self._users[path] -= 1
        idle = [key for key, each in self._sets.items() if not self._users[each]]
        for key in idle[: max(0, len(idle) - FILE_SETS_IDLE_MAX)]:
            unused = self._sets.pop(key)
            del self._users[unused]
            shutil.rmtree(unused, ignore_errors=True)

    def _abandon(self, acquired: Future[Path]) -> None:
        """Release what was acquired for somebody who is gone."""
        if acquired.exception() is None:
            self._release(acquired.result())


def _key_of(files: Mapping[str, Path]) -> tuple[object, ...]:
    faults: list[str] = []
    parts: list[object] = []
    for name, path in sorted(files.items()):
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            faults.append(f"files.{name}: is no plain file name")
            continue
        try:
            status = path.stat()
        except OSError as error:
            faults.append(f"files.{name}: {path}: {error.strerror}")
            continue
        if not path.is_file():
            faults.append(f"files.{name}: {path} is no file")
        parts.append((name, path, status.st_ino, status.st_size, status.st_mtime_ns))
    if faults:
        raise InvalidError("the files of a workload cannot be shown to it", faults)
    return tuple(parts)


def _materialise(files: Mapping[str, Path], directory: Path) -> None:
    directory.mkdir(mode=0o700)
    for name, path in files.items():
        source = path.resolve()
        try:
            (directory / name).hardlink_to(source)
        except OSError:  # another file system, or not ours to link
            shutil.copyfile(source, directory / name)
