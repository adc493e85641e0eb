"""What the reconciler knows beside counts, as one value for a plan. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lattice.model.host import ReplicaReport
from lattice.model.ids import HostId
from scheduler.announcements import Announcements
from scheduler.backoff import FailureMemory
from scheduler.delivery import Delivery
from scheduler.membership import Member, Membership
from scheduler.placement.model import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the reconciler knows besides."""

    delivery: Delivery
    membership: Membership
    failures: FailureMemory
    announcements: Announcements
    candidate: Callable[[HostId, Member], Candidate]
    is_flapping: bool = False  # some host is held off

    def reports(self, host: HostId) -> Iterable[ReplicaReport]:
        """Return what a host says of its replicas; nothing when it is lost."""
        member = self.membership.member(host)
        if member is None or member.report is None or member.state == "lost":
            return ()
        return member.report.replicas
