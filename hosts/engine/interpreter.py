"""Refuses an interpreter that cannot run guests, before any of them runs.

It knows what the engine asks of Python, and nothing of wasmtime.
"""

from __future__ import annotations

import platform
import sys

Version = tuple[int, int, int]

OLDEST: Version = (3, 11, 0)
MISFIRING: Version = (3, 14, 0)
"""This one takes a stack pointer outside the thread's own stack for an overflow, and so ends a
process in which a guest, which has a stack of its own, calls the host (CPython gh-139653)."""


def check_interpreter(
    implementation: str = platform.python_implementation(),
    version: Version = sys.version_info[:3],
) -> None:
    """Return if guests can run in this interpreter.

    Raises:
        RuntimeError: it is not CPython, too old, or the one whose stack check misfires.
    """
    shown = ".".join(map(str, version))
    if implementation != "CPython":
        raise RuntimeError(f"guests need CPython, found {implementation} {shown}")
    if version < OLDEST:
        raise RuntimeError(f"guests need CPython 3.11 or newer, found {shown}")
    if version == MISFIRING:
        raise RuntimeError(
            "CPython 3.14.0 takes the stack of a guest for an overflow and would end the process: "
            "use 3.14.1 or newer, or 3.11 to 3.13"
        )
