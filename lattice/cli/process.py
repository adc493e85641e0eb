"""What long-running verbs share: ending on a signal or with the parent, and logging to stderr.

A first SIGINT or SIGTERM ends the work cleanly, a second one at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from lattice.cli import exits

LOG_VARIABLE = "LATTICE_LOG"
"""Names the least level that processes log: debug, info (the default), warning or error."""

STATE_VARIABLE = "XDG_STATE_HOME"
CACHE_VARIABLE = "XDG_CACHE_HOME"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def run_until_stopped(
    work: Callable[[], Awaitable[None]], *, ends_with_parent: bool = False
) -> bool:
    """Run `work` until it ends or is told to; return whether a signal or the parent ended it.

    With `ends_with_parent` the end of the standard input is such a word: whoever started this
    process holds the other end and never writes, so that not even its SIGKILL leaves us behind.
    """
    stopped = False

    def stop(scope: anyio.CancelScope) -> None:
        nonlocal stopped
        stopped = True
        scope.cancel()

    async with anyio.create_task_group() as group:
        inner = anyio.CancelScope()

        async def listen() -> None:
            with anyio.open_signal_receiver(*_SIGNALS) as received:
                async for _ in received:
                    if stopped:
                        os._exit(exits.INTERRUPTED)
                    stop(inner)

        async def watch_parent() -> None:
            descriptor = sys.stdin.fileno()
            while True:
                await anyio.wait_readable(descriptor)
                if not os.read(descriptor, 4096):
                    stop(inner)
                    return

        group.start_soon(listen)
        if ends_with_parent:
            group.start_soon(watch_parent)
        with inner:
            await work()
        group.cancel_scope.cancel()
    return stopped


def log_to_stderr() -> None:
    """Send the log of this process to stderr, one line each."""
    level = os.environ.get(LOG_VARIABLE, "info").upper()
    logging.basicConfig(
        stream=sys.stderr,
        level=level if level in logging.getLevelNamesMapping() else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s %(message)s",
    )


def state_directory(lattice: str) -> Path:
    """Return where processes of a lattice keep their state unless told otherwise (XDG)."""
    base = os.environ.get(STATE_VARIABLE) or "~/.local/state"
    return Path(base).expanduser().absolute() / "lattice" / lattice


def cache_directory() -> Path:
    """Return where this user keeps what can be made again, such as compiled code (XDG)."""
    base = os.environ.get(CACHE_VARIABLE) or "~/.cache"
    return Path(base).expanduser().absolute() / "lattice"
