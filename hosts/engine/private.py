"""A directory of this user alone: its key, and files that appear whole or not at all.

What lies here is trusted as far as the key vouches for it; whoever can read the key can run code as
this user anyway. It knows nothing of what the files mean.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from lattice.errors import InvalidError

KEY_BYTES = 32
KEY_FILE = "key"
NEW_PREFIX = ".new-"
"""What the names of files begin with that are not finished."""


def make_private(directory: Path) -> None:
    """Make a directory that only this user can enter, or check that it is one.

    Raises:
        InvalidError: it cannot be made, or belongs to somebody else.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            raise InvalidError(
                f"the code cache {directory} belongs to user {status.st_uid}: choose another"
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            directory.chmod(0o700)
            # Others may have read the key while the directory was open: what it sealed is void.
            (directory / KEY_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise InvalidError(f"cannot make the code cache {directory}: {error}") from None


def read_key(directory: Path) -> bytes:
    """Return the key of a directory, made when there is none; of two processes one key wins.

    Raises:
        InvalidError: it cannot be read or made.
    """
    path = directory / KEY_FILE
    try:
        if not _is_usable_key(path):
            path.unlink(missing_ok=True)
            made = _write_temporary(path, secrets.token_bytes(KEY_BYTES))
            with contextlib.suppress(FileExistsError):  # another process was quicker
                path.hardlink_to(made)
            made.unlink()
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"cannot make the key of the code cache {path}: {error}") from None


def _is_usable_key(path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return status.st_size == KEY_BYTES and not stat.S_IMODE(status.st_mode) & 0o077


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    _write_temporary(path, content).replace(path)


def _write_temporary(path: Path, content: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=NEW_PREFIX)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError:  # a full disk: what was written must not fill it for ever
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
