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
from anyio.abc import TaskGroup

from hosts.blackbox import Mark
from hosts.directories import Directories
from hosts.endpoints import Endpoints
from hosts.guarded import Guard
from hosts.invoker import Invoker
from hosts.lifecycle import (
    Event,
    ReplicaFailed,
    ReplicaReady,
    ReplicaStopped,
    StartReplica,
    StopReplica,
)
from hosts.logbook import Logbook
from hosts.replica import Replica
from hosts.waits import Waits
from hosts.workload import Workloads
from lattice.clock import Clock
from lattice.errors import DeniedError, InternalError, LatticeError, first_cause
from lattice.model.ids import Digest, ReplicaId

DRAIN_S = 5.0
"""Seconds that a stopping replica gets to finish its calls, as long as the bus waits for them."""

STOP_S = 2.0
"""Seconds that the `stop` functions of its services get after that."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    stop: anyio.Event = field(default_factory=anyio.Event)
    starting: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    replica: Replica | None = None
    images: Mapping[str, str] = field(default_factory=dict[str, str])  # of a ready one, by part
    mark: Mark = field(default_factory=Mark)
    fault: LatticeError | None = None  # why it has to go, when nobody told it to stop


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
        running.stop.set()
        running.starting.cancel()

    async def stop_all(self) -> None:
        """Stop every replica and return when all are gone."""
        for replica in tuple(self._running):
            self.stop(StopReplica(replica=replica))
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

    def calls(self) -> dict[ReplicaId, int]:
        """Return how many calls each ready replica took since it started."""
        return {i: r.replica.calls for i, r in self._running.items() if r.replica is not None}

    def fuel(self) -> dict[ReplicaId, int]:
        """Return what fuel the calls of each ready replica used since it started, if counted."""
        ready = {i: r.replica for i, r in self._running.items() if r.replica is not None}
        return {i: replica.fuel for i, replica in ready.items() if replica.fuel}

    def restarts(self) -> dict[ReplicaId, int]:
        """Return how often services of each ready replica were started again."""
        return {i: r.replica.restarts for i, r in self._running.items() if r.replica is not None}

    def looping(self) -> frozenset[ReplicaId]:
        """Return the ready replicas of which a service fails again and again."""
        ready = {i: r.replica for i, r in self._running.items() if r.replica is not None}
        return frozenset(i for i, replica in ready.items() if replica.is_looping)

    def troubles(self) -> dict[ReplicaId, str]:
        """Return what is wrong with services of ready replicas at the moment."""
        ready = {i: r.replica for i, r in self._running.items() if r.replica is not None}
        return {i: replica.trouble for i, replica in ready.items() if replica.trouble}

    @property
    def in_flight(self) -> int:
        """Return how many calls run or wait on this host."""
        return sum(r.replica.in_flight for r in self._running.values() if r.replica is not None)

    async def _run(self, command: StartReplica) -> None:
        running = self._running[command.replica]
        outcome: Event
        try:
            await self._live(command, running)
            outcome = ReplicaStopped(replica=command.replica)
        except* LatticeError as group:
            outcome = ReplicaFailed(replica=command.replica, reason=str(first_cause(group)))
        except* Exception as group:
            fault = InternalError(f"replica {command.replica} failed by a mistake of the host")
            log.exception("%s", fault, exc_info=group)
            outcome = ReplicaFailed(
                replica=command.replica, reason=f"{fault}: {group.exceptions[0]!r}"
            )
        finally:
            self._running.pop(command.replica, None)
            running.mark.close()
            self._ended.set()
        if isinstance(outcome, ReplicaFailed):
            self._logbook.write(command.deployment, "error", outcome.reason)
        self._feed(outcome)

    async def _live(self, command: StartReplica, running: _Running) -> None:
        deployment = str(command.deployment)
        async with anyio.create_task_group() as group:
            with running.starting, ExitStack() as start:
                prepared = await self._workloads.prepare(deployment, command.generation)
                images = {part.name: part.image for part in prepared.deployment.parts}
                self._guard.quarantine.require_none_of(images)
                running.mark = self._guard.black_box.mark(map(Digest, images.values()))
                start.enter_context(running.mark)
                replica = Replica(
                    command.replica,
                    prepared,
                    invoker=self._invoker,
                    clock=self._clock,
                    mark=running.mark,
                    log=lambda level, line: self._logbook.write(deployment, level, line),
                    waits=self._waits,
                    directories=self._directories.of_replica(command.replica),
                )
                await group.start(replica.run)
                await self._endpoints.open(deployment, http=replica.answers_http)
                self._ready.add(replica)
                running.replica, running.images = replica, images
            try:
                if running.replica is not None:
                    self._feed(ReplicaReady(replica=command.replica))
                    await running.stop.wait()
            finally:
                if running.replica is not None:
                    if not running.stop.is_set():
                        self._ready.remove(running.replica)  # it failed: no call must wait for it
                    with anyio.CancelScope(shield=True):
                        await self._retire(running.replica)
            group.cancel_scope.cancel()
        if running.fault is not None:
            raise running.fault

    async def _retire(self, replica: Replica) -> None:
        """Take no new calls and finish the running ones, within `DRAIN_S`; then they are ended.

        After that its services end their work, within `STOP_S`.
        """
        with anyio.move_on_after(DRAIN_S):
            # The last one here stays ready until calls on their way to it are answered.
            if not self._ready.is_last(replica):
                self._ready.remove(replica)
            await self._endpoints.close(replica.deployment, http=replica.answers_http)
            self._ready.remove(replica)
            await replica.drained()
        self._ready.remove(replica)
        replica.end_calls()
        with anyio.move_on_after(STOP_S):
            await replica.stop(within_s=STOP_S)
