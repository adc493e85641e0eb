"""A claim on an idle instance for one call of another guest of the same replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hosts.engine.base import Instance


@dataclass(frozen=True, slots=True)
class CallLease:
    """One call that may begin at once; see `hosts.engine.base.Lease`."""

    instance: Instance
    interface: str
    function: str
    deadline_s: float
    release: Callable[[], None]
