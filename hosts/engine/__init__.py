"""Compiles and runs components: the only package that knows wasmtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hosts.engine.base import Engine


def create_engine(cache_directory: Path) -> Engine:
    """Return the engine of this release; compiled code is kept in `cache_directory` (0700).

    It compiles in child processes only: wasmtime's validator can be brought to abort its process.
    """
    from hosts.engine.wasmtime_engine import WasmtimeEngine

    return WasmtimeEngine(cache_directory, in_process_bytes_max=0)
