"""The host's side of the WASI adapter: what one guest sees of the machine, and nothing else.

`hosts/adapters/wasi/wit/host.wit` says what each function does. Those of `SYSTEM` are answered on
the guest's own stack: they are quick. Those of `WAITING` suspend the guest: sleeping leaves the
event loop free, and what blocks on the disk runs on a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from hosts.engine.base import World
from hosts.engine.fetches import Outlet
from hosts.engine.files import FileSets
from hosts.engine.hostfn import OwnFunction
from hosts.engine.network.loopback import Loopback
from hosts.engine.network.table import Sockets
from hosts.engine.openfiles import Granted, OpenFiles, code_of
from hosts.engine.output import WrittenOutput, output_of
from lattice.component.types import ComponentType
from lattice.errors import GuestTrapError, InternalError, InvalidError

SYSTEM = "lattice:wasi-host/system@0.1.0"
WAITING = "lattice:wasi-host/waiting@0.1.0"

FILES_GUEST_PATH = "/files"

SLEEP_S_MAX = 3600.0
"""Longest single sleep; the adapter goes back to sleep until its instant has come."""

INPUT_BYTES_MAX = 64 * 1024
"""Bytes of one reading of the standard input: as many as a pipe holds."""

DISK_THREADS_MAX = 8
"""Guests of one process that wait for the disk at a time; others queue."""

_disk_threads: RunVar[anyio.CapacityLimiter | None] = RunVar("disk_threads", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemWorld(World):
    """The world of one instance, with what answers its adapter."""

    system: GuestSystem


class GuestSystem:
    """Clocks, output, files and the rest for one instance; closed with it."""

    def __init__(self, world: World, file_sets: FileSets, files: Path | None) -> None:
        self._world = world  # not that of the instance, which has this: nothing waits for the
        # collector of cycles when both are gone
        self._file_sets = file_sets
        self._files = files  # the directory that holds the files of the world
        self._granted = [] if files is None else [Granted(FILES_GUEST_PATH, files, False)]
        self._granted += [
            Granted(path, directory.path, directory.is_writable, directory.quota)
            for path, directory in sorted(world.directories.items())
        ]
        self._open_files = OpenFiles()
        self._stdout = output_of("info", world.log, world.stdout)
        self._stderr = output_of("warn", world.log, world.stderr)
        self._sockets: Sockets | None = None  # most guests use none, and are made often
        self._outlet: Outlet | None = None

    def world(self) -> SystemWorld:
        """Return what the instance is to be made with."""
        given = {each.name: getattr(self._world, each.name) for each in fields(World)}
        return SystemWorld(**given, system=self)

    @property
    def outputs(self) -> tuple[WrittenOutput, WrittenOutput]:
        """Return the output streams; they are drained and closed with the instance."""
        return self._stdout, self._stderr

    def close(self) -> None:
        """Close the guest's files and sockets. Called once."""
        if self._sockets is not None:
            self._sockets.close_all()
        if self._outlet is not None:
            self._outlet.close()
        self._open_files.close_all()
        if self._files is not None:
            self._file_sets.release(self._files)

    # --- answered on the spot ----------------------------------------------------------------

    def log_write(self, is_error: bool, frame: str) -> None:
        """Take output for the log."""
        (self._stderr if is_error else self._stdout).write(bytes_of(frame))

    def directories(self) -> list[tuple[int, str]]:
        """Open the granted directories; one that is gone is left out, with a line in the log."""
        opened: list[tuple[int, str]] = []
        for granted in self._granted:
            try:
                opened.append((self._open_files.grant(granted), granted.guest_path))
            except OSError as error:
                self._world.log("warn", f"{granted.guest_path} is not there: {error.strerror}")
        return opened

    @property
    def sockets(self) -> Sockets:
        """Return what the guest has open on the network."""
        if self._sockets is None:
            world = self._world
            loopback = Loopback() if world.loopback is None else world.loopback
            self._sockets = Sockets(world.network, loopback, world.log)
        return self._sockets

    @property
    def outlet(self) -> Outlet | None:
        """Return what the guest sends its HTTP requests by, None when it is granted none."""
        if self._outlet is None and self._world.outlet is not None:
            self._outlet = self._world.outlet()
        return self._outlet

    @property
    def open_files(self) -> OpenFiles:
        """Return the files and directories that the guest has open."""
        return self._open_files

    # --- while the guest is suspended --------------------------------------------------------

    async def wait(self, _interface: str, function: str, args: Sequence[Any]) -> Any:
        """Answer a function of `WAITING`."""
        if function == "sleep-until":
            await anyio.sleep(min(max(0, args[0] - time.monotonic_ns()) / 1e9, SLEEP_S_MAX))
            return None
        if function == "wait-ready":
            await self.sockets.wait(*args)
            return None
        if function == "read-input":
            return await self._read_input(args[0])
        operation = _OPERATIONS.get(function)
        if operation is None:
            raise InternalError(f"{WAITING} has no function {function}")

        def work() -> Any:
            try:
                with self._open_files.working():
                    return ["ok", operation(self._open_files, *args)]
            except OSError as error:
                return ["err", code_of(error)]

        # A cancelled guest does not wait for the disk; `OpenFiles` closes when it has answered.
        return await anyio.to_thread.run_sync(
            work, abandon_on_cancel=True, limiter=_limiter_of_disk()
        )

    async def _read_input(self, length: int) -> list[str]:
        stdin = self._world.stdin
        if stdin is None:
            return ["ok", ""]
        try:
            return ["ok", (await stdin(min(length, INPUT_BYTES_MAX))).decode("latin-1")]
        except OSError as error:
            return ["err", code_of(error)]


def _read(files: OpenFiles, number: int, length: int, offset: int) -> str:
    return files.read(number, length, offset).decode("latin-1")


def _write(files: OpenFiles, number: int, frame: str, offset: int | None) -> None:
    files.write(number, bytes_of(frame), offset)


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "open-at": OpenFiles.open_at,
    "read": _read,
    "write": _write,
    "resize": OpenFiles.resize,
    "sync": OpenFiles.sync,
    "stat": OpenFiles.stat,
    "stat-at": OpenFiles.stat_at,
    "set-times": OpenFiles.set_times,
    "set-times-at": OpenFiles.set_times_at,
    "list-directory": OpenFiles.list_directory,
    "read-link": OpenFiles.read_link,
    "make-directory": OpenFiles.make_directory,
    "remove-directory": OpenFiles.remove_directory,
    "unlink": OpenFiles.unlink,
    "rename": OpenFiles.rename,
}


WAITING_FUNCTIONS = frozenset({"sleep-until", "wait-ready", "read-input", *_OPERATIONS})
"""What the engine itself answers of `WAITING`."""


def _system(world: World) -> GuestSystem:
    assert isinstance(world, SystemWorld), "an instance with the adapter has its system"
    return world.system


def _exit(_world: World, args: Sequence[Any]) -> None:
    status = args[0]
    raise GuestTrapError(f"the guest exited with status {status}", exit_status=status)


SYSTEM_FUNCTIONS: Mapping[str, OwnFunction] = {
    "monotonic-now": lambda _world, _args: time.monotonic_ns(),
    "wall-now": lambda _world, _args: time.time_ns(),
    "environment": lambda world, _args: list(world.env.items()),
    "arguments": lambda world, _args: list(world.args),
    "log-write": lambda world, args: _system(world).log_write(*args),
    "exit": _exit,
    "directories": lambda world, _args: _system(world).directories(),
    "next-entry": lambda world, args: _system(world).open_files.next_entry(*args),
    "is-writable": lambda world, args: _system(world).open_files.is_writable(*args),
    "close": lambda world, args: _system(world).open_files.close(*args),
}
"""What the engine itself answers of `SYSTEM`."""


def has_adapter(wit: ComponentType) -> bool:
    """Tell whether there is an adapter in a component, so that its instances need a system."""
    return SYSTEM in wit.imports or WAITING in wit.imports


def check_world(world: World) -> None:
    """Return when a world can be shown to guests with an adapter.

    Raises:
        InvalidError: it cannot; all faults are listed.
    """
    faults: list[str] = []
    for text in (*world.args, *world.env, *world.env.values()):
        if "\0" in text:
            faults.append("arguments and environment must not contain NUL")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            faults.append(f"arguments and environment must be Unicode text: {error}")
    for path, directory in world.directories.items():
        if not path.startswith("/") or "\0" in path or path.rstrip("/") == FILES_GUEST_PATH:
            faults.append(f"directories.{path}: is no absolute path of its own")
        if not directory.path.is_dir():
            faults.append(f"directories.{path}: {directory.path} is no directory")
    if faults:
        raise InvalidError("a world cannot be shown to its guest", faults)


def bytes_of(frame: str) -> bytes:
    """Return the bytes of a frame.

    Raises:
        GuestTrapError: it is none.
    """
    try:
        return frame.encode("latin-1")
    except UnicodeEncodeError:
        raise GuestTrapError("the adapter sent a frame that has more than bytes") from None


def _limiter_of_disk() -> anyio.CapacityLimiter:
    """Return the limiter of the loop that runs, made on first use."""
    limiter = _disk_threads.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(DISK_THREADS_MAX)
        _disk_threads.set(limiter)
    return limiter
