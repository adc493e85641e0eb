"""The core of a supervisor: which host processes of one machine run, and which components may not.

`lattice host --workers N` runs N hosts, here called workers. One that dies comes back after a wait
that grows with each death in a row. A component that was at work in several of them when they were
aborted is quarantined: no worker of this supervisor starts it any more, so that one fault in native
code does not take the neighbours down again and again. `handle` is the only entrance. It decides;
`hosts.supervisor` carries out. No I/O, no clock, no randomness.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from hosts.accusing import Accusations
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
from lattice.model.ids import Digest

WORKERS_MAX = 256
"""Workers of one machine: one for each core of the largest machines."""

RESPAWN_FIRST_S = 0.5
"""Wait before a worker that died starts again; each further wait is twice as long."""

RESPAWN_LONGEST_S = 30.0
"""Longest such wait: short enough that a mended cause is noticed, long enough to cost nothing."""

STABLE_S = 60.0
"""A worker that ran this long starts with a clean record when it dies."""

STOP_S = 12.0
"""Time that workers get to end when told to: they use five seconds for running calls and some more
for their last words. Then they are killed."""

STALLED_LOOKS = 15
"""Looks in a row, 2 s apart, at which an event loop that should turn every second has not: for half
a minute nobody got an answer. Looks and not seconds, since a machine that slept stood still too."""

STALLED_END_S = 5.0
"""Time in which a stalled worker that is aborted has to be gone; then it is killed."""

ABORT_SIGNALS = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        getattr(signal, "SIGSYS", signal.SIGABRT),
        getattr(signal, "SIGTRAP", signal.SIGABRT),
    }
)
"""Signals by which a process dies of a fault of its own code. SIGKILL is one of them only if the
system sent it for want of memory; otherwise somebody wanted the process to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker. `running` may still be on its way; who is `waiting` starts at `start_at_s`."""

    state: Literal["running", "waiting", "ended"] = "ended"
    has_joined: bool = False
    since_s: float = 0.0  # when its process was started
    deaths: int = 0  # in a row
    start_at_s: float | None = None
    kill_at_s: float | None = None  # set while it is to end
    ticks: int = 0
    idle_looks: int = 0  # in a row
    after: str = ""

    @property
    def is_stalled(self) -> bool:
        """Tell whether its event loop has stood still for too long."""
        return self.idle_looks >= STALLED_LOOKS


@dataclass(slots=True)
class Supervision:
    """The workers of one machine. Change it only through `handle`."""

    count: int
    workers: list[Worker] = field(default_factory=list[Worker])
    is_stopping: bool = False
    _accusations: Accusations = field(default_factory=Accusations)
    _has_anyone_joined: bool = False
    _status: int = 0

    def handle(self, now_s: float, event: Event) -> tuple[Command, ...]:
        """Take in one event and return what to do about it, in the order to do it."""
        match event:
            case Began():
                if self.is_stopping:
                    return ()
                self.workers = [Worker() for _ in range(self.count)]
                return tuple(self._start(now_s, number) for number in range(self.count))
            case Joined():
                self._has_anyone_joined = True
                self.workers[event.worker] = replace(self.workers[event.worker], has_joined=True)
                return ()
            case Ended():
                return self._ended(now_s, event)
            case Looked():
                return self._looked(now_s, event)
            case StopWanted():
                return self._stop(now_s, 0)
            case Ticked():
                return self._tick(now_s)
            case _:
                assert_never(event)

    @property
    def quarantined(self) -> Mapping[Digest, str]:
        """Return the components that are refused on this machine, with the reasons."""
        return dict(self._accusations.quarantined)

    def next_due_s(self) -> float | None:
        """Return when a `Ticked` is next of use, or None."""
        return min(
            (
                due_s
                for each in self.workers
                for due_s in (each.start_at_s, each.kill_at_s)
                if due_s is not None
            ),
            default=None,
        )

    def check(self) -> None:
        """Assert what must hold after every event."""
        for worker in self.workers:
            is_waiting = worker.state == "waiting"
            assert is_waiting == (worker.start_at_s is not None), "only who waits has a time"
            assert worker.kill_at_s is None or worker.state == "running", "only who runs is killed"
            assert not (is_waiting and self.is_stopping), "nobody waits to start at the end"

    # --- workers --------------------------------------------------------------------------

    def _start(self, now_s: float, number: int) -> Start:
        worker = self.workers[number]
        self.workers[number] = Worker(
            state="running", since_s=now_s, deaths=worker.deaths, after=worker.after
        )
        return Start(worker=number, after=worker.after)

    def _ended(self, now_s: float, event: Ended) -> tuple[Command, ...]:
        worker = self.workers[event.worker]
        # Who was told to end through the lattice, or by its own SIGTERM, did what it should.
        is_wanted = self.is_stopping or event.status == 0
        deaths = 1 if now_s - worker.since_s >= STABLE_S else worker.deaths + 1
        delay_s = min(RESPAWN_FIRST_S * 2.0 ** min(deaths - 1, 16), RESPAWN_LONGEST_S)
        self.workers[event.worker] = replace(
            worker,
            state="ended" if is_wanted else "waiting",
            deaths=deaths,
            start_at_s=None if is_wanted else now_s + delay_s,
            kill_at_s=None,
            after=_told(event, deaths, is_stalled=worker.is_stalled),
        )
        commands = self._judge(now_s, event)
        if all(each.state == "ended" for each in self.workers):
            return (*commands, Finish(status=self._status))
        if self._is_hopeless:
            return (*commands, *self._stop(now_s, _exit_status(event.status)))
        return commands

    @property
    def _is_hopeless(self) -> bool:
        """Tell whether no worker ever joined and each has died: a person has to mend something."""
        return not self._has_anyone_joined and all(each.deaths for each in self.workers)

    def _stop(self, now_s: float, status: int) -> tuple[Command, ...]:
        if self.is_stopping:
            return ()
        self.is_stopping = True
        self._status = status
        running = [n for n, worker in enumerate(self.workers) if worker.state == "running"]
        self.workers = [
            replace(worker, kill_at_s=now_s + STOP_S)
            if worker.state == "running"
            else replace(worker, state="ended", start_at_s=None)
            for worker in self.workers
        ]
        if not running:
            return (Finish(status=status),)
        return tuple(Terminate(worker=number) for number in running)

    def _tick(self, now_s: float) -> tuple[Command, ...]:
        commands: list[Command] = [
            self._start(now_s, number)
            for number, worker in enumerate(self.workers)
            if worker.start_at_s is not None and worker.start_at_s <= now_s
        ]
        for number, worker in enumerate(self.workers):
            if worker.kill_at_s is not None and worker.kill_at_s <= now_s:
                self.workers[number] = replace(worker, kill_at_s=None)
                commands.append(Kill(worker=number))
        return tuple(commands)

    def _looked(self, now_s: float, event: Looked) -> tuple[Command, ...]:
        worker = self.workers[event.worker]
        if worker.state != "running" or self.is_stopping or worker.is_stalled:
            return ()
        stands = event.ticks == worker.ticks and event.ticks > 0
        worker = replace(
            worker, ticks=event.ticks, idle_looks=worker.idle_looks + 1 if stands else 0
        )
        if worker.is_stalled:
            worker = replace(worker, kill_at_s=now_s + STALLED_END_S)
        self.workers[event.worker] = worker
        return (Abort(worker=event.worker),) if worker.is_stalled else ()

    # --- quarantine -----------------------------------------------------------------------

    def _judge(self, now_s: float, event: Ended) -> tuple[Command, ...]:
        if not is_abort(event):
            return ()
        added = self._accusations.judge(now_s, event.at_work, _manner(event.status))
        return (Quarantine(components=self.quarantined, added=added),) if added else ()


def is_abort(event: Ended) -> bool:
    """Tell whether a process died of a fault in it, and not because somebody ended it."""
    if event.status == -signal.SIGKILL:
        return event.was_out_of_memory
    return -event.status in ABORT_SIGNALS


def _told(event: Ended, deaths: int, *, is_stalled: bool) -> str:
    cause = " for want of memory" if event.was_out_of_memory else ""
    if is_stalled:
        cause = " because its event loop stood still"
    times = f", {deaths} times in a row" if deaths > 1 else ""
    return f"{_manner(event.status)}{cause}{times}"


def _manner(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _exit_status(status: int) -> int:
    return status if status > 0 else 128 - status
