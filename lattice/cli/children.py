"""Child processes of `lattice up`: hosts and schedulers as the same executable.

Each is a session of its own, so that Ctrl-C reaches only the parent, which ends them in order;
and each ends by itself when the parent is gone (see `run_until_stopped`).
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread

from hosts.engine.heap import tuned

TAIL_BYTES = 4096
"""Bytes of a child's log that are shown when it died."""

LOG_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of a child's log, after which it is begun anew; the one before is kept beside it as
`NAME.log.1`, so that twice as many are the most that a child takes."""

LOG_LOOK_S = 5.0
"""Seconds between two looks at how large the logs are: a child that logs as fast as a disk takes
it is some gigabytes late at worst, and any other one is on time."""

TAIL_LINES = 12
"""Lines of it at most."""

_log = logging.getLogger(__name__)

_KEPT_VARIABLES = frozenset(
    {"LATTICE_CONFIG_HOME", "LATTICE_DEBUG", "LATTICE_ENGINE", "LATTICE_LOG"}
)
"""What children take over of our environment: where the context is that they are given, how much
they say, and how the engine converts values (`hosts.engine`). All other settings come as words."""


@dataclass(slots=True, kw_only=True)
class Child:
    """One running child. `is_stopping` tells its watcher that its end is wanted."""

    name: str
    process: anyio.abc.Process
    log: Path
    is_stopping: bool = False

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self.process.pid

    def ask_to_stop(self) -> None:
        """Send SIGTERM, once."""
        if not self.is_stopping and self.process.returncode is None:
            self.is_stopping = True
            self.process.terminate()

    async def stopped(self, timeout_s: float) -> None:
        """Return when it has ended; it is killed after `timeout_s`."""
        with anyio.move_on_after(timeout_s):
            await self.process.wait()
            return
        self.process.kill()
        await self.process.wait()

    def ended_text(self) -> str:
        """Return how it ended, for people, with the end of its log."""
        status = self.process.returncode
        if status is not None and status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        tail = log_tail(self.log)
        return f"{self.name} (pid {self.pid}) {how}" + (f"; its log ends:\n{tail}" if tail else "")


async def start_child(name: str, words: Sequence[str], log: Path) -> Child:
    """Start `lattice WORDS...` as a child that ends with us; its output goes to `log`."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("LATTICE_") or key in _KEPT_VARIABLES
    }
    rotate(log)
    with log.open("ab") as output:
        process = await anyio.open_process(
            [sys.executable, "-m", "lattice", *words, "--ends-with-parent"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=tuned(environment),
            start_new_session=True,
        )
    return Child(name=name, process=process, log=log)


def rotate(log: Path) -> None:
    """Begin a log that is too large anew, and keep what it held beside it.

    A child goes on writing where it began, so the file is copied and emptied, not renamed; what
    it writes between the two is lost.

    Raises:
        OSError: the disk is full or the file cannot be written; the log stays as it is.
    """
    try:
        if log.stat().st_size <= LOG_BYTES_MAX:
            return
    except FileNotFoundError:
        return
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


async def keep_logs_small(children: Mapping[str, Child]) -> None:
    """Begin the logs of children anew whenever they are too large, until cancelled.

    `children` may change meanwhile.
    """
    while True:
        await anyio.sleep(LOG_LOOK_S)
        for child in tuple(children.values()):
            try:
                await anyio.to_thread.run_sync(rotate, child.log)
            except OSError as exc:
                _log.warning("log %s stays as it is: %s", child.log, exc.strerror)


def log_tail(path: Path) -> str:
    """Return the last lines of a log, indented; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
