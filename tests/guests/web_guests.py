"""Guests in C that answer HTTP, kept under `.build/` beside a digest of their sources."""

from __future__ import annotations

import hashlib
import os
import tempfile
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


@cache
def stable_paths() -> bytes:
    """Return the guest of `paths` without informational answers, which not every host knows."""
    return _built("stable", "paths")


@cache
def hello_of(version: str) -> bytes:
    """Return `hello` as a toolchain makes it that has another version of WASI, such as `0.2.7`."""
    return _built("hello", version=version)


@cache
def paths_of(version: str) -> bytes:
    """Return `paths` as a toolchain makes it that has another version of WASI."""
    return _built("paths", version=version)


@cache
def asker() -> bytes:
    """Return what answers no HTTP, but sends requests: `test:web/asking#ask`."""
    return _built("asker")


@cache
def courier() -> bytes:
    """Return the command that sends a request to `AUTHORITY` and prints what it got."""
    return _built("courier")


@cache
def front() -> bytes:
    """Return the guest that answers with what `test:web/asking` of another component returns."""
    return _built("front")


@cache
def layer() -> bytes:
    """Return the guest that informs the client and has the next one answer; see `web/layer.c`."""
    return _built("layer")


@cache
def seer() -> bytes:
    """Return the guest that answers with what it sees, and counts its requests."""
    return _built("seer")


@cache
def faults() -> bytes:
    """Return the guest that does by path what no guest may; see `web/faults.c`."""
    return _built("faults")


@cache
def types() -> bytes:
    """Return the guest that tries the functions of `wasi:http/types`; see `web/types.c`."""
    return _built("types")


_WORLDS = {
    "asker": "asker",
    "courier": "courier",
    "front": "front",
    "layer": "layer",
    "seer": "seer",
}
"""The worlds of those that do more or less than answer."""


def _built(name: str, *included: str, version: str = "0.2.0") -> bytes:
    parts = [FOLDER / f"{part}.c" for part in (name, *included)]
    paths = [*parts, *sorted(FOLDER.glob("*.h")), FOLDER / "web.wit"]
    sources = {path.name: path.read_text().replace("@0.2.0", f"@{version}") for path in paths}
    digest = hashlib.sha256("".join(sources.values()).encode()).hexdigest()[:16]
    path = BUILD / f"{name}-{digest}.wasm"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            for each, source in sources.items():
                (folder / each).write_text(source)
            world = _WORLDS.get(name, "web")
            unfinished.write_bytes(build_world(folder / f"{name}.c", folder / "web.wit", world))
        unfinished.replace(path)
    return path.read_bytes()
