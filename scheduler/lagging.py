"""Which hosts do not adopt their targets although they report; a core, one for each term.

A document may be lost behind a host's back, or damaged. Writing it again is the remedy; this only
decides when.
"""

from __future__ import annotations

from dataclasses import dataclass

from lattice.model.host import Report, Revision
from lattice.model.ids import HostId

ADOPT_HEARTBEATS = 4.0
"""Heartbeats for which a host may be behind: it is told with each of them, and reads at once."""

DOUBLINGS_MAX = 6
"""How often the wait doubles for a host that stays behind, such as one that refuses its target."""


@dataclass(slots=True)
class _Lag:
    adopted: Revision
    since_s: float
    tries: int = 0


class Lags:
    """Since when hosts are behind. Time goes in with each report."""

    def __init__(self, heartbeat_s: float) -> None:
        self._wait_s = ADOPT_HEARTBEATS * heartbeat_s
        self._lags: dict[HostId, _Lag] = {}

    def is_due(self, now_s: float, report: Report, required: Revision) -> bool:
        """Tell whether the host's document should be written again now."""
        if required.sequence == 0 or not report.adopted.is_behind(required):
            self._lags.pop(report.host, None)
            return False
        lag = self._lags.get(report.host)
        if lag is None or lag.adopted != report.adopted:
            self._lags[report.host] = _Lag(report.adopted, now_s)
            return False
        if now_s - lag.since_s <= self._wait_s * 2.0 ** min(lag.tries, DOUBLINGS_MAX):
            return False
        lag.since_s, lag.tries = now_s, lag.tries + 1
        return True
