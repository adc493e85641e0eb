"""What keeps a strict singleton from working without a lease: one comparison for each call.

The lifecycle core decides until when; here it is looked up, by the clock of this host alone. It
ends nothing: that is the runner's.
"""

from __future__ import annotations

from dataclasses import dataclass

from lattice.clock import Clock
from lattice.errors import NoRouteError

EPOCH_KEY = "lattice.epoch"
REVISION_KEY = "lattice.revision"
"""Keys of `wasi:config` under which a strict singleton finds its fencing token: of two of its
lives, the later one has the greater epoch, or the same and the greater revision."""


class Fence:
    """Until when the strict singletons of this host may work on calls."""

    __slots__ = ("_clock", "until_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.until_s = float("-inf")

    def require_open(self, replica: str) -> None:
        """Return when the lease holds.

        Raises:
            NoRouteError: it does not, so that another host may run the singleton by now.
        """
        if self._clock.monotonic_s() >= self.until_s:
            raise NoRouteError(
                f"replica {replica} is a strict singleton, and its host has no lease from a "
                "scheduler now; the call was not started, call again"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Singleton:
    """One life of a strict singleton: what keeps it from working, and its fencing token."""

    fence: Fence
    epoch: int
    revision: int

    @property
    def config(self) -> dict[str, str]:
        """Return what `wasi:config` tells the guest of this life."""
        return {EPOCH_KEY: str(self.epoch), REVISION_KEY: str(self.revision)}
