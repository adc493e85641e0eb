"""The shell of a supervisor: starts the host processes of one machine, watches and ends them.

The core (`hosts.supervision`) decides; this carries out, in one task group. Its processes end when
it does, however it dies: each watches its standard input, whose other end is held here. Each says
on its standard output, in one line, that it has joined its lattice.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from hosts.blackbox import BlackBoxReader
from hosts.engine.heap import tuned
from hosts.inventory import out_of_memory_kills
from hosts.quarantine import write_quarantine
from hosts.supervision import Supervision
from hosts.supervision_events import (
    Abort,
    Began,
    Command,
    Ended,
    Event,
    Finish,
    Joined,
    Kill,
    Looked,
    Quarantine,
    Start,
    StopWanted,
    Terminate,
    Ticked,
)
from lattice.clock import Clock, SystemClock
from lattice.errors import LatticeError
from lattice.model.ids import Digest

LINE_BYTES_MAX = 64 * 1024
"""Bytes of a line that a worker prints: its names and key, with room."""

LOOK_S = 2.0
"""Pace at which event loops are looked at; see `STALLED_LOOKS` of `hosts.supervision`."""

NOT_STARTED = 71
"""Status of a worker that the system could not start (EX_OSERR of sysexits.h)."""

log = logging.getLogger(__name__)

Words = Callable[[int, int, str], Sequence[str]]
"""Makes a worker's command line from its number, the descriptor of its black box, and how the
process before it ended."""


@dataclass(slots=True)
class _Process:
    """A worker's process; None while it is being started. `order` is a signal that waits for it."""

    process: anyio.abc.Process | None = None
    order: signal.Signals | None = None
    box: BlackBoxReader | None = None  # while it runs


class Supervisor:
    """The worker processes of one machine."""

    def __init__(
        self,
        count: int,
        *,
        words: Words,
        quarantine: Path,
        tell: Callable[[int, str], None],
        without: Collection[str] = (),
        on_quarantine: Callable[[Mapping[Digest, str]], None] = lambda _components: None,
        clock: Clock | None = None,
    ) -> None:
        """`quarantine` is the file that the workers read; `tell` gets every line they print, with
        the worker's number; `without` names the variables of the environment that they do not get;
        `on_quarantine` gets the reasons by digest whenever there are more of them.
        """
        self._core = Supervision(count=count)
        self._words = words
        self._quarantine = quarantine
        self._tell = tell
        self._without = frozenset(without)
        self._on_quarantine = on_quarantine
        self._clock = clock or SystemClock()
        self._processes: dict[int, _Process] = {}
        self._changed = anyio.Event()
        self._finished = anyio.Event()
        self._status = 0
        self._group: anyio.abc.TaskGroup

    async def run(self) -> int:
        """Run until all workers have ended, and return the exit status that tells of it.

        Cancelling has them finish their calls, and kills those that take too long.
        """
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._run_shielded, group.cancel_scope)
                try:
                    await anyio.sleep_forever()
                finally:
                    if not self._finished.is_set():
                        self._feed(StopWanted())
        finally:
            self._quarantine.unlink(missing_ok=True)
        return self._status

    def kill_all(self) -> None:
        """End all workers at once; for a supervisor that ends itself in the same breath."""
        for running in self._processes.values():
            if running.process is not None and running.process.returncode is None:
                running.process.kill()

    # --- decisions in, deeds out ----------------------------------------------------------

    async def _run_shielded(self, outer: anyio.CancelScope) -> None:
        # The workers must outlive the cancellation by as long as their leaving takes.
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                self._group = group
                self._quarantine.unlink(missing_ok=True)
                self._feed(Began())
                group.start_soon(self._ticks)
                group.start_soon(self._looks)
                await self._finished.wait()
                group.cancel_scope.cancel()
        outer.cancel()

    def _feed(self, event: Event) -> None:
        commands = self._core.handle(self._clock.monotonic_s(), event)
        self._core.check()
        for command in commands:
            self._carry_out(command)
        self._changed.set()

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start():
                self._processes[command.worker] = running = _Process()
                self._group.start_soon(self._run_worker, command, running)
            case Terminate():
                self._order(command.worker, signal.SIGTERM)
            case Abort():
                log.error("worker %d stands still and is aborted", command.worker)
                self._order(command.worker, signal.SIGABRT)
            case Kill():
                log.error("worker %d did not end in time and is killed", command.worker)
                self._order(command.worker, signal.SIGKILL)
            case Quarantine():
                for digest in command.added:
                    log.error("component %s is quarantined: %s", digest, command.components[digest])
                try:
                    write_quarantine(self._quarantine, command.components)
                except LatticeError as exc:
                    log.warning("the quarantine is not in force: %s", exc)
                self._on_quarantine(command.components)
            case Finish():
                self._status = command.status
                self._finished.set()

    def _order(self, worker: int, number: signal.Signals) -> None:
        running = self._processes[worker]
        running.order = number  # for a process that is still being started
        if running.process is not None and running.process.returncode is None:
            running.process.send_signal(number)

    async def _ticks(self) -> None:
        while True:
            self._changed = anyio.Event()
            due_s = self._core.next_due_s()
            wait_s = float("inf") if due_s is None else due_s - self._clock.monotonic_s()
            with anyio.move_on_after(wait_s):
                await self._changed.wait()
                continue
            self._feed(Ticked())

    async def _looks(self) -> None:
        while True:
            await anyio.sleep(LOOK_S)
            for worker, running in tuple(self._processes.items()):
                if running.box is not None and not _is_held(running.process):
                    self._feed(Looked(worker=worker, ticks=running.box.ticks()))

    # --- one worker -----------------------------------------------------------------------

    async def _run_worker(self, command: Start, running: _Process) -> None:
        """Run a worker's process to its end, and tell the core how that was."""
        kills_before = out_of_memory_kills()
        running.box = box = BlackBoxReader()
        try:
            status = await self._run_process(command, running, box)
            ended = Ended(
                worker=command.worker,
                status=status,
                at_work=box.at_work(),
                was_out_of_memory=status == -signal.SIGKILL
                and out_of_memory_kills() > kills_before,
            )
        finally:
            running.box = None
            box.close()
        self._feed(ended)
        worker = self._core.workers[command.worker]
        if worker.start_at_s is not None:
            wait_s = worker.start_at_s - self._clock.monotonic_s()
            log.warning("worker %d %s; it starts again in %.1f s",
                        command.worker, worker.after, max(wait_s, 0.0))  # fmt: skip

    async def _run_process(self, command: Start, running: _Process, box: BlackBoxReader) -> int:
        if running.order is not None:  # it was told to end before it began
            return -running.order
        words = self._words(command.worker, box.descriptor, command.after)
        try:
            process = await anyio.open_process(
                words,
                stdin=PIPE,  # its end tells the worker that this process is gone
                stdout=PIPE,
                stderr=None,
                pass_fds=(box.descriptor,),
                env=tuned({k: v for k, v in os.environ.items() if k not in self._without}),
                # Ctrl-C in a terminal is for the supervisor, which then ends its workers.
                start_new_session=True,
            )
        except OSError as exc:
            log.warning("worker %d cannot be started: %s", command.worker, exc.strerror)
            return NOT_STARTED
        async with process:
            running.process = process
            log.info("worker %d runs as process %d", command.worker, process.pid)
            if running.order is not None:
                process.send_signal(running.order)
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen, command.worker, process)
                status = await process.wait()
                group.cancel_scope.cancel()
        return status

    async def _listen(self, worker: int, process: anyio.abc.Process) -> None:
        """Hand on what a worker prints; its first line says that it has joined."""
        assert process.stdout is not None, "it was asked for"
        lines = BufferedByteReceiveStream(process.stdout)
        try:
            while True:
                line = await lines.receive_until(b"\n", LINE_BYTES_MAX)
                self._feed(Joined(worker=worker))
                self._tell(worker, line.decode(errors="replace"))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
            log.debug("worker %d prints nothing more", worker)


def _is_held(process: anyio.abc.Process | None) -> bool:
    """Tell whether somebody stopped a process, or looks into it with a debugger."""
    if process is None:
        return False
    try:
        status = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return False  # the system does not tell
    return status.rpartition(")")[2].split()[0] in ("T", "t")
