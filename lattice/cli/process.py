"""What long-running verbs share: ending on a signal or with the parent, and logging to stderr.

A first SIGINT or SIGTERM ends the work cleanly, a second one at once.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from lattice.cli import exits

LOG_VARIABLE = "LATTICE_LOG"
"""Names the least level that processes log: debug, info (the default), warning or error."""

NOTIFY_VARIABLE = "NOTIFY_SOCKET"
"""Where a service manager listens for "ready" (systemd, sd_notify(3)); unset, nobody does."""

STATE_VARIABLE = "XDG_STATE_HOME"
CACHE_VARIABLE = "XDG_CACHE_HOME"
DATA_VARIABLE = "XDG_DATA_HOME"

FILES_MAX = 1_048_576
"""Open files that a host asks for, where the hard limit allows more: the default of 1024 is too few
for a connection each, and a limit in the billions makes starting a process slow on some systems."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def run_until_stopped(
    work: Callable[[], Awaitable[None]],
    *,
    ends_with_parent: bool = False,
    at_once: Callable[[], None] = lambda: None,
) -> bool:
    """Run `work` until it ends or is told to; return whether a signal or the parent ended it.

    `at_once` is called before a second signal ends this process without further ado.

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
                        at_once()
                        os._exit(exits.INTERRUPTED)
                    stop(inner)

        async def watch_parent() -> None:
            await until_parent_ends()
            stop(inner)

        group.start_soon(listen)
        if ends_with_parent:
            group.start_soon(watch_parent)
        with inner:
            await work()
        group.cancel_scope.cancel()
    return stopped


async def until_parent_ends() -> None:
    """Return when whoever holds the other end of the standard input has ended."""
    descriptor = sys.stdin.fileno()
    while True:
        await anyio.wait_readable(descriptor)
        if not os.read(descriptor, 4096):
            return


def log_failed_requests_only() -> None:
    """Leave requests over HTTP that went well out of the log."""
    logging.getLogger("hosts.http.accesslog").setLevel(logging.WARNING)


def log_to_stderr(name: str = "") -> None:
    """Send the log of this process to stderr, one line each, with its name if others write too."""
    level = os.environ.get(LOG_VARIABLE, "info").upper()
    said = f"{name} ".replace("%", "%%") if name else ""
    logging.basicConfig(
        stream=sys.stderr,
        level=level if level in logging.getLevelNamesMapping() else logging.INFO,
        format=f"%(asctime)s %(levelname)-7s {said}%(name)s %(message)s",
    )


def allow_many_files() -> None:
    """Raise this process's limit of open files to what the system lets it have."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as exc:
        logging.getLogger(__name__).warning("the limit of open files stays at %d: %s", soft, exc)


def tell_ready() -> None:
    """Tell the service manager, if there is one that wants to know, that this process is ready."""
    address = os.environ.get(NOTIFY_VARIABLE, "")
    if not address:
        return
    if address.startswith("@"):  # a name without a file (Linux)
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(b"READY=1", address)
    except OSError as exc:
        logging.getLogger(__name__).warning("the service manager was not told: %s", exc)


def state_directory(lattice: str) -> Path:
    """Return where processes of a lattice keep their state unless told otherwise (XDG)."""
    base = os.environ.get(STATE_VARIABLE) or "~/.local/state"
    return Path(base).expanduser().absolute() / "lattice" / lattice


def cache_directory() -> Path:
    """Return where this user keeps what can be made again, such as compiled code (XDG)."""
    base = os.environ.get(CACHE_VARIABLE) or "~/.cache"
    return Path(base).expanduser().absolute() / "lattice"


def data_directory() -> Path:
    """Return where this user keeps what is to last, such as an authority that is trusted (XDG)."""
    base = os.environ.get(DATA_VARIABLE) or "~/.local/share"
    return Path(base).expanduser().absolute() / "lattice"


def certificate_directory() -> Path:
    """Return where this user's authority for `localhost` and its certificates are."""
    return data_directory() / "certificates"
