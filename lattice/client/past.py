"""The state of a lattice at a moment, read from its event log.

Begins at the last snapshot before the moment, else at the beginning of the log, and takes every
event up to it. What the events mean is decided by `lattice.wire.past`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from lattice.bus.base import Log, Record
from lattice.errors import DecodeError, NotFoundError
from lattice.wire import events
from lattice.wire.continuity import Continuity
from lattice.wire.messages import Event
from lattice.wire.past import SNAPSHOT, SNAPSHOT_ENTITY, Past, State, snapshot_of
from lattice.wire.subjects import Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What stood after the last event that was recorded up to a time."""

    state: State
    position: int  # of that event in the log; 0: there was none
    missing: int = 0  # events that are known to lack on the way: the state may be wrong by them


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What the events of the log make."""

    past: Past
    missing: int  # events that are known to lack on the way
    begun_s: float | None  # when the snapshot was taken that it began with, else the first event


async def read_past(log: Log, names: Names, *, at_s: float | None = None) -> Moment:
    """Return what stood at `at_s`, seconds since the Unix epoch by the server's clock; None: now.

    Raises:
        NotFoundError: the log does not reach back so far.
    """
    found = await replay(log, names, at_s=at_s)
    return Moment(state=found.past.state(), position=found.past.position, missing=found.missing)


async def replay(
    log: Log, names: Names, *, at_s: float | None = None, is_lenient: bool = False
) -> Replay:
    """Return what the events up to a time make.

    With `is_lenient` a log that lost its beginning is taken as far as it goes. `Raises:` as
    `read_past`.
    """
    found, begun_s = await _snapshot(log, names, at_s)
    past = found or Past()
    continuity = Continuity(after=past.position)
    missing, is_first = 0, True
    async with log.read(names.events(), after=past.position) as records:
        async for record in records:
            if begun_s is None:
                begun_s = record.time_s
            if is_first and found is None and record.sequence > 1 and not is_lenient:
                raise _too_early(record, at_s)
            is_first = False
            if at_s is not None and record.time_s > at_s:
                break
            event = _event(record)
            if event is None:
                continue
            gap, is_repeat = continuity.take(event)
            missing += int(gap.data["count"]) if gap is not None else 0
            if not is_repeat and event.kind != SNAPSHOT:
                past.take(event)
            past.position = record.sequence
    return Replay(past=past, missing=missing, begun_s=begun_s)


async def _snapshot(log: Log, names: Names, at_s: float | None) -> tuple[Past | None, float | None]:
    """Return the last snapshot that was recorded in full up to a time, and when that was."""
    found: Past | None = None
    found_s: float | None = None
    parts: dict[int, Event] = {}
    async with log.read(names.event(SNAPSHOT, SNAPSHOT_ENTITY)) as records:
        async for record in records:
            if at_s is not None and record.time_s > at_s:
                break
            event = _event(record)
            if event is None:
                continue
            number = event.data.get("part")
            if number == 0:
                parts = {}
            if isinstance(number, int):
                parts[number] = event
            if (whole := snapshot_of(parts)) is not None:
                found, found_s = whole, record.time_s
    return found, found_s


def _event(record: Record) -> Event | None:
    try:
        return events.from_packet(record.body, record.headers, position=record.sequence)
    except DecodeError:
        return None


def _too_early(first: Record, at_s: float | None) -> NotFoundError:
    begins = datetime.fromtimestamp(first.time_s, UTC).isoformat(timespec="seconds")
    asked = "now" if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat()
    return NotFoundError(
        f"the state at {asked} cannot be told: the event log begins at {begins} and holds no "
        "snapshot from before; ask for a later time"
    )
