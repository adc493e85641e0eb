"""Tells in the event log that durable jobs were submitted, tried again and cancelled.

Whoever submits may not write events, so the leader does, by what the stream signals. How jobs end
is told by the hosts that run them (`hosts.durable_attempt`). A signal that is lost with a
connection, or falls between two leaders, is not told: the stream of jobs has the truth.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from lattice.bus.base import Bus, Packet
from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.model.durable_events import COUNTED_S, JobEvents
from lattice.wire.codec import decode_as, is_json
from lattice.wire.durable import Outcome, StoredJob
from lattice.wire.subjects import Names
from scheduler.announcements import Emit

RETRY_S = 1.0
"""Seconds before a subscription that failed is made again."""

SIGNALS_MAX = 65_536
"""Signals that wait to be looked at; what is over it is not told."""

log = logging.getLogger(__name__)


class JobAnnouncer:
    """What one leader tells about jobs."""

    def __init__(
        self,
        bus: Bus,
        names: Names,
        clock: Clock,
        put: Callable[[Emit], None],
        heard: Callable[[str], None] = lambda _deployment: None,
    ) -> None:
        """`heard` learns of each deployment that a job is to be run of."""
        self._bus = bus
        self._names = names
        self._clock = clock
        self._put = put
        self._heard = heard
        self._events = JobEvents()
        self._counts = 0

    async def run(self) -> None:
        """Tell events until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._count)
            while True:
                try:
                    signals = self._bus.subscribe(
                        self._names.job_signals(), pending_max=SIGNALS_MAX
                    )
                    async with signals as packets:
                        async for packet in packets:
                            self._hear(packet)
                except LatticeError as error:
                    log.warning("events of durable jobs are not told, trying on: %s", error)
                await anyio.sleep(RETRY_S)

    def _hear(self, packet: Packet) -> None:
        try:
            place, deployment, _, job = self._names.parse_job(packet.subject)
            if place == "call":
                self._heard(deployment)
            kind, event_id, reason = _read(place, packet)
        except LatticeError:
            return  # hosts tell of what they cannot read
        if not kind:
            return
        now_s = self._clock.monotonic_s()
        data = {"job": job, "reason": reason}
        for told, facts in self._events.take(now_s, kind, deployment, data):
            self._tell(told, facts, f"{told}.{deployment}.{job}.{event_id}")

    async def _count(self) -> None:
        while True:
            await anyio.sleep(COUNTED_S)
            for told, facts in self._events.due(self._clock.monotonic_s()):
                self._tell(told, facts, "")

    def _tell(self, kind: str, facts: dict[str, object], event_id: str) -> None:
        if "count" in facts:
            self._counts += 1
            event_id = f"{kind}.{self._clock.wall_s()}.{self._counts}"
        self._put(Emit(id=event_id, kind=kind, entity=str(facts["deployment"]), data=facts))


def _read(place: str, packet: Packet) -> tuple[str, str, str]:
    """Return kind of event, what makes its id, and reason; no kind: nothing is told of it.

    A job that is moved when its time comes, or put back by a host that stops, makes the same id
    again, by which readers know a repetition. `Raises:` DecodeError.
    """
    as_json = is_json(packet.headers)
    if place == "done":
        outcome = decode_as(Outcome, packet.body, as_json=as_json)
        kind = "job-cancelled" if outcome.state == "cancelled" else ""
        return kind, str(outcome.ended_s), str((outcome.err or {}).get("message", ""))
    job = decode_as(StoredJob, packet.body, as_json=as_json)
    if job.schedule:
        return "", "", ""  # each of its times makes a job
    caller = f"by {job.caller}" if job.caller else ""
    if job.replaces:
        return "job-redriven", str(job.replaces), caller
    return "job-submitted", str(job.submitted_s), caller
