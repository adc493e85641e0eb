"""Where replicas failed lately: hosts to avoid for a while, longer after each failure; a core.

It remembers and forgets; whether an avoided host is used is placement's decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lattice.model.ids import HostId
from scheduler.placement.model import Key

BACKOFF_MIN_S = 5.0
"""Avoidance after the first failure: a few heartbeats, so that the failure is seen to last."""

BACKOFF_MAX_S = 300.0
"""Longest avoidance: what is mended is tried again within minutes, without a person's help."""

MEMORY_S = 900.0
"""How long a failure counts after its avoidance ended: a later one starts from the minimum."""

REASON_CHARS_MAX = 2000
"""Characters kept of a host's error text; a backtrace may be long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is known about a generation that failed on a host."""

    times: int
    until_s: float  # avoided until then
    reason: str


class FailureMemory:
    """Failures by deployment, generation and host. Time goes in with each call."""

    def __init__(self) -> None:
        self._failures: dict[Key, dict[HostId, Failure]] = {}

    def note(self, now_s: float, key: Key, host: HostId, reason: str) -> bool:
        """Remember a failure and tell whether the host is newly to be avoided.

        Reports of one failure repeat with each heartbeat, and replicas of one target fail together:
        while a host is avoided, further reports change nothing.
        """
        known = self._failures.setdefault(key, {})
        last = known.get(host)
        if last is not None and now_s < last.until_s:
            return False
        times = last.times + 1 if last is not None else 1
        backoff_s = min(BACKOFF_MIN_S * 2 ** min(times - 1, 16), BACKOFF_MAX_S)
        known[host] = Failure(
            times=times, until_s=now_s + backoff_s, reason=reason[:REASON_CHARS_MAX]
        )
        return True

    def avoided(self, now_s: float, key: Key) -> Mapping[HostId, str]:
        """Return the hosts to avoid now, with what they said."""
        failures = self._failures.get(key, {})
        return {host: f.reason for host, f in sorted(failures.items()) if now_s < f.until_s}

    def failures(self, key: Key) -> Mapping[HostId, Failure]:
        """Return all that is remembered of one generation, by host."""
        return dict(sorted(self._failures.get(key, {}).items()))

    def failed(self) -> tuple[Key, ...]:
        """Return the generations that failed somewhere."""
        return tuple(sorted(self._failures))

    def next_end_s(self, now_s: float) -> float | None:
        """Return when the next avoidance ends, None when none is running."""
        ends = (f.until_s for hosts in self._failures.values() for f in hosts.values())
        return min((end for end in ends if end > now_s), default=None)

    def forget(self, now_s: float, keep: frozenset[Key]) -> None:
        """Drop what is no longer wanted and what happened too long ago."""
        for key in list(self._failures):
            hosts = self._failures[key]
            for host in [h for h, f in hosts.items() if now_s > f.until_s + MEMORY_S]:
                del hosts[host]
            if key not in keep or not hosts:
                del self._failures[key]
