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

from hosts.adapters.halving import halved

HERE = Path(__file__).resolve().parent
ADAPTER = HERE / "adapter.wasm"

_COMPILE = (
    "-target", "wasm32-freestanding", "-nostdlib", "-std=c17", "-O2", "-s",
    "-Wall", "-Wextra", "-Werror",
    "-Wl,--no-entry",
    # Nothing recurses. With all else that is there from the start it fits in one page: an instance
    # is made the sooner the less memory it has.
    "-Wl,-z,stack-size=16384", "-Wframe-larger-than=1024",
)  # fmt: skip


def build() -> bytes:
    """Return the component, compiled from its sources.

    Raises:
        FileNotFoundError: wasm-tools is not installed in this Python's environment.
        subprocess.CalledProcessError: a tool refuses the sources; its output was shown.
    """
    return build_halved(HERE / "adapter.c", HERE / "wit", "adapter")


def build_halved(source: Path, wit: Path, world: str) -> bytes:
    """Return the same as `build_world`, whose instances are made sooner; errors as `build`.

    Raises:
        ValueError: a destructor of the world asks the host for more than numbers.
    """
    component = build_world(source, wit, world)
    with tempfile.TemporaryDirectory() as folder:
        whole, text, named, half = (
            Path(folder) / name for name in ("whole.wasm", "half.wat", "named.wasm", "half.wasm")
        )
        whole.write_bytes(component)
        _run(_tool(), "print", str(whole), "-o", str(text))
        text.write_text(halved(text.read_text()))
        _run(_tool(), "parse", str(text), "-o", str(named))
        _run(_tool(), "strip", "--all", str(named), "-o", str(half))
        _run(_tool(), "validate", str(half))
        return half.read_bytes()


def build_world(source: Path, wit: Path, world: str) -> bytes:
    """Return the component that a C file makes of a world; errors as `build`."""
    tool = _tool()
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


def _tool() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "wasm-tools")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 (our own tools and files)


if __name__ == "__main__":
    ADAPTER.write_bytes(build())
    sys.stdout.write(f"{ADAPTER.stat().st_size} bytes, written to {ADAPTER}\n")
