"""How far a job is, and how many of its replicas should be at work; a core.

Each replica runs once and ends well or badly. It is counted once, by its id, in the status that
outlives the leader; only when that stands may its target let go of it. So a new leader counts
neither twice nor too little. What ran on a host that was lost runs again elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lattice.model.host import ReplicaReport
from lattice.model.scheduling import Job
from lattice.wire.messages import DeploymentStatus

REASON_CHARS_MAX = 2000
"""Characters kept of the error text with which a job's replica ended."""

LISTED_MIN, LISTED_TIMES = 64, 8
"""Replicas of a job that one assignment lists, those that ended with them: at least so many, and so
many times those that are to be at work. It bounds targets, reports and the status of a job without
end; where a host comes to it, its slowest replica holds up the others once in eight rounds."""


def listed_max(active: int) -> int:
    """Return how many replicas of a job a host's target lists at most."""
    return max(LISTED_MIN, LISTED_TIMES * active)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Replicas of a job that its targets list and that came to an end."""

    completed: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    reason: str = ""  # of the last one that failed

    @property
    def all(self) -> frozenset[str]:
        """Return both kinds."""
        return self.completed | self.failed


def ended(listed: frozenset[str], reports: Iterable[ReplicaReport]) -> Ended:
    """Return which of the listed replicas came to an end by these reports."""
    completed: set[str] = set()
    failed: dict[str, str] = {}
    for report in reports:
        if report.replica not in listed:
            continue
        if report.state == "completed":
            completed.add(report.replica)
        elif report.state in ("failed", "crash-loop"):
            failed[report.replica] = report.reason
    reason = failed[max(failed)] if failed else ""
    return Ended(completed=frozenset(completed), failed=frozenset(failed), reason=reason)


def family(replica: str) -> str:
    """Return what the replicas of one assignment share in their ids."""
    return replica.rpartition(".")[0]


def count(
    status: DeploymentStatus, job: Job, standing: frozenset[str], found: Ended
) -> DeploymentStatus:
    """Return the status after what ended was counted; the same one when there is nothing new.

    `standing` has the families of which targets list a replica: the others need not be remembered
    any more. An assignment that shrinks and grows lists an ordinal again, and a host that missed
    the step between still reports how it ended the first time.
    """
    known = frozenset(status.counted)
    completed = status.completed + len(found.completed - known)
    failed = status.failed + len(found.failed - known)
    verdict, reason = status.verdict, status.reason
    if found.failed - known:
        reason = found.reason[:REASON_CHARS_MAX]
    if not verdict and completed >= job.completions:
        verdict, reason = "completed", ""
    elif not verdict and failed >= job.attempts:
        verdict = "failed"
    counted = sorted({id for id in known if family(id) in standing} | found.all)
    if counted == status.counted and verdict == status.verdict:
        return status
    return replace(
        status, completed=completed, failed=failed, counted=counted, verdict=verdict, reason=reason
    )


def wanted(status: DeploymentStatus, job: Job) -> int:
    """Return how many replicas should be at work now."""
    if status.verdict:
        return 0
    return max(0, min(job.parallelism, job.completions - status.completed))
