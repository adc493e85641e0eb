"""Builds the adapter that gives guests `wasi:http`, and the driver that hands them requests.

    python -m hosts.adapters.http.build

It writes `adapter.wasm`, `lean.wasm` (which has no files and sockets, so that instances are made
sooner) and `driver.wasm` beside the sources; the same sources yield the same bytes. The files are
committed, so that nobody who runs a host needs a compiler.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from hosts.adapters.wasi import build as wasi

HERE = Path(__file__).resolve().parent
ADAPTER = HERE / "adapter.wasm"
LEAN = HERE / "lean.wasm"
DRIVER = HERE / "driver.wasm"


def build(name: str) -> bytes:
    """Return the component `adapter`, `lean` or `driver`, compiled from its sources.

    Raises:
        FileNotFoundError: wasm-tools is not installed in this Python's environment.
        subprocess.CalledProcessError: a tool refuses the sources; its output was shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        wit = Path(folder) / "wit"
        shutil.copytree(HERE / "wit", wit)
        shutil.copytree(wasi.HERE / "wit" / "deps", wit / "deps", dirs_exist_ok=True)
        shutil.copy(wasi.HERE / "wit" / "host.wit", wit / "deps" / "wasi-host.wit")
        return wasi.build_halved(HERE / f"{name}.c", wit, name)


if __name__ == "__main__":
    for each in (ADAPTER, LEAN, DRIVER):
        each.write_bytes(build(each.stem))
        sys.stdout.write(f"{each.stat().st_size} bytes, written to {each}\n")
