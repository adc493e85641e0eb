"""Keeps the event log whole while a scheduler leads: tells what it lacks, and takes snapshots.

At the beginning of a term, and then with each snapshot, what the log makes is compared with what
stands (`scheduler.mending`). It is looked at beside all other work, which waits for none of this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
import anyio.lowlevel

from lattice.bus.base import Log
from lattice.client.past import Replay, replay
from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.model.ids import DeploymentName, HostId
from lattice.wire.messages import Event
from lattice.wire.past import SNAPSHOT, SNAPSHOT_ENTITY, Past, PastReplica
from lattice.wire.subjects import Names
from scheduler.announcements import Emit
from scheduler.delivery import Document
from scheduler.mending import unsaid_deployments, unsaid_hosts, unsaid_replicas
from scheduler.outbox import Outbox
from scheduler.reconciler import Reconciler

SNAPSHOT_S = 3600.0
"""Seconds between two snapshots: a replay reads the events of an hour at most, and the log reaches
back to within an hour of the oldest event that it keeps."""

SNAPSHOT_LONGEST_S = 6 * 3600.0
"""Seconds between two snapshots of a very large lattice: they take room in the log themselves."""

PARTS_CHEAP = 20
"""Parts of a snapshot up to which it is taken as often as others: 1 MB. Larger ones come less
often, in proportion."""

UNSAID_MAX = 1000
"""Events that are told one by one where the log lacks them; more, as after the loss of the log, are
told as a snapshot."""

LOOK_S = 60.0
"""Seconds between two looks whether a snapshot is due."""

RETRY_S = 1.0
"""Wait before the log is compared again when it could not be, or its targets are not sealed yet."""

FLUSH_S = 5.0
"""Seconds for which the own events get to the log before it is compared."""

HOSTS_AT_ONCE = 100
"""Hosts that are compared before others on this thread have their turn."""

log = logging.getLogger(__name__)


class Chronicle:
    """The event log of one lattice, as one scheduler process keeps it."""

    def __init__(self, events: Log, names: Names, outbox: Outbox, clock: Clock) -> None:
        self._events = events
        self._names = names
        self._outbox = outbox
        self._clock = clock

    async def keep(self, core: Reconciler, has_settled: Callable[[], bool]) -> None:
        """Keep the log whole for one term, until cancelled.

        `has_settled` tells whether the term knows all hosts and their targets.
        """
        begun_s = await self._begin(core, has_settled)
        wait_s = SNAPSHOT_S
        while True:
            await anyio.sleep(LOOK_S)
            if self._clock.wall_s() - begun_s < wait_s:
                continue
            if (found := await self._compared(core)) is not None:
                parts = self._take_snapshot(found.past)
                begun_s = self._clock.wall_s()
                wait_s = min(max(1.0, parts / PARTS_CHEAP) * SNAPSHOT_S, SNAPSHOT_LONGEST_S)

    async def _begin(self, core: Reconciler, has_settled: Callable[[], bool]) -> float:
        """Compare the log for the first time, and return since when it has no snapshot."""
        while True:
            found = await self._compared(core) if has_settled() else None
            if found is not None:
                return self._clock.wall_s() if found.begun_s is None else found.begun_s
            await anyio.sleep(RETRY_S)

    async def _compared(self, core: Reconciler) -> Replay | None:
        """Tell what the log lacks, and return what it holds; None when it cannot be read."""
        standing = core.decider.wishes.standing()
        documents = dict(core.delivery.documents)
        # What this process has done so far is in the log before it is read, so that it does not
        # look missing.
        if not await self._outbox.flushed(timeout_s=FLUSH_S):
            return None
        try:
            found = await replay(self._events, self._names, is_lenient=True)
        except LatticeError as exc:
            log.info("the event log was not compared, trying again: %s", exc)
            return None
        # What was changed while it was read is told by whoever changed it.
        now = core.decider.wishes.standing()
        unsaid = [
            emit
            for emit in unsaid_deployments(found.past, standing)
            if now.get(_name(emit)) == standing.get(_name(emit))
        ]
        unsaid += await _unsaid_replicas(core, found.past, documents)
        unsaid += unsaid_hosts(found.past, core.membership.members(), core.announcements)
        if unsaid:
            log.info("%d events that the log lacked are told", len(unsaid))
        if len(unsaid) <= UNSAID_MAX:
            for emit in unsaid:
                self._outbox.put(emit)
        else:
            for emit in unsaid:
                found.past.take(self._event(emit))
            self._take_snapshot(found.past)
        return found

    def _event(self, emit: Emit) -> Event:
        return Event(
            id=emit.id,
            kind=emit.kind,
            source="",
            entity=emit.entity,
            time_s=self._clock.wall_s(),
            data=emit.data,
        )

    def _take_snapshot(self, past: Past) -> int:
        """Tell what the log makes, and return in how many parts."""
        parts = past.parts()
        for part in parts:
            identity = f"snapshot.{past.position}.{part['part']}"
            self._outbox.put(Emit(id=identity, kind=SNAPSHOT, entity=SNAPSHOT_ENTITY, data=part))
        return len(parts)


async def _unsaid_replicas(
    core: Reconciler, past: Past, documents: dict[HostId, Document]
) -> list[Emit]:
    told: dict[str, list[PastReplica]] = {}
    for each in past.replicas.values():
        told.setdefault(each.host, []).append(each)
    members = core.membership.members()
    found: list[Emit] = []
    for number, (host, document) in enumerate(documents.items()):
        if number % HOSTS_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()
        # Compared by the contents: sealing gives a document another revision.
        if core.delivery.documents.get(host) is not document or core.delivery.is_busy(host):
            continue
        name = members[host].inventory.name if host in members else ""
        found += unsaid_replicas(told.get(host, ()), document, name)
    for host_id in told.keys() - {str(host) for host in core.delivery.documents}:
        empty = Document(host=HostId(host_id), items=(), revision=0)
        found += unsaid_replicas(told[host_id], empty, "")
    return found


def _name(emit: Emit) -> DeploymentName:
    return DeploymentName(emit.entity)
