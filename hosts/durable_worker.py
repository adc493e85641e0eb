"""Runs durable jobs of the deployments that have a ready replica on this host.

Of each deployment it hears which jobs were stored, and takes part in their lanes while there is
something to do in them. A durable job is a stored typed call; the `job:` of a manifest, which runs
to completion, is the scheduler's matter. There may be very many deployments without any job: each
costs a subscription.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hosts.durable_attempt import Attempt, Workplace
from hosts.durable_share import Share
from lattice.bus.base import Bus
from lattice.bus.durable import ACK_WAIT_S, SEQUENCE_HEADER, Lane
from lattice.errors import LatticeError
from lattice.model.durable import LANES, NO_KEY
from lattice.wire.subjects import token

LOOK_S = 15.0
"""Seconds between looks for jobs whose signal was lost with a connection."""

LOOK_SHARE = 0.05
"""The part of the time that looks may take: of very many deployments they come less often."""

SIGNALS_MAX = 65_536
"""Signals that wait to be looked at; a lost one costs `LOOK_S`."""

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Opened:
    """A deployment whose jobs are run here, for as long as it has users."""

    deployment: str
    users: int = 0
    lanes: dict[str, anyio.CancelScope] = field(default_factory=dict[str, anyio.CancelScope])
    # lanes: those this host takes part in, with the scope of taking more
    attempts: dict[str, Attempt] = field(default_factory=dict[str, Attempt])  # by job
    listening: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    is_closing: bool = False
    works: int = 0  # tasks of its lanes
    idle: anyio.Event = field(default_factory=anyio.Event)


class DurableWorker:
    """What runs durable jobs on one host."""

    def __init__(self, place: Workplace, bus: Bus, *, ack_wait_s: float = ACK_WAIT_S) -> None:
        self._place = place
        self._bus = bus
        self._ack_wait_s = ack_wait_s
        self._opened: dict[str, _Opened] = {}
        self._fresh: list[_Opened] = []  # those that were not looked at yet
        self._opening = anyio.Event()
        self._group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run jobs until cancelled; "started" when deployments may be opened."""
        async with anyio.create_task_group() as self._group:
            task_status.started()
            await self._look()

    def open(self, deployment: str) -> None:
        """Begin to run a deployment's jobs; each replica opens once and closes once."""
        assert self._group is not None, "what is opened runs"
        opened = self._opened.get(deployment)
        if opened is None:
            opened = self._opened[deployment] = _Opened(deployment)
            self._group.start_soon(self._listen, opened)
        opened.users += 1

    async def close(self, deployment: str) -> None:
        """Give up what `open` gave; after the last one no more jobs are taken, and those that ran
        are stored or given back.
        """
        opened = self._opened[deployment]
        opened.users -= 1
        if not opened.users:
            del self._opened[deployment]
            opened.is_closing = True
            opened.listening.cancel()
            for scope in opened.lanes.values():
                scope.cancel()
            while opened.works:
                opened.idle = anyio.Event()
                await opened.idle.wait()

    async def _listen(self, opened: _Opened) -> None:
        """Learn of jobs that were stored, and of outcomes of those that run here."""
        names = self._place.names
        signals = names.job_signal("*", opened.deployment, "*", "*")
        with opened.listening:
            try:
                async with self._bus.subscribe(signals, pending_max=SIGNALS_MAX) as packets:
                    self._fresh.append(opened)
                    self._opening.set()
                    async for packet in packets:
                        try:
                            state, _, lane, job = names.parse_job(packet.subject)
                        except LatticeError:
                            continue  # somebody else's idea of a subject
                        if state == "call" and lane in LANES:
                            self._take_part(opened, lane)
                        elif state == "done" and (attempt := opened.attempts.get(job)) is not None:
                            attempt.ended_elsewhere(packet.headers.get(SEQUENCE_HEADER, ""))
            except LatticeError as error:
                log.warning("durable jobs of %s are looked for every %g s only: %s",
                            opened.deployment, LOOK_S, error)  # fmt: skip

    async def _look(self) -> None:
        """Look for jobs of deployments that are new here at once, of all others now and then."""
        next_s = anyio.current_time() + LOOK_S
        while True:
            self._opening = anyio.Event()
            fresh, self._fresh = self._fresh, []
            for kind, facts in self._place.events.due(self._place.clock.monotonic_s()):
                self._place.tell(kind, facts["deployment"], facts)
            began_s = anyio.current_time()
            if began_s >= next_s:
                fresh = list(self._opened.values())
            if fresh:
                await self._look_at(fresh)
            if began_s >= next_s:
                took_s = anyio.current_time() - began_s
                next_s = anyio.current_time() + max(LOOK_S, took_s / LOOK_SHARE)
            if not self._fresh:
                with anyio.move_on_at(next_s):
                    await self._opening.wait()

    async def _look_at(self, several: list[_Opened]) -> None:
        """Take part in all lanes of those deployments that have anything in any of them."""
        names, jobs = self._place.names, self._place.jobs
        try:
            if len(several) > 1 and await jobs.newest(names.job("call", "*", "*", "*")) is None:
                return
            for opened in several:
                pattern = names.job("call", opened.deployment, "*", "*")
                if not opened.is_closing and await jobs.newest(pattern) is not None:
                    for lane in LANES:
                        self._take_part(opened, lane)
        except LatticeError as error:
            log.info("durable jobs are looked for again in %g s: %s", LOOK_S, error)

    def _take_part(self, opened: _Opened, lane: str) -> None:
        if lane not in opened.lanes and not opened.is_closing:
            assert self._group is not None, "what is opened runs"
            opened.lanes[lane] = anyio.CancelScope()
            opened.works += 1
            self._group.start_soon(self._work, opened, lane, opened.lanes[lane])

    async def _work(self, opened: _Opened, lane: str, taking: anyio.CancelScope) -> None:
        """Run the jobs of a lane until none is left."""
        deployment = opened.deployment
        spec = Lane(
            name=f"{lane}-{token(deployment)}",
            subject=self._place.names.job("call", deployment, lane, "*"),
            is_ordered=lane != NO_KEY,
            ack_wait_s=self._ack_wait_s,
        )
        share = Share(self._place, spec, opened.attempts, lambda: opened.is_closing)
        try:
            # What runs goes on after no more is taken; then this group has ended.
            async with anyio.create_task_group() as running:
                try:
                    with taking:
                        await running.start(share.hold)
                        await share.take(running)
                except LatticeError as error:
                    log.warning("lane %s of the durable jobs of %s: %s", lane, deployment, error)
                finally:
                    del opened.lanes[lane]  # from now on a signal begins anew
                    with anyio.CancelScope(shield=True):
                        if await share.leave():
                            self._take_part(opened, lane)
        finally:
            opened.works -= 1
            opened.idle.set()
