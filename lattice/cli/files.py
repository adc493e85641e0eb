"""Files that a command line names."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from lattice.cli.output import size_text
from lattice.errors import InvalidError

FILE_BYTES_MAX = 1024**3
"""Bytes of a component file that is read: the same as one that is uploaded."""

_PART_BYTES = 16 * 1024**2
"""Bytes that are read at a time: nearly all files are read at once."""


def read_component_file(file: Path) -> bytes:
    """Return the bytes of a component.

    Raises:
        InvalidError: the file cannot be read, or is too large.
    """
    try:
        is_too_large = file.stat().st_size > FILE_BYTES_MAX
        with file.open("rb") as opened:
            body = b"" if is_too_large else _read_all(opened)
    except OSError as exc:
        raise InvalidError(f"cannot read {file}: {exc.strerror}") from None
    if is_too_large or len(body) > FILE_BYTES_MAX:
        raise InvalidError(f"{file} is larger than {size_text(FILE_BYTES_MAX)}")
    return body


def _read_all(opened: BinaryIO) -> bytes:
    """Return all bytes, or somewhat more than `FILE_BYTES_MAX`: pipes and devices tell no size."""
    parts: list[bytes] = []
    left = FILE_BYTES_MAX
    while left >= 0 and (part := opened.read(_PART_BYTES)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
