"""Runs replicas: carries out what the lifecycle core starts and stops, and tells how it ended.

A replica is a task of its own; whatever goes wrong inside ends as one `ReplicaFailed` with the
reason, never as the end of the host.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts.admission import Admission, UnhealthyError
from hosts.blackbox import Mark
from hosts.directories import Directories
from hosts.endpoints import Endpoints
from hosts.fencing import Fence, Singleton
from hosts.guarded import Guard
from hosts.invoker import Invoker
from hosts.lifecycle import (
    Event,
    ReplicaCompleted,
    ReplicaFailed,
    ReplicaFigures,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
    SingletonFound,
    StartReplica,
    StopReplica,
)
from hosts.logbook import Logbook
from hosts.prober import Prober
from hosts.probes import READY
from hosts.replica import Replica, Surroundings
from hosts.waits import Waits
from hosts.workload import Workloads
from lattice.clock import Clock
from lattice.errors import DeniedError, InternalError, LatticeError, first_cause
from lattice.model.ids import Digest, ReplicaId

DRAIN_S = 5.0
"""Seconds that the replicas of a host that stops get to finish their calls, or one that failed."""

PATIENCE_S = 30.0
"""Longest that a replica gets for this when its target does not list it any more: as long as a call
takes when its limits say nothing else, while others take the new ones."""

STOP_S = 2.0
"""Seconds that the `stop` functions of its services get after that."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    stop: anyio.Event = field(default_factory=anyio.Event)
    starting: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    probing: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    probed: anyio.Event | None = None  # set when nobody probes it any more; None: nobody does
    ending: anyio.CancelScope = field(default_factory=anyio.CancelScope)  # in good order
    draining: anyio.CancelScope | None = None  # while its calls are waited for
    patience_s: float = 0.0  # how long; at least `DRAIN_S`
    at_once: bool = False  # nothing of it may run any more
    replica: Replica | None = None
    admission: Admission | None = None
    images: Mapping[str, str] = field(default_factory=dict[str, str])  # of a ready one, by part
    mark: Mark = field(default_factory=Mark)
    fault: LatticeError | None = None  # why it has to go, when nobody told it to stop
    is_job: bool = False
    has_completed: bool = False  # a job's, which ended well
    probers: Mapping[str, Prober] = field(default_factory=dict[str, Prober])


class Runner:
    """The replicas of one host. `feed` takes the outcomes to the lifecycle core."""

    def __init__(
        self,
        *,
        workloads: Workloads,
        invoker: Invoker,
        endpoints: Endpoints,
        logbook: Logbook,
        clock: Clock,
        feed: Callable[[Event], None],
        guard: Guard | None = None,
        directories: Directories,
    ) -> None:
        self._workloads = workloads
        self._invoker = invoker
        self._endpoints = endpoints
        self._ready = endpoints.ready
        self._logbook = logbook
        self._clock = clock
        self._feed = feed
        self._guard = guard or Guard()
        self._directories = directories
        self._waits = Waits()
        self.fence = Fence(clock)
        """What keeps strict singletons from working; whoever has the lease moves it."""
        self._running: dict[ReplicaId, _Running] = {}
        self._ended = anyio.Event()

    def start(self, group: TaskGroup, command: StartReplica) -> None:
        """Begin a replica as a task of the group."""
        assert command.replica not in self._running, "a replica starts once at a time"
        self._running[command.replica] = _Running()
        group.start_soon(self._run, command)

    def stop(self, command: StopReplica) -> None:
        """Let a replica finish its calls and end; one that is still starting ends at once."""
        running = self._running.get(command.replica)
        if running is None:
            self._feed(ReplicaStopped(replica=command.replica))
            return
        running.patience_s = PATIENCE_S
        running.stop.set()
        running.starting.cancel()
        if command.at_once:
            running.at_once = True
            if running.replica is not None and running.admission is not None:
                running.admission.refuse()
                running.replica.end_calls()
            running.ending.cancel()

    async def stop_all(self) -> None:
        """Stop every replica and return when all are gone; their calls get `DRAIN_S`."""
        until_s = anyio.current_time() + DRAIN_S
        for replica, running in tuple(self._running.items()):
            self.stop(StopReplica(replica=replica))
            running.patience_s = DRAIN_S
            if running.draining is not None:
                running.draining.deadline = min(running.draining.deadline, until_s)
        while self._running:
            self._ended = anyio.Event()
            await self._ended.wait()

    def expel(self) -> None:
        """End the ready replicas that were quarantined meanwhile: they fail with the reason."""
        self._guard.quarantine.look()
        for running in self._running.values():
            fault = self._guard.quarantine.fault_of(running.images)
            if fault is not None and running.fault is None:
                running.fault = DeniedError(fault)
                running.stop.set()

    def figures(self) -> dict[ReplicaId, ReplicaFigures]:
        """Return what the replicas that live tell of themselves."""
        return {i: r.replica.figures() for i, r in self._running.items() if r.replica is not None}

    @property
    def in_flight(self) -> int:
        """Return how many calls run or wait on this host."""
        return sum(r.replica.in_flight for r in self._running.values() if r.replica is not None)

    async def _run(self, command: StartReplica) -> None:
        running = self._running[command.replica]
        outcome: Event
        try:
            await self._live(command, running)
            ended = ReplicaCompleted if running.has_completed else ReplicaStopped
            outcome = ended(replica=command.replica)
        except* LatticeError as group:
            outcome = ReplicaFailed(
                replica=command.replica, reason=str(first_cause(group)), is_final=running.is_job
            )
        except* Exception as group:
            fault = InternalError(f"replica {command.replica} failed by a mistake of the host")
            log.exception("%s", fault, exc_info=group)
            outcome = ReplicaFailed(
                replica=command.replica, reason=f"{fault}: {group.exceptions[0]!r}",
                is_final=running.is_job,
            )  # fmt: skip
        finally:
            self._running.pop(command.replica, None)
            running.mark.close()
            self._ended.set()
        if isinstance(outcome, ReplicaFailed):
            self._logbook.write(command.deployment, "error", outcome.reason)
        self._feed(outcome)

    async def _live(self, command: StartReplica, running: _Running) -> None:
        async with anyio.create_task_group() as group:
            with running.starting, ExitStack() as start:
                await self._begin(command, running, group, start)
            try:
                if running.replica is not None:
                    self._told_begun(command.replica, running, group)
                    await running.stop.wait()
            finally:
                if running.admission is not None:
                    if not running.stop.is_set():
                        running.admission.refuse()  # it failed: no call must wait for it
                    with anyio.CancelScope(shield=True):
                        await self._retire(running)
            group.cancel_scope.cancel()
        if running.fault is not None:
            raise running.fault

    async def _begin(
        self, command: StartReplica, running: _Running, group: TaskGroup, start: ExitStack
    ) -> None:
        """Make a replica that runs, and let calls in unless its probe has to say so."""
        deployment = str(command.deployment)
        prepared = await self._workloads.prepare(deployment, command.generation)
        running.is_job = prepared.deployment.job is not None
        images = {part.name: part.image for part in prepared.deployment.parts}
        self._guard.quarantine.require_none_of(images)
        singleton = None
        if prepared.deployment.is_singleton:
            self._feed(SingletonFound(replica=command.replica))
            await anyio.lowlevel.checkpoint()  # here it ends, when it may not run now
            singleton = Singleton(fence=self.fence, epoch=command.epoch, revision=command.revision)
        running.mark = self._guard.black_box.mark(map(Digest, images.values()))
        start.enter_context(running.mark)
        replica = Replica(
            command.replica,
            prepared,
            invoker=self._invoker,
            clock=self._clock,
            log=lambda level, line: self._logbook.write(deployment, level, line),
            surroundings=Surroundings(
                waits=self._waits,
                mark=running.mark,
                directories=self._directories.of_replica(command.replica),
                singleton=singleton,
            ),
        )
        running.probers = replica.probers()
        await group.start(self._keep, replica, running)
        admission = Admission(replica, self._endpoints)
        if READY not in running.probers:
            await admission.open()
        running.replica, running.admission, running.images = replica, admission, images

    async def _keep(
        self, replica: Replica, running: _Running, *, task_status: TaskStatus[None]
    ) -> None:
        await replica.run(task_status=task_status)
        # Only that of a job ends by itself, or as the end of what was told to stop.
        running.has_completed = not running.stop.is_set()
        running.stop.set()

    def _told_begun(self, replica: ReplicaId, running: _Running, group: TaskGroup) -> None:
        prober = running.probers.get(READY)
        if prober is None:
            self._feed(ReplicaReady(replica=replica))
        else:
            self._feed(ReplicaUnready(replica=replica, reason=prober.reason))
        if running.probers:
            running.probed = anyio.Event()
            group.start_soon(self._probe, replica, running, running.probed)

    async def _probe(self, replica: ReplicaId, running: _Running, probed: anyio.Event) -> None:
        """Ask the probes until they are told to end, and do what they say."""
        admission = running.admission
        assert admission is not None, "what is probed has begun"

        async def ready(is_ok: bool, reason: str) -> None:
            if is_ok:
                await admission.open()
                self._feed(ReplicaReady(replica=replica))
            else:
                admission.refuse()
                self._feed(ReplicaUnready(replica=replica, reason=reason))
                await admission.close()

        async def live(is_ok: bool, reason: str) -> None:
            if not is_ok:
                raise UnhealthyError(reason)

        try:
            with running.probing:
                async with anyio.create_task_group() as group:
                    for kind, prober in running.probers.items():
                        group.start_soon(prober.run, ready if kind == READY else live)
        finally:
            probed.set()

    async def _retire(self, running: _Running) -> None:
        """Take no new calls and finish the running ones in time; then they are ended.

        After that its services end their work, within `STOP_S`. When it has to go at once, also
        later on the way, its calls and processes are ended, and nothing else is waited for.
        """
        replica, admission = running.replica, running.admission
        assert replica is not None, "what has begun is retired"
        assert admission is not None, "what has begun was admitted"
        if not running.at_once:
            with running.ending:
                await _end_probing(running, within_s=STOP_S)
                wait_s = max(DRAIN_S, min(running.patience_s, replica.deadline_s))
                with anyio.move_on_after(wait_s) as running.draining:
                    await admission.close()
                    await replica.drained()
                admission.refuse()
                replica.end_calls()
                with anyio.move_on_after(STOP_S):
                    await replica.stop(within_s=STOP_S)
        if running.at_once:
            await _end_probing(running, within_s=0.0)
            admission.refuse()
            replica.end_calls()
            await replica.halt()
            with anyio.move_on_after(STOP_S):
                await admission.close()


async def _end_probing(running: _Running, *, within_s: float) -> None:
    """Return when nobody probes a replica any more; what is asked just now may be answered."""
    if running.probed is None:
        return
    for prober in running.probers.values():
        prober.end()
    with anyio.move_on_after(within_s):
        await running.probed.wait()
    running.probing.cancel()
    await running.probed.wait()
