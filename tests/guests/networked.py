"""Guests in C that use sockets, kept under `.build/` beside a digest of their sources.

`pool()` is a service that exports `test:counter/counter@0.1.0` (start, next, starts) and answers
`next` by asking a server at 127.0.0.1, port `POOL_PORT`, over four connections in turn. `server()`
is such a server: a process (`wasi:cli/run`).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "sockets"
BUILD = Path(__file__).parents[2] / ".build" / "tests"

_COMPILE = (
    "-target", "wasm32-freestanding", "-nostdlib", "-std=c17", "-O2", "-s",
    "-Wall", "-Wextra", "-Werror", "-Wl,--no-entry", "-Wl,-z,stack-size=65536",
)  # fmt: skip


def pool() -> bytes:
    """Return the service that keeps connections."""
    return _built("pool")


def server() -> bytes:
    """Return the process that serves them."""
    return _built("server")


@cache
def _built(name: str) -> bytes:
    sources = [FOLDER / f"{name}.c", FOLDER / "sockets.h", FOLDER / "sockets.wit"]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    path = BUILD / f"{name}-{digest}.wasm"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        _build(name, unfinished)
        unfinished.replace(path)
    return path.read_bytes()


def _build(name: str, component: Path) -> None:
    tool = Path(sysconfig.get_path("scripts")) / "wasm-tools"
    with tempfile.TemporaryDirectory() as folder:
        module, embedded = Path(folder) / "core.wasm", Path(folder) / "embedded.wasm"
        compiler = [sys.executable, "-m", "ziglang", "cc", *_COMPILE]
        subprocess.run([*compiler, FOLDER / f"{name}.c", "-o", module], check=True)
        embed: list[str | Path] = [tool, "component", "embed", FOLDER / "sockets.wit", module]
        subprocess.run([*embed, "--world", name, "-o", embedded], check=True)
        subprocess.run([tool, "component", "new", embedded, "-o", component], check=True)
