"""Wakes deployments at zero replicas for which durable jobs wait.

The signal of a job wakes at once; a look now and then finds those whose signal was lost, or that
were stored while nobody led. What waking means is decided by `scheduler.scaling`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from lattice.bus.base import Connection
from lattice.bus.durable import JobStream
from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.model.ids import DeploymentName
from lattice.wire.subjects import Names
from scheduler.announcements import Emit
from scheduler.durable_announcer import JobAnnouncer
from scheduler.wishes import Wishes, Woken

LOOK_S = 5.0
"""Seconds between two looks."""

LOOK_SHARE = 0.05
"""The part of the time that looks may take: of very many deployments they come less often."""

log = logging.getLogger(__name__)


class JobWaker:
    """What one leader does for jobs that nobody runs."""

    def __init__(
        self, jobs: JobStream, names: Names, wishes: Wishes, tell: Callable[[Woken], object]
    ) -> None:
        self._jobs = jobs
        self._names = names
        self._wishes = wishes
        self._tell = tell

    def heard(self, deployment: str) -> None:
        """Wake a deployment, if it is at zero: a job was stored for it."""
        name = DeploymentName(deployment)
        if self._is_asleep(name):
            self._tell(Woken(name=name))

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            began_s = anyio.current_time()
            try:
                await self._look()
            except LatticeError as error:
                log.info("durable jobs of deployments at zero are looked for again: %s", error)
            took_s = anyio.current_time() - began_s
            await anyio.sleep(max(LOOK_S, took_s / LOOK_SHARE))

    async def _look(self) -> None:
        asleep = [name for name in self._wishes.wanted if self._is_asleep(name)]
        if not asleep or await self._jobs.newest(self._names.job("call", "*", "*", "*")) is None:
            return
        for name in asleep:
            if await self._jobs.newest(self._names.job("call", name, "*", "*")) is not None:
                self._tell(Woken(name=name))

    def _is_asleep(self, name: DeploymentName) -> bool:
        wanted = self._wishes.wanted.get(name)
        if wanted is None or wanted.is_paused or wanted.scale is None or wanted.scale.minimum:
            return False
        return not self._wishes.is_awake(wanted)


async def follow_jobs(
    connection: Connection,
    clock: Clock,
    put: Callable[[Emit], None],
    wishes: Wishes,
    tell: Callable[[Woken], object],
) -> None:
    """Do for durable jobs what is a leader's, until cancelled: tell events, wake deployments."""
    names = Names(connection.lattice)
    waker = JobWaker(connection.jobs, names, wishes, tell)
    async with anyio.create_task_group() as group:
        group.start_soon(JobAnnouncer(connection.bus, names, clock, put, waker.heard).run)
        group.start_soon(waker.run)
