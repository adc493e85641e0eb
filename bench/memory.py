"""What memory of this process is its own."""

from __future__ import annotations

from pathlib import Path

from bench.case import UnavailableError


def private_bytes(kind: str = "Private_") -> int:
    """Return the memory that is this process's own; of one kind, such as `Private_Dirty`.

    Raises:
        UnavailableError: this machine does not tell.
    """
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        message = "memory is read in /proc/self/smaps_rollup, which is not here"
        raise UnavailableError(message) from None
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))
