"""Where strict singletons may still be at work; a core, one for each term.

A replica of one may be started on a host only when no other host may run one any more: either it
reported a target without it and nothing of it, or every lease that it may hold ran out. What a
leader before withdrew is not known, so at the beginning every host with a target is suspected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lattice.model.host import Report, Revision
from lattice.model.ids import DeploymentName, HostId
from scheduler.profile import DRIFT, Profile

ENDED = ("completed", "failed", "crash-loop")
"""States of a replica that is not at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    sequence: int  # of the target that does not list it
    free_s: float  # when no lease of before that target can be valid any more


class Singletons:
    """The suspects of one term. Time goes in with each call."""

    def __init__(self, profile: Profile, incarnation: str, *, now_s: float) -> None:
        self._incarnation = incarnation
        # Counted by the scheduler's clock; the host's may run slower.
        self._lease_s = profile.host_lease_s * (1 + 2 * DRIFT)
        self._began_s = now_s
        self._granted_s: dict[HostId, float] = {}
        self._doubts: dict[DeploymentName, dict[HostId, _Doubt]] = {}
        self._adopted: dict[HostId, Report] = {}

    def granted(self, now_s: float, host: HostId) -> None:
        """Note that a lease was granted to a host."""
        self._granted_s[host] = now_s

    def withdrawn(self, name: DeploymentName, host: HostId, sequence: int) -> None:
        """Note that a host's target lists a singleton no more, from this sequence on.

        Leases that are granted later need that target adopted, so that they do not count.
        """
        granted_s = self._granted_s.get(host, self._began_s)
        doubt = _Doubt(sequence=sequence, free_s=granted_s + self._lease_s)
        self._doubts.setdefault(name, {})[host] = doubt

    def listed(self, name: DeploymentName, host: HostId) -> None:
        """Note that a host's target lists it again."""
        self._doubts.get(name, {}).pop(host, None)

    def reported(self, report: Report) -> None:
        """Take a host's report in."""
        self._adopted[report.host] = report

    def suspects(
        self, now_s: float, name: DeploymentName, targets: Mapping[HostId, int]
    ) -> Iterable[HostId]:
        """Yield the hosts that may run the singleton although their targets do not list it.

        `targets` has the sequence of every host's target.
        """
        doubts = self._doubts.get(name, {})
        for host, doubt in list(doubts.items()):
            if now_s >= doubt.free_s or self._is_clear(host, name, doubt.sequence):
                del doubts[host]
            else:
                yield host
        if now_s >= self._began_s + self._lease_s:
            return
        for host, sequence in targets.items():
            if host not in doubts and not self._is_clear(host, name, sequence):
                yield host

    def _is_clear(self, host: HostId, name: DeploymentName, sequence: int) -> bool:
        report = self._adopted.get(host)
        if report is None or report.adopted.is_behind(Revision(self._incarnation, sequence)):
            return False
        return not any(r.deployment == name and r.state not in ENDED for r in report.replicas)
