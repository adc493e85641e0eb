"""Tells of submissions that were refused, within a bound: who asks for nonsense must not fill the
event log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import uuid4

from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.model.ids import name_fault
from scheduler.announcements import Emit

TOLD_MAX = 30
"""Refusals that are told within `WINDOW_S`; those over it are counted with the next one."""

WINDOW_S = 60.0
"""Seconds over which they are counted."""

REASON_LENGTH_MAX = 2000
"""Characters of a reason: all faults of an ordinary manifest."""


class Refusals:
    """The refusals of one scheduler process."""

    def __init__(self, announce: Callable[[Emit], None], clock: Clock) -> None:
        self._announce = announce
        self._clock = clock
        self._since_s = float("-inf")
        self._told = 0
        self._untold = 0

    def refused(self, manifest: Mapping[str, object], by: str, exc: LatticeError) -> None:
        """Tell that a deployment was refused, if its name can be told at all."""
        name = manifest.get("name")
        if not isinstance(name, str) or name_fault(name) is not None:
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._since_s >= WINDOW_S:
            self._since_s, self._told = now_s, 0
        if self._told >= TOLD_MAX:
            self._untold += 1
            return
        self._told += 1
        data: dict[str, object] = {
            "deployment": name,
            "error": exc.kind,
            "reason": exc.message[:REASON_LENGTH_MAX],
            "submitted_by": by,
        }
        if self._untold:
            data["untold"], self._untold = self._untold, 0
        self._announce(
            Emit(id=f"refused.{uuid4().hex}", kind="deployment-refused", entity=name, data=data)
        )
