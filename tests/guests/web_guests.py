"""Guests in C that answer HTTP, kept under `.build/` beside a digest of their sources."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from hosts.adapters.wasi.build import build_world

FOLDER = Path(__file__).parent / "web"
BUILD = Path(__file__).parents[2] / ".build" / "tests"


@cache
def hello() -> bytes:
    """Return the guest that answers each request with `Hello, world!`."""
    return _built("hello")


@cache
def paths() -> bytes:
    """Return the guest that does by path what a guest may do with a request; see `web/paths.c`."""
    return _built("paths")


def _built(name: str) -> bytes:
    sources = [FOLDER / f"{name}.c", FOLDER / "web.h", FOLDER / "web.wit"]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    path = BUILD / f"{name}-{digest}.wasm"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(build_world(FOLDER / f"{name}.c", FOLDER / "web.wit", "web"))
        unfinished.replace(path)
    return path.read_bytes()
