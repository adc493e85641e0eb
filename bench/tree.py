"""A server with all its processes: their processor time and memory, and when they have settled.

Reads `/proc`, so it is for Linux alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import anyio

TICKS_S = os.sysconf("SC_CLK_TCK")

SETTLED_SHARE = 0.03
"""Of one processor: a server that uses less is done with compiling what it loaded."""

LOOK_S = 0.5
"""Seconds for which a server must be that quiet."""

SETTLE_LIMIT_S = 150.0
"""Seconds until a server must have settled: two optimised compilations of a large guest."""

_PEAK_ANEW = "5"  # what `clear_refs` takes (Linux, proc(5))


class ProcessTree:
    """A process and all that it has started, looked up anew at each reading."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def cpu_s(self) -> float:
        """Return the processor seconds of all of them, of user and of system, so far."""
        # Of a thread or child that ended the time stays with its process.
        fields = [_stat(pid) for pid in self.pids()]
        return sum(sum(int(field) for field in each[11:15]) for each in fields if each) / TICKS_S

    def peak_bytes(self) -> int:
        """Return the sum of the most memory that each has had resident since `forget_peak`."""
        return sum(_peak_bytes(pid) for pid in self.pids())

    def forget_peak(self) -> None:
        """Have peaks counted from now on."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text(_PEAK_ANEW)

    def pids(self) -> list[int]:
        """Return the process and those that descend from it."""
        parents = dict(_parents())
        found = [self._pid]
        for pid in found:  # grows while it is walked
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    async def settled(self) -> None:
        """Return when they have been quiet for a moment.

        Raises:
            TimeoutError: they are busy for too long.
        """
        with anyio.fail_after(SETTLE_LIMIT_S):
            used_s = LOOK_S
            while used_s > SETTLED_SHARE * LOOK_S:
                before_s = self.cpu_s()
                await anyio.sleep(LOOK_S)
                used_s = self.cpu_s() - before_s


def _parents() -> Iterator[tuple[int, int]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            yield int(entry.name), int(fields[1])


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, none for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
