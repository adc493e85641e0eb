"""What a process that a supervisor or `lattice up` started is told on its command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from hosts.guarded import Guard


@Parameter(name="*", show=False)
@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What ties a process to `lattice up` or a supervisor, which started it."""

    ends_with_parent: Annotated[bool, Parameter(show=False)] = False
    """End when the standard input does."""

    black_box: Annotated[int | None, Parameter(show=False)] = None
    """Descriptor of the memory that the supervisor reads when the worker has died."""

    quarantine: Annotated[Path | None, Parameter(show=False)] = None
    """File with the components that the worker must not start."""

    after: Annotated[str, Parameter(show=False)] = ""
    """How the process before this one ended."""

    @property
    def is_worker(self) -> bool:
        """Tell whether a supervisor watches this process."""
        return self.black_box is not None

    def guard(self) -> Guard:
        """Return the ties to the supervisor. Once only: the descriptor is closed by it."""
        from hosts.blackbox import BlackBox
        from hosts.guarded import Guard
        from hosts.quarantine import Quarantine

        return Guard(Quarantine(self.quarantine), BlackBox(self.black_box))


NO_DUTY = Duty()
"""What a process has that a person started."""
