"""What a piece of work cost besides time: processor time, switches, and instructions.

Own process and ended children are read from `getrusage`, servers from `/proc` (Linux); what a
machine does not tell is absent, never zero.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

_PERF_LIMIT_S = 120
"""Seconds for one counted run in a child process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Readings since some moment; the difference of two is the cost of what lay between."""

    cpu_s: float  # of this process
    children_cpu_s: float  # of its children that ended
    servers_cpu_s: float  # of the named servers
    voluntary_switches: float  # waits, of this process and its ended children
    involuntary_switches: float  # somebody else took the processor

    def since(self, before: Cost) -> Cost:
        """Return what was spent since an earlier reading."""
        # A server that ended in between takes its readings with it; nothing costs less than zero.
        return Cost(
            **{
                each.name: max(0.0, getattr(self, each.name) - getattr(before, each.name))
                for each in fields(self)
            }
        )


def read_cost(servers: Mapping[str, int]) -> Cost:
    """Return the present readings of this process, its ended children and the servers."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(
        cpu_s=own.ru_utime + own.ru_stime,
        children_cpu_s=children.ru_utime + children.ru_stime,
        servers_cpu_s=sum(_server_cpu_s(pid) for pid in servers.values()),
        voluntary_switches=own.ru_nvcsw + children.ru_nvcsw,
        involuntary_switches=own.ru_nivcsw + children.ru_nivcsw,
    )


def summary(
    costs: Sequence[Cost], elapsed_s: Sequence[float], operations: float
) -> dict[str, float]:
    """Return the mean cost of one operation over all samples.

    `wait_s` is the time in which neither this process nor its children ran.
    """
    total = {
        name: sum(getattr(cost, name) for cost in costs) / operations for name in asdict(costs[0])
    }
    busy = total["cpu_s"] + total["children_cpu_s"]
    return total | {"wait_s": max(0.0, sum(elapsed_s) / operations - busy)}


def count_instructions(command: Sequence[str]) -> int | None:
    """Return the user-space instructions of a command, or None where `perf` does not count them."""
    try:
        done = subprocess.run(
            ["perf", "stat", "-x", ",", "-e", "instructions:u", *command],
            capture_output=True,
            text=True,
            timeout=_PERF_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_perf(done.stderr)


def parse_perf(text: str) -> int | None:
    """Return the count in the output of `perf stat -x,`, or None when there is none."""
    for line in text.splitlines():
        columns = line.split(",")
        if len(columns) > 2 and columns[2].startswith("instructions") and columns[0].isdigit():
            return int(columns[0])
    return None


def _server_cpu_s(pid: int) -> float:
    total_ns = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total_ns += int(path.read_text().split()[0])
        except (OSError, IndexError, ValueError):
            continue  # The thread ended between the listing and the reading.
    return total_ns / 1e9
