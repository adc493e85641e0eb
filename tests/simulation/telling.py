"""What must hold of the events that schedulers and hosts tell: once for each transition, in order.

Equal ids are one event, whoever tells it; that is how a new leader may tell again what the one
before told. What it can see are the commands of the cores; that a log keeps their order is the
outbox's matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hosts.lifecycle import Announce
from scheduler.announcements import Emit

OPPOSITES: Mapping[str, tuple[str, ...]] = {
    "replica-placed": ("replica-withdrawn",),
    "replica-withdrawn": ("replica-placed",),
    "host-lost": ("host-returned", "host-joined", "host-rebooted", "host-left"),
}
"""What must have been told of an entity, in a term, before one of these is told again."""


class Telling:
    """The events of one world."""

    def __init__(self) -> None:
        self._ids: dict[str, tuple[str, str]] = {}
        self._last: dict[tuple[str, str], str] = {}  # by source and entity
        self._in_term: set[tuple[str, str]] = set()

    def emitted(self, epoch: int, event: Emit) -> Iterator[str]:
        """Yield what is wrong with an event of a scheduler."""
        told = (event.kind, event.entity)
        if self._ids.setdefault(event.id, told) != told:
            yield f"event {event.id} is both {self._ids[event.id]} and {told}"
        if event.kind not in OPPOSITES and not event.kind.startswith("host-"):
            return
        source = f"term {epoch}"
        if (source, event.id) in self._in_term:
            yield f"event {event.id} was told twice in {source}: {told}"
        self._in_term.add((source, event.id))
        if "ranges" not in event.data:  # of many replicas, told by the name of their deployment
            yield from self._followed(source, event.entity, event.kind)

    def announced(self, source: str, event: Announce) -> Iterator[str]:
        """Yield what is wrong with an event of a host, of one of its boots."""
        if event.replica is None:
            return
        if event.kind == self._last.get((source, event.replica)) == "replica-running":
            yield f"{source} told twice that {event.replica} runs"
        self._last[source, event.replica] = event.kind

    def _followed(self, source: str, entity: str, kind: str) -> Iterator[str]:
        before = self._last.get((source, entity))
        if kind == before and kind in OPPOSITES:
            yield f"{source} told {kind} of {entity} twice, and {OPPOSITES[kind]} never between"
        self._last[source, entity] = kind
