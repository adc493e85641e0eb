"""The files and directories that one guest has open, by number, and what it may do with them.

Everything here blocks on the disk, so it is called on a worker thread (`hosts.engine.guestsystem`),
but `next_entry`, `is_writable` and `close`, which are quick. Failures are `OSError`s, named for the
guest by `code_of`. Deny by default: what a grant does not allow answers `EROFS`.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosts.engine.confined import NO_FOLLOW, parent_of
from hosts.engine.quota import ENTRY_BYTES, Quota

FILES_MAX = 512
"""Files, directories and listings that one guest has open at a time: the process has one table."""

ENTRIES_MAX = 100_000
"""Names in one directory that a guest may list; they are held in memory."""

READ_BYTES_MAX = 1024 * 1024
"""Bytes of one reading, whatever is asked for."""

_CODES = {
    errno.EACCES: "access", errno.EAGAIN: "would-block", errno.EBADF: "bad-descriptor",
    errno.EBUSY: "busy", errno.EDQUOT: "quota", errno.EEXIST: "exist",
    errno.EFBIG: "file-too-large", errno.EILSEQ: "illegal-byte-sequence",
    errno.EINVAL: "invalid", errno.EISDIR: "is-directory", errno.ELOOP: "loop",
    errno.EMFILE: "insufficient-memory", errno.ENFILE: "insufficient-memory",
    errno.EMLINK: "too-many-links", errno.ENAMETOOLONG: "name-too-long",
    errno.ENODEV: "no-device", errno.ENOENT: "no-entry", errno.ENOMEM: "insufficient-memory",
    errno.ENOSPC: "insufficient-space", errno.ENOTDIR: "not-directory",
    errno.ENOTEMPTY: "not-empty", errno.EOVERFLOW: "overflow", errno.EPERM: "not-permitted",
    errno.EROFS: "read-only", errno.ETXTBSY: "text-file-busy", errno.EXDEV: "cross-device",
}  # fmt: skip

_TYPES = {
    stat.S_IFBLK: "block-device", stat.S_IFCHR: "character-device", stat.S_IFDIR: "directory",
    stat.S_IFIFO: "fifo", stat.S_IFLNK: "symbolic-link", stat.S_IFREG: "regular-file",
    stat.S_IFSOCK: "socket",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Granted:
    """A directory of this machine that a guest sees under `guest_path`."""

    guest_path: str
    path: Path
    is_writable: bool
    quota: Quota | None = None  # what guests may put there


@dataclass(slots=True)
class _Open:
    descriptor: int  # of the process; -1 for a listing
    is_writable: bool  # whether the grant allows to change it
    quota: Quota | None = None
    entries: Iterator[tuple[str, str]] | None = None  # a listing: type and name


class OpenFiles:
    """What one guest has open. One operation at a time; closing waits for none."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._is_working = False
        self._is_closed = False

    # --- quick -------------------------------------------------------------------------------

    def next_entry(self, listing: int) -> dict[str, str] | None:
        """Return type and name of the next entry of a listing, None at its end."""
        found = self._open.get(listing)
        entry = next(found.entries, None) if found and found.entries else None
        return None if entry is None else {"file-type": entry[0], "name": entry[1]}

    def is_writable(self, number: int) -> bool:
        """Tell whether a file or directory may be changed."""
        found = self._open.get(number)
        return found is not None and found.is_writable

    def close(self, number: int) -> None:
        """Close one; a number that is not open is ignored."""
        found = self._open.pop(number, None)
        if found is not None and found.descriptor >= 0:
            if found.quota is not None:
                found.quota.closed(found.descriptor)
            os.close(found.descriptor)

    def close_all(self) -> None:
        """Close all, at the end of the operation that is under way if there is one. Idempotent."""
        with self._lock:
            self._is_closed = True
            if self._is_working:
                return
        for number in list(self._open):
            self.close(number)

    # --- on a worker thread ------------------------------------------------------------------

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold off `close_all` while an operation runs.

        Raises:
            OSError: all is closed already.
        """
        with self._lock:
            if self._is_closed:
                raise OSError(errno.EBADF, "closed")
            self._is_working = True
        try:
            yield
        finally:
            with self._lock:
                self._is_working = False
                is_closed = self._is_closed
            if is_closed:
                self.close_all()

    def grant(self, granted: Granted) -> int:
        """Open a granted directory and return its number."""
        flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
        descriptor = os.open(granted.path, flags)
        return self._add(_Open(descriptor, granted.is_writable, granted.quota))

    def open_at(self, directory: int, path: str, mode: Sequence[str]) -> int:
        """Open a regular file or a directory and return its number; `mode` as in `host.wit`."""
        base = self._directory(directory)
        wishes_change = not {"write", "create", "truncate"}.isdisjoint(mode)
        if wishes_change and not base.is_writable:
            raise OSError(errno.EROFS, "granted read-only")
        if "create" in mode:
            _take(base, ENTRY_BYTES)
        flags = os.O_CLOEXEC | NO_FOLLOW | os.O_NONBLOCK | _flags(mode)
        with parent_of(base.descriptor, path, follow="follow" in mode) as (parent, name):
            descriptor = os.open(name, flags, 0o666, dir_fd=parent)
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            # Reading a pipe or a device could wait for ever.
            os.close(descriptor)
            raise OSError(errno.EPERM, "neither a file nor a directory")
        return self._add(_Open(descriptor, base.is_writable, base.quota))

    def read(self, number: int, length: int, offset: int) -> bytes:
        """Return at most `length` bytes, none at the end."""
        return os.pread(self._get(number).descriptor, min(length, READ_BYTES_MAX), _signed(offset))

    def write(self, number: int, data: bytes, offset: int | None) -> None:
        """Write all of the bytes at an offset, or at the end."""
        file = self._changeable(number)
        descriptor = file.descriptor
        size = os.fstat(descriptor).st_size
        at = size if offset is None else _signed(offset)
        _take(file, at + len(data) - size)
        rest = memoryview(data)
        while rest:
            written = os.pwrite(descriptor, rest, at)
            rest, at = rest[written:], at + written

    def resize(self, number: int, size: int) -> None:
        """Cut or extend a file."""
        file = self._changeable(number)
        _take(file, _signed(size) - os.fstat(file.descriptor).st_size)
        os.ftruncate(file.descriptor, size)

    def sync(self, number: int) -> None:
        """Return when what was written is on the disk."""
        os.fsync(self._get(number).descriptor)

    def stat(self, number: int) -> dict[str, Any]:
        """Return the facts about what is open."""
        return _facts(os.fstat(self._get(number).descriptor))

    def stat_at(self, directory: int, path: str, follow: bool) -> dict[str, Any]:
        """Return the facts about what a path leads to."""
        base = self._directory(directory)
        with parent_of(base.descriptor, path, follow=follow) as (parent, name):
            return _facts(os.stat(name, dir_fd=parent, follow_symlinks=False))

    def set_times(self, number: int, accessed: int | None, modified: int | None) -> None:
        """Set when a file was accessed and modified last, in ns since 1970; None leaves it."""
        descriptor = self._changeable(number).descriptor
        os.utime(descriptor, ns=_times(os.fstat(descriptor), accessed, modified))

    def set_times_at(
        self, directory: int, path: str, follow: bool, accessed: int | None, modified: int | None
    ) -> None:
        """Set the times of what a path leads to."""
        base = self._directory(directory)
        if not base.is_writable:
            raise OSError(errno.EROFS, "granted read-only")
        with parent_of(base.descriptor, path, follow=follow) as (parent, name):
            times = _times(os.stat(name, dir_fd=parent, follow_symlinks=False), accessed, modified)
            os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def list_directory(self, directory: int) -> int:
        """Return the number of a listing; names that are no Unicode text are left out."""
        entries: list[tuple[str, str]] = []
        with os.scandir(self._directory(directory).descriptor) as scan:
            for entry in scan:
                if len(entries) >= ENTRIES_MAX:
                    raise OSError(errno.EOVERFLOW, "too many names")
                if _is_text(entry.name):
                    entries.append((_type_of(entry), entry.name))
        entries.sort(key=lambda entry: entry[1])
        return self._add(_Open(-1, is_writable=False, entries=iter(entries)))

    def read_link(self, directory: int, path: str) -> str:
        """Return what a link says."""
        with parent_of(self._directory(directory).descriptor, path, follow=False) as (parent, name):
            target = os.readlink(name, dir_fd=parent)
        if target.startswith("/"):
            raise OSError(errno.EPERM, "a link to an absolute path")
        if not _is_text(target):
            raise OSError(errno.EILSEQ, "a link that is no text")
        return target

    def make_directory(self, directory: int, path: str) -> None:
        """Make a directory."""
        _take(self._directory(directory), ENTRY_BYTES)
        with self._change(directory, path) as (parent, name):
            os.mkdir(name, dir_fd=parent)

    def remove_directory(self, directory: int, path: str) -> None:
        """Remove an empty directory."""
        with self._change(directory, path) as (parent, name):
            os.rmdir(name, dir_fd=parent)

    def unlink(self, directory: int, path: str) -> None:
        """Remove what is no directory."""
        with self._change(directory, path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def rename(self, directory: int, path: str, to_directory: int, to_path: str) -> None:
        """Give another name, in the place of what has that name.

        Into a directory with a bound, a file is moved by copying it: so that it is counted.
        """
        if self._directory(directory).quota is not self._directory(to_directory).quota:
            raise OSError(errno.EXDEV, "directories with different bounds")
        with (
            self._change(directory, path) as (parent, name),
            self._change(to_directory, to_path) as (to_parent, to_name),
        ):
            os.rename(name, to_name, src_dir_fd=parent, dst_dir_fd=to_parent)

    # --- helpers -----------------------------------------------------------------------------

    def _add(self, opened: _Open) -> int:
        if len(self._open) >= FILES_MAX:
            if opened.descriptor >= 0:
                os.close(opened.descriptor)
            raise OSError(errno.EMFILE, "too many open files")
        if opened.quota is not None:
            opened.quota.opened(opened.descriptor)
        number = next(self._numbers)
        self._open[number] = opened
        return number

    def _get(self, number: int) -> _Open:
        found = self._open.get(number)
        if found is None or found.descriptor < 0:
            raise OSError(errno.EBADF, "not open")
        return found

    def _directory(self, number: int) -> _Open:
        found = self._get(number)
        if not stat.S_ISDIR(os.fstat(found.descriptor).st_mode):
            raise OSError(errno.ENOTDIR, "no directory")
        return found

    def _changeable(self, number: int) -> _Open:
        found = self._get(number)
        if not found.is_writable:
            raise OSError(errno.EROFS, "granted read-only")
        return found

    @contextmanager
    def _change(self, directory: int, path: str) -> Iterator[tuple[int, str]]:
        base = self._directory(directory)
        if not base.is_writable:
            raise OSError(errno.EROFS, "granted read-only")
        # A slash behind the name of a directory changes nothing here.
        with parent_of(base.descriptor, path.rstrip("/"), follow=False) as (parent, name):
            if name == ".":
                raise OSError(errno.EINVAL, "the directory itself")
            yield parent, name


def _take(opened: _Open, size: int) -> None:
    """Count bytes against the bound of a directory, if it has one.

    Raises:
        OSError: they do not fit.
    """
    if opened.quota is not None and size > 0:
        opened.quota.take(size)


def code_of(error: OSError) -> str:
    """Return the name of a failure in `wasi:filesystem`."""
    return _CODES.get(error.errno or 0, "io")


def _flags(mode: Sequence[str]) -> int:
    if "directory" in mode:
        return os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
    flags = os.O_RDONLY
    if "write" in mode:
        flags = os.O_RDWR if "read" in mode else os.O_WRONLY
    for name, flag in (("create", os.O_CREAT), ("exclusive", os.O_EXCL), ("truncate", os.O_TRUNC)):
        flags |= flag if name in mode else 0
    return flags


def _facts(status: os.stat_result) -> dict[str, Any]:
    return {
        "file-type": _TYPES.get(stat.S_IFMT(status.st_mode), "unknown"),
        "links": status.st_nlink,
        "size": status.st_size,
        "accessed": max(status.st_atime_ns, 0),
        "modified": max(status.st_mtime_ns, 0),
        "changed": max(status.st_ctime_ns, 0),
        "device": status.st_dev,
        "inode": status.st_ino,
    }


def _times(status: os.stat_result, accessed: int | None, modified: int | None) -> tuple[int, int]:
    """Return both times: those that are given, else those that are."""
    return (
        status.st_atime_ns if accessed is None else _signed(accessed),
        status.st_mtime_ns if modified is None else _signed(modified),
    )


def _type_of(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "symbolic-link"
    if entry.is_dir():
        return "directory"
    return "regular-file" if entry.is_file() else "unknown"


def _is_text(name: str) -> bool:
    """Tell whether a name of the system can be told to a guest."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _signed(number: int) -> int:
    """Return a place in a file.

    Raises:
        OSError: it is larger than files can be.
    """
    if number >= 2**63:
        raise OSError(errno.EINVAL, "an offset that is too large")
    return number
