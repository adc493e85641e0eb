"""What this host offers and occupies: processors, memory, labels. Offers are read once, at start.

Limits of the control group count, not those of the machine: a host in a container must not
promise what it will not get. Nothing here raises: what cannot be read is left out.
"""

from __future__ import annotations

import os
import platform
import time
from functools import cache
from pathlib import Path

from lattice.clock import Clock
from lattice.model.host import Capacity

CGROUP = Path("/sys/fs/cgroup")
"""The control group of this process, where the system mounts version 2."""

MEMORY_SHARE = 0.8
"""Share of the memory that replicas may be promised; the rest is for the host itself."""


STATM_BYTES_MAX = 256
"""Bytes of what the system tells of a process's memory: seven numbers."""


def standard_labels(machine: str) -> dict[str, str]:
    """Return the labels that every host carries, under the reserved prefix `lattice.`."""
    return {
        "lattice.arch": platform.machine().lower(),
        "lattice.machine": machine,
        "lattice.os": platform.system().lower(),
    }


def machine_id() -> str:
    """Return what the hosts of one machine share: the system's machine id, or its name."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        text = _text(path)
        if text:
            return text[:12]
    return platform.node() or "unknown"


def capacity(cpu_milli: int | None = None, memory_bytes: int | None = None) -> Capacity:
    """Return what replicas may take; arguments override what was found."""
    return Capacity(
        cpu_milli=cpu_milli if cpu_milli is not None else cpu_found_milli(),
        memory_bytes=(
            memory_bytes if memory_bytes is not None else int(memory_found_bytes() * MEMORY_SHARE)
        ),
    )


def cpu_found_milli(cgroup: Path = CGROUP) -> int:
    """Return the processors of this process in thousandths, by affinity and `cpu.max`."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _text(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        return min(cores * 1000, max(1, int(quota) * 1000 // int(period)))
    return cores * 1000


def memory_found_bytes(cgroup: Path = CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the memory of this process in bytes: the machine's, or its control group's limit."""
    total = _meminfo_bytes(_text(meminfo))
    limit = _text(cgroup / "memory.max")
    if not limit.isdigit():
        return total
    return min(total, int(limit)) if total else int(limit)


def out_of_memory_kills(cgroup: Path = CGROUP, vmstat: Path = Path("/proc/vmstat")) -> int:
    """Return how many processes the system has killed for want of memory: those of the control
    group where it counts them, else of the machine; 0 where the system does not tell.
    """
    events = _text(cgroup / "memory.events") or _text(vmstat)
    for line in events.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isdigit():
            return int(count)
    return 0


def resident_bytes() -> int:
    """Return the memory that this process occupies, 0 where the system does not tell.

    The file stays open: it is read for every report, and opening it takes far longer.
    """
    try:
        fields = os.pread(_open_statm(os.getpid()), STATM_BYTES_MAX, 0).split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


@cache
def _open_statm(pid: int) -> int:
    """Return the file by which the system tells what memory a process occupies.

    Raises:
        OSError: there is none here.
    """
    return os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)


class CpuMeter:
    """How much processor time this process takes, from one look to the next."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked_s = clock.monotonic_s()
        self._used_s = time.process_time()

    def used_milli(self) -> int:
        """Return the thousandths of a processor that were used on average since the last look.

        Child processes, such as those that compile, are not counted.
        """
        now_s, used_s = self._clock.monotonic_s(), time.process_time()
        elapsed_s, spent_s = now_s - self._looked_s, used_s - self._used_s
        self._looked_s, self._used_s = now_s, used_s
        return round(1000 * spent_s / elapsed_s) if elapsed_s > 0 else 0


def _meminfo_bytes(text: str) -> int:
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
