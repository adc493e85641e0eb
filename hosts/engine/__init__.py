"""Compiles and runs components: the only package that knows wasmtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hosts.engine.base import Engine


def create_engine(
    cache_directory: Path, *, optimises_later: bool = True, optimises_first: bool = False
) -> Engine:
    """Return the engine of this release; compiled code is kept in `cache_directory` (0700).

    It compiles in child processes only: wasmtime's validator can be brought to abort its process.
    A large component begins with code that is made quickly; better code follows in the background
    if it `optimises_later`, which only those want who make many instances. An engine that
    `optimises_first` waits for the best code in place of both.
    """
    from hosts.engine.tiers import HAS_BASELINE
    from hosts.engine.wasmtime_engine import WasmtimeEngine

    return WasmtimeEngine(
        cache_directory,
        has_baseline=HAS_BASELINE and not optimises_first,
        in_process_bytes_max=0,
        optimises_later=optimises_later,
    )
