"""Counts the durable jobs that wait for deployments whose number of replicas follows them.

It counts and tells; how many replicas that makes is decided by `scheduler.scaling`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import anyio

from lattice.bus.durable import JobStream
from lattice.errors import LatticeError
from lattice.model.ids import DeploymentName
from lattice.wire.subjects import Names
from scheduler.scaling import QueueSeen

LOOK_S = 2.0
"""Seconds between two counts: as often as hosts report the load of their calls."""

log = logging.getLogger(__name__)


async def watch_queues(
    jobs: JobStream,
    names: Names,
    following: Callable[[], Iterable[DeploymentName]],
    tell: Callable[[QueueSeen], object],
) -> None:
    """Tell, until cancelled, how many jobs each deployment of `following` has that are not done.

    What cannot be counted is told nothing of, so that the number before stands.
    """
    while True:
        for name in tuple(following()):
            try:
                depth = await jobs.count(names.job("call", name, "*", "*"))
            except LatticeError as error:
                log.info("durable jobs of %s are not counted, trying again: %s", name, error)
                continue
            tell(QueueSeen(name=name, depth=depth))
        await anyio.sleep(LOOK_S)
