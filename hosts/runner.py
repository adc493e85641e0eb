"""Runs replicas: carries out what the lifecycle core starts and stops, and tells how it ended.

A replica is a task of its own; whatever goes wrong inside ends as one `ReplicaFailed` with the
reason, never as the end of the host.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from hosts.callees import ReadyReplicas
from hosts.endpoints import Endpoints
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
from hosts.workload import Workloads
from lattice.clock import Clock
from lattice.errors import InternalError, LatticeError, first_cause
from lattice.model.ids import ReplicaId

DRAIN_S = 5.0
"""Seconds that a stopping replica gets to finish its calls, as long as the bus waits for them."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    stop: anyio.Event = field(default_factory=anyio.Event)
    starting: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    replica: Replica | None = None


class Runner:
    """The replicas of one host. `feed` takes the outcomes to the lifecycle core."""

    def __init__(
        self,
        *,
        workloads: Workloads,
        invoker: Invoker,
        endpoints: Endpoints,
        ready: ReadyReplicas,
        logbook: Logbook,
        clock: Clock,
        feed: Callable[[Event], None],
    ) -> None:
        self._workloads = workloads
        self._invoker = invoker
        self._endpoints = endpoints
        self._ready = ready
        self._logbook = logbook
        self._clock = clock
        self._feed = feed
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

    def calls(self) -> dict[ReplicaId, int]:
        """Return how many calls each ready replica took since it started."""
        return {i: r.replica.calls for i, r in self._running.items() if r.replica is not None}

    def restarts(self) -> dict[ReplicaId, int]:
        """Return how often services of each ready replica were started again."""
        return {i: r.replica.restarts for i, r in self._running.items() if r.replica is not None}

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
            self._ended.set()
        if isinstance(outcome, ReplicaFailed):
            self._logbook.write(command.deployment, "error", outcome.reason)
        self._feed(outcome)

    async def _live(self, command: StartReplica, running: _Running) -> None:
        deployment = str(command.deployment)
        async with anyio.create_task_group() as group:
            with running.starting:
                prepared = await self._workloads.prepare(deployment, command.generation)
                replica = Replica(
                    command.replica,
                    prepared,
                    invoker=self._invoker,
                    clock=self._clock,
                    log=lambda level, line: self._logbook.write(deployment, level, line),
                )
                await group.start(replica.run)
                await self._endpoints.open(deployment)
                self._ready.add(replica)
                running.replica = replica
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

    async def _retire(self, replica: Replica) -> None:
        """Take no new calls and finish the running ones, within `DRAIN_S`; then they are ended."""
        with anyio.move_on_after(DRAIN_S):
            # The last one here stays ready until calls on their way to it are answered.
            if not self._ready.is_last(replica):
                self._ready.remove(replica)
            await self._endpoints.close(replica.deployment)
            self._ready.remove(replica)
            await replica.drained()
        self._ready.remove(replica)
        replica.end_calls()
