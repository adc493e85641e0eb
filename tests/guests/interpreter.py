"""A guest in Python that runs the source text it is given, with all of WASI, not stubbed.

It takes some ten seconds to build, so it is kept under `.build/` beside a digest of its sources.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sysconfig
from pathlib import Path

FOLDER = Path(__file__).parent / "python"
BUILD = Path(__file__).parents[2] / ".build" / "tests"

INTERPRETER = "test:python/interpreter@0.1.0"
"""Its interface: run(source: string) -> result<string, string>."""

_SOURCES = ("app.py", "python.wit")


def interpreter() -> bytes:
    """Return the component, built unless an earlier run has built it from the same sources."""
    path = BUILD / f"interpreter-{_digest()}.wasm"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        tool = Path(sysconfig.get_path("scripts")) / "componentize-py"
        wit: list[str | Path] = ["--wit-path", FOLDER / "python.wit", "--world", "python"]
        build: list[str | Path] = ["componentize", "--python-path", FOLDER, "app"]
        subprocess.run([tool, *wit, *build, "--output", unfinished], check=True)
        unfinished.replace(path)
    return path.read_bytes()


def _digest() -> str:
    digest = hashlib.sha256(importlib.metadata.version("componentize-py").encode())
    for name in _SOURCES:
        digest.update((FOLDER / name).read_bytes())
    return digest.hexdigest()[:16]
