"""Subscriptions that the replicas of a deployment share: the first one opens, the last one closes.

Nothing here knows what is asked and who answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup, TaskStatus

from lattice.bus.base import Bus, Handler
from lattice.errors import LatticeError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Opened:
    """One subscription, shared by the replicas of a deployment."""

    users: int = 0
    settled: anyio.Event = field(default_factory=anyio.Event)  # requests arrive, or it failed
    closing: anyio.Event = field(default_factory=anyio.Event)
    closed: anyio.Event = field(default_factory=anyio.Event)
    failure: LatticeError | None = None


class Openings:
    """Serves one subject for each deployment that is open."""

    def __init__(
        self,
        bus: Bus,
        subject_of: Callable[[str], str],
        handler: Handler,
        *,
        queue: str,
        concurrency: int,
    ) -> None:
        self._bus = bus
        self._subject_of = subject_of
        self._handler = handler
        self._queue = queue
        self._concurrency = concurrency
        self._opened: dict[str, _Opened] = {}
        self._group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the subscriptions until cancelled; "started" when some may be opened."""
        async with anyio.create_task_group() as self._group:
            task_status.started()
            await anyio.sleep_forever()

    async def open(self, deployment: str) -> None:
        """Return when requests to a deployment arrive; each replica opens once and closes once.

        Raises:
            LatticeError: the bus refused the subscription; nothing is left to close.
        """
        assert self._group is not None, "what is opened runs"
        opened = self._opened.get(deployment)
        if opened is None:
            opened = self._opened[deployment] = _Opened()
            self._group.start_soon(self._serve, deployment, opened)
        opened.users += 1
        try:
            await opened.settled.wait()
        except BaseException:
            self._release(deployment, opened)
            raise
        if opened.failure is not None:
            raise opened.failure

    async def close(self, deployment: str) -> None:
        """Give up what `open` gave; after the last one nothing new is taken, and what runs has been
        answered.
        """
        opened = self._opened[deployment]
        if self._release(deployment, opened):
            await opened.closed.wait()

    def _release(self, deployment: str, opened: _Opened) -> bool:
        opened.users -= 1
        if opened.users:
            return False
        if self._opened.get(deployment) is opened:
            del self._opened[deployment]
        opened.closing.set()
        return True

    async def _serve(self, deployment: str, opened: _Opened) -> None:
        subject = self._subject_of(deployment)
        try:
            async with self._bus.serve(
                subject, self._handler, queue=self._queue, concurrency=self._concurrency
            ):
                opened.settled.set()
                await opened.closing.wait()
        except LatticeError as exc:
            log.warning("%s cannot be taken: %s", subject, exc)
            opened.failure = exc
            # Forgotten, so that the next replica that starts subscribes anew.
            if self._opened.get(deployment) is opened:
                del self._opened[deployment]
        finally:
            opened.settled.set()
            opened.closed.set()
