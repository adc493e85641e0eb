"""Builds the adapter that gives guests the standard interfaces of WASI 0.2.

    python -m hosts.adapters.wasi.build

It writes `adapter.wasm` beside the sources; the same sources yield the same bytes. The file is
committed, so that nobody who runs a host needs a compiler.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ADAPTER = HERE / "adapter.wasm"

_COMPILE = (
    "-target", "wasm32-freestanding", "-nostdlib", "-std=c17", "-O2", "-s",
    "-Wall", "-Wextra", "-Werror",
    "-Wl,--no-entry",
    "-Wl,-z,stack-size=65536",  # one page; nothing recurses
)  # fmt: skip


def build() -> bytes:
    """Return the component, compiled from its sources.

    Raises:
        FileNotFoundError: wasm-tools is not installed in this Python's environment.
        subprocess.CalledProcessError: a tool refuses the sources; its output was shown.
    """
    return build_world(HERE / "adapter.c", HERE / "wit", "adapter")


def build_world(source: Path, wit: Path, world: str) -> bytes:
    """Return the component that a C file makes of a world; errors as `build`."""
    tool = str(Path(sysconfig.get_path("scripts")) / "wasm-tools")
    with tempfile.TemporaryDirectory() as folder:
        module, embedded, named, component = (
            str(Path(folder) / f"{step}.wasm")
            for step in ("core", "embedded", "named", "component")
        )
        _run(sys.executable, "-m", "ziglang", "cc", *_COMPILE, str(source), "-o", module)
        _run(tool, "component", "embed", str(wit), module, "--world", world, "-o", embedded)
        _run(tool, "component", "new", embedded, "-o", named)
        _run(tool, "strip", "--all", named, "-o", component)  # the docs of its WIT
        return Path(component).read_bytes()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 (our own tools and files)


if __name__ == "__main__":
    ADAPTER.write_bytes(build())
    sys.stdout.write(f"{ADAPTER.stat().st_size} bytes, written to {ADAPTER}\n")
