"""The process of an embedded nats-server: starting it on its directory, and ending it.

It proves with a lock that no other server uses the directory. It knows nothing of users.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL

import anyio
import anyio.abc

from lattice.bus.broker_files import BrokerFiles, BrokerLimits, write_configuration
from lattice.bus.lock import FileLock, is_held_by, read_note
from lattice.errors import ConflictError, UnavailableError

START_S = 15.0
"""Seconds from the start of the process until it must answer; 20 ms is usual, more with data."""

STOP_S = 10.0
"""Seconds that a server gets to end by itself before it is killed, unless its owner says less."""

_PAUSE_FIRST_S = 0.002
_PAUSE_GROWTH = 1.5
_PAUSE_MAX_S = 0.05


class BrokerProcess:
    """At most one nats-server at a time on one directory; `port` is that of the last start."""

    def __init__(
        self, binary: Path, files: BrokerFiles, *, lattice: str, stop_s: float = STOP_S
    ) -> None:
        self.port = 0
        self._binary = binary
        self._files = files
        self._lattice = lattice
        self._stop_s = stop_s
        self._process: anyio.abc.Process | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the server, 0 when it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    async def start(
        self, port: int, *, is_port_asked: bool, limits: BrokerLimits, take_over: bool
    ) -> None:
        """Start the server and return when it listens.

        A taken `port` is replaced by a free one unless it was asked for. `take_over` ends a server
        that outlived its owner; the caller has made sure that there is no owner now.

        Raises:
            ConflictError: another server uses the directory, or the asked port is taken.
            UnavailableError: the server ended or does not listen; the end of its log is shown.
        """
        with await self._lock(take_over=take_over) as lock:
            try:
                await self._launch(port, limits, lock)
            except _PortTakenError:
                if is_port_asked:
                    raise ConflictError(f"port {port} of 127.0.0.1 is taken", port=port) from None
                await self._launch(-1, limits, lock)

    async def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """End the server, with SIGKILL if it takes too long; none running is no error."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):  # it ended this moment
                process.send_signal(signal_number)
            with anyio.move_on_after(self._stop_s):
                await process.wait()
                return
            process.kill()
            await process.wait()

    async def wait(self) -> int:
        """Return the exit status once the server has ended, for whatever reason."""
        assert self._process is not None, "the broker was never started"
        return await self._process.wait()

    async def _lock(self, *, take_over: bool) -> FileLock:
        """Take the lock that the server will inherit; it proves that the last one has ended."""
        path = self._files.broker_lock
        try:
            return FileLock(path)
        except BlockingIOError:
            note = read_note(path)
        pid = int(note) if note.isdigit() else 0
        if not take_over or not pid or not is_held_by(path, pid):
            command = f"kill {pid}" if pid else f"fuser -k {path}"
            raise ConflictError(
                f"a nats-server (process {pid or 'unknown'}) that outlived its owner still uses "
                f"{self._files.directory}: end it with {command!r}",
                pid=pid,
            )
        os.kill(pid, signal.SIGTERM)
        for pause_s in growing_pauses(STOP_S):
            try:
                return FileLock(path)
            except BlockingIOError:
                await anyio.sleep(pause_s)
        raise ConflictError(
            f"nats-server (process {pid}) did not end {STOP_S:g} s after SIGTERM: "
            f"end it with 'kill -9 {pid}'",
            pid=pid,
        )

    async def _launch(self, port: int, limits: BrokerLimits, lock: FileLock) -> None:
        files = self._files
        write_configuration(files, lattice=self._lattice, port=port, limits=limits)
        files.forget_ports()
        command = [str(self._binary), "-c", str(files.configuration)]
        with files.output.open("wb") as output:
            self._process = await anyio.open_process(
                [*command, "--ports_file_dir", str(files.directory)],
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # else Ctrl-C ends it before the hosts have drained
                pass_fds=(lock.descriptor,),
            )
        lock.write_note(str(self._process.pid))
        for pause_s in growing_pauses(START_S):
            if (found := files.port_of(self._process.pid)) is not None:
                self.port = found
                return
            if self._process.returncode is not None:
                raise self._early_end(self._process.returncode)
            await anyio.sleep(pause_s)
        raise UnavailableError(
            f"nats-server did not listen within {START_S:g} s; it said:\n{files.tail()}"
        )

    def _early_end(self, status: int) -> Exception:
        said = self._files.tail()
        if "address already in use" in said.rpartition("Starting nats-server")[2]:
            return _PortTakenError()
        return UnavailableError(
            f"nats-server ended with status {status} instead of starting in "
            f"{self._files.directory}; it said:\n{said}"
        )


class _PortTakenError(Exception):
    """Another program listens on the port."""


def growing_pauses(total_s: float) -> list[float]:
    """Return pauses between looks at something, first short then longer, `total_s` in all."""
    pauses = [_PAUSE_FIRST_S]
    while sum(pauses) < total_s:
        pauses.append(min(pauses[-1] * _PAUSE_GROWTH, _PAUSE_MAX_S))
    return pauses
