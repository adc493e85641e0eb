"""What a leader reads and writes besides targets: status, routes, and desired state; a core.

`Memory` knows what stands and what should stand, and says what to write. A record that decisions
depend on counts as kept only when its write was confirmed. It does not know what the records mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lattice.model.ids import DeploymentName
from lattice.wire.messages import DeploymentRoute, DeploymentStatus

RETRY_S = 2.0
"""Wait before a write is repeated whose outcome was bad or is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRecords:
    """Read every status and route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRecord:
    """Write a status or a route, or remove it when `value` is None, under the fence `epoch`."""

    name: DeploymentName
    kind: type[DeploymentStatus] | type[DeploymentRoute]
    value: DeploymentStatus | DeploymentRoute | None
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Make `to` the desired generation again instead of `given_up`, which stands at `revision`."""

    name: DeploymentName
    to: int
    given_up: int
    revision: int
    reason: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteEnded:
    """Remove the desired record of a job that ended, which stands at `revision`."""

    name: DeploymentName
    revision: int
    epoch: int


Command = ReadRecords | KeepRecord | Revert | DeleteEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsRead:
    """Every status and route that stands."""

    statuses: tuple[DeploymentStatus, ...]
    routes: tuple[DeploymentRoute, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsUnread:
    """They could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordKept:
    """The outcome of a `KeepRecord`."""

    asked: KeepRecord
    is_kept: bool


Outcome = RecordsRead | RecordsUnread | RecordKept

_Slot = tuple[DeploymentName, type[DeploymentStatus] | type[DeploymentRoute]]
_Value = DeploymentStatus | DeploymentRoute


def unknown(command: Command) -> Outcome | None:
    """Return the outcome of a command that was given up, None where none is awaited."""
    match command:
        case ReadRecords():
            return RecordsUnread()
        case KeepRecord():
            return RecordKept(asked=command, is_kept=False)
        case _:
            return None


class Memory:
    """The records of one term."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._kept: dict[_Slot, _Value] = {}
        self._wanted: dict[_Slot, _Value | None] = {}  # where it is not what is kept
        self._asked: dict[_Slot, _Value | None] = {}  # being written
        self._retry_s: dict[_Slot, float] = {}  # of writes that may or may not stand
        self._is_read = False
        self._asked_s: float | None = None

    @property
    def is_read(self) -> bool:
        """Tell whether it is known what stands."""
        return self._is_read

    def names(self) -> Iterable[DeploymentName]:
        """Return every deployment with a record."""
        return {name for name, _ in self._kept}

    def status(self, name: DeploymentName) -> DeploymentStatus:
        """Return a deployment's status as it should stand."""
        slot: _Slot = (name, DeploymentStatus)
        found = self._wanted[slot] if slot in self._wanted else self._kept.get(slot)
        return found if isinstance(found, DeploymentStatus) else DeploymentStatus(name=name)

    def kept_status(self, name: DeploymentName) -> DeploymentStatus:
        """Return a deployment's status as it is known to stand."""
        found = self._kept.get((name, DeploymentStatus))
        return found if isinstance(found, DeploymentStatus) else DeploymentStatus(name=name)

    def keep(self, status: DeploymentStatus) -> None:
        """Say what the status should be; one that says nothing is not written."""
        name = DeploymentName(status.name)
        is_blank = status == DeploymentStatus(name=name)
        self._want((name, DeploymentStatus), None if is_blank else status)

    def route(self, name: DeploymentName, route: DeploymentRoute | None) -> None:
        """Say what the route should be, None for none."""
        self._want((name, DeploymentRoute), route)

    def drop(self, name: DeploymentName) -> None:
        """Say that a deployment has no records any more."""
        self._want((name, DeploymentStatus), None)
        self._want((name, DeploymentRoute), None)

    def due(self, now_s: float) -> tuple[Command, ...]:
        """Return what to read or write now."""
        if not self._is_read:
            if self._asked_s is not None and now_s - self._asked_s < RETRY_S:
                return ()
            self._asked_s = now_s
            return (ReadRecords(),)
        commands: list[Command] = []
        for slot in sorted(self._wanted.keys() - self._asked.keys(), key=_order):
            if now_s >= self._retry_s.get(slot, now_s):
                value = self._asked[slot] = self._wanted[slot]
                commands.append(
                    KeepRecord(name=slot[0], kind=slot[1], value=value, epoch=self._epoch)
                )
        return tuple(commands)

    def handle(self, now_s: float, outcome: Outcome) -> DeploymentName | None:
        """Take an outcome in, and return the deployment of which a record is kept now."""
        match outcome:
            case RecordsUnread():
                return None
            case RecordsRead(statuses=statuses, routes=routes):
                if not self._is_read:
                    self._is_read = True
                    for status in statuses:
                        self._kept[DeploymentName(status.name), DeploymentStatus] = status
                    for route in routes:
                        self._kept[DeploymentName(route.name), DeploymentRoute] = route
                return None
            case RecordKept(asked=asked, is_kept=is_kept):
                slot: _Slot = (asked.name, asked.kind)
                self._asked.pop(slot, None)
                if not is_kept:
                    self._retry_s[slot] = now_s + RETRY_S
                    return None
                self._retry_s.pop(slot, None)
                if asked.value is None:
                    self._kept.pop(slot, None)
                else:
                    self._kept[slot] = asked.value
                if self._wanted.get(slot, asked.value) == asked.value:
                    self._wanted.pop(slot, None)
                return asked.name

    def _want(self, slot: _Slot, value: _Value | None) -> None:
        is_certain = slot not in self._asked and slot not in self._retry_s
        if is_certain and self._kept.get(slot) == value:
            self._wanted.pop(slot, None)
        else:
            self._wanted[slot] = value


def _order(slot: _Slot) -> tuple[str, str]:
    return (slot[0], slot[1].__name__)
