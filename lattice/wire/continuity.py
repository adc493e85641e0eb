"""What a reader of the event log has not seen: numbers that are missing, events told twice; a core.

It looks at every event of the log in its order, whatever of it is shown. It reads no log.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from lattice.wire.messages import Event

MISSING = "events-missing"
"""The kind of the event that a reader tells itself where others are missing."""

SOURCES_MAX = 10_000
"""Runs of sources whose last number is remembered: all hosts of a large lattice, a few times over.
One that is forgotten is begun anew, which hides a gap and invents none."""

REPEATS_MAX = 10_000
"""Ids that are remembered to tell repeats apart: what two schedulers tell at about the same time,
and what a new leader tells again."""


@dataclass(slots=True)
class _Source:
    run: str
    last: int


class Continuity:
    """The numbers and ids that one reader has seen.

    A source is followed from its first event on that was read; one that begins a new run must
    begin it with 1, and so must every source of a log that is read from its very beginning.
    """

    def __init__(self, *, after: int = 0) -> None:
        """Look at a log that is read after the position `after`, 0 when it is not known."""
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._after = after
        self._is_whole = False

    def take(self, event: Event) -> tuple[Event | None, bool]:
        """Return what is missing before an event, as an event, and whether it was seen before."""
        missing = self._log_gap(event) or self._source_gap(event)
        is_repeat = event.id in self._ids
        self._ids[event.id] = None
        if is_repeat:
            self._ids.move_to_end(event.id)
        elif len(self._ids) > REPEATS_MAX:
            self._ids.popitem(last=False)
        return missing, is_repeat

    def _log_gap(self, event: Event) -> Event | None:
        """Tell of positions that the log holds no longer."""
        if not event.position:
            return None
        after, self._after = self._after, event.position
        self._is_whole = self._is_whole or event.position == 1
        if not after or event.position <= after + 1:
            return None
        return _missing(event, "the log", "log", after + 1, event.position - 1)

    def _source_gap(self, event: Event) -> Event | None:
        if not event.sequence:
            return None
        known = self._sources.get(event.source)
        if known is None:
            expected = 1 if self._is_whole else event.sequence
        else:
            expected = known.last + 1 if known.run == event.run else 1
        last = event.sequence
        if known is not None and known.run == event.run:
            last = max(last, known.last)
        self._sources[event.source] = _Source(event.run, last)
        self._sources.move_to_end(event.source)
        if len(self._sources) > SOURCES_MAX:
            self._sources.popitem(last=False)
        if event.sequence <= expected:
            return None
        return _missing(event, event.source, event.run, expected, event.sequence - 1)


def _missing(before: Event, source: str, run: str, first: int, last: int) -> Event:
    """Return the event that numbers are missing, told at the time of the one that shows it."""
    return Event(
        id=f"{MISSING}:{source}:{run}:{first}",
        kind=MISSING,
        source=source,
        entity=source.rpartition("/")[2],
        time_s=before.time_s,
        data={"count": last - first + 1, "first": first, "last": last},
        position=before.position,
    )
