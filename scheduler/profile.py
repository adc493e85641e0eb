"""The times by which a lattice notices that something is gone; no decisions are made here.

Every duration is measured on one machine's monotonic clock, from the sending of the request that
it belongs to. Clocks of two machines are never compared; their rates may differ by `DRIFT`.
"""

from __future__ import annotations

from dataclasses import dataclass

DRIFT = 0.02
"""The share by which two machines' clock rates may differ; a host out of NTP's reach drifts less
than 0.001, the rest is room for virtual machines that are paused for moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One consistent set of times, all in seconds."""

    heartbeat_s: float  # between two reports of a host
    lost_after_s: float  # silence after which a host is lost
    host_lease_s: float  # what an answer to a report grants, from the sending of the report
    leader_lease_s: float  # what a renewal of leadership grants, from its sending
    tick_s: float  # between two looks at the clock

    @property
    def renew_s(self) -> float:
        """Return the seconds between two renewals of leadership: three fit one lease."""
        return self.leader_lease_s / 3


DEFAULT = Profile(
    heartbeat_s=2.0, lost_after_s=6.0, host_lease_s=6.0, leader_lease_s=6.0, tick_s=0.5
)
"""For any network: three reports may be lost before a host is."""

FAST = Profile(heartbeat_s=0.5, lost_after_s=1.5, host_lease_s=1.5, leader_lease_s=1.5, tick_s=0.1)
"""For one machine or one rack, and for tests."""

PROFILES = {"default": DEFAULT, "fast": FAST}
"""By the names that people give them; hosts learn their pace from the scheduler."""
