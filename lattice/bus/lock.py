"""A lock on a file that lasts exactly as long as the processes that hold it.

It is `flock`, which the system drops when the last descriptor is closed, however its holder died;
a descriptor that a child inherits keeps it. So a lock says who lives, which a file with a process
id in it cannot. For POSIX systems only.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from types import TracebackType

from lattice.errors import DeniedError

NOTE_BYTES_MAX = 4096
"""Bytes of the note in a lock file: a process id and an address."""


class FileLock:
    """An exclusive lock, held from construction until `close` and by children that inherit it."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            BlockingIOError: somebody holds it; `read_note` may say who.
            DeniedError: the file cannot be opened.
        """
        self.path = path
        try:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DeniedError(f"lock {path} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.descriptor)
            self.descriptor = -1
            raise
        self.write_note("")

    def write_note(self, note: str) -> None:
        """Leave a line for those who find the lock held."""
        content = note.encode()[:NOTE_BYTES_MAX]
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, content, 0)

    def close(self) -> None:
        """Give up this process's hold. Doing so twice is no error."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_note(path: Path) -> str:
    """Return the note that the holder of a lock left, or "" if it left none."""
    try:
        with path.open("rb") as file:
            return file.read(NOTE_BYTES_MAX).decode(errors="replace").strip()
    except OSError:
        return ""


def is_held_by(path: Path, pid: int) -> bool:
    """Tell whether a process has the file open, which for a held lock proves that it is a holder.

    Where the system does not show open files, the path of the lock's directory among the
    process's arguments stands in for that.
    """
    descriptors = Path(f"/proc/{pid}/fd")
    if not Path("/proc/self/fd").is_dir():
        return str(path.parent) in _command_line(pid)
    try:
        locked = path.stat()
        opened = [entry.stat() for entry in descriptors.iterdir() if entry.exists()]
    except OSError:
        return False
    return any(os.path.samestat(locked, found) for found in opened)


def _command_line(pid: int) -> str:
    shown = subprocess.run(  # noqa: S603 - a fixed program with a number
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout
