"""What a supervisor's core is told, and what it has its shell do (see `hosts.supervision`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lattice.model.ids import Digest

# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """The supervisor began to run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A worker has joined its lattice."""

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A worker's process has ended.

    `status` is its exit status, or minus the signal that ended it. `at_work` has the components
    that were being started or called at that moment.
    """

    worker: int
    status: int
    at_work: frozenset[Digest] = frozenset()
    was_out_of_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A worker's event loop has turned so often, as its own process says; 0 before it begins."""

    worker: int
    ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWanted:
    """All workers are to finish their calls and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed; see `Supervision.next_due_s`."""


Event: TypeAlias = Began | Joined | Ended | Looked | StopWanted | Ticked


# --- commands ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a worker; `after` tells how the process before it ended, "" for the first."""

    worker: int
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """Tell a worker to finish its calls and end."""

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """End a worker that does nothing any more in a way that shows where it is."""

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """End a worker at once."""

    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Have workers refuse these components from now on: all that are refused, with the reasons."""

    components: Mapping[Digest, str]
    added: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """No worker runs any more: end with this exit status."""

    status: int


Command: TypeAlias = Start | Terminate | Abort | Kill | Quarantine | Finish
