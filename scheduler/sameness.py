"""What of a deployment can change while the same goes on running; a core.

Hosts read how to run a generation from history, where it never changes. What only the scheduler,
the routers and people look at is read from the desired record, and may differ from it.
"""

from __future__ import annotations

from dataclasses import replace

from lattice.model.deployment import Deployment
from lattice.model.scheduling import Job, Placement


def runs_the_same(before: Deployment, after: Deployment) -> bool:
    """Tell whether what runs is the same, so that nothing has to be replaced.

    How many there are, where they may be, for which requests they answer and how updates go is no
    matter of it; what a replica takes from its host is. Labels count as a change, though they are
    for people only: that is how somebody has everything started anew.
    """
    answers = [{each.component for each in one.http} - {""} for one in (before, after)]
    same = replace(
        before,
        replicas=after.replicas,
        daemon=after.daemon,
        scale=after.scale,
        job=_job(before.job, after.job),
        http=after.http,
        placement=_placement(before.placement, after.placement),
        update=after.update,
        lost_after_s=after.lost_after_s,
    )
    return same == after and answers[0] == answers[1]


def counted_as(deployment: Deployment, current: Deployment) -> Deployment:
    """Return a deployment with as many replicas as `current` asks for, where both can have them.

    A strict singleton and a job say how many they are by what they are.
    """
    if any(each.is_singleton or each.job is not None for each in (deployment, current)):
        return deployment
    return replace(
        deployment, replicas=current.replicas, daemon=current.daemon, scale=current.scale
    )


def mode_of(deployment: Deployment) -> str:
    """Return what decides how many replicas there are, by the name of its field."""
    if deployment.daemon is not None:
        return "daemon"
    if deployment.is_singleton:
        return "singleton"
    if deployment.scale is not None:
        return "scale"
    return "replicas" if deployment.job is None else "job"


def _job(before: Job | None, after: Job | None) -> Job | None:
    # A job that is to end otherwise begins anew; how fast it goes and when it is forgotten may
    # change while it runs.
    if before is None or after is None:
        return before
    return replace(before, parallelism=after.parallelism, ttl_s=after.ttl_s)


def _placement(before: Placement, after: Placement) -> Placement:
    return replace(
        after,
        cpu_milli=before.cpu_milli,
        memory_bytes=before.memory_bytes,
        slots=before.slots,
        devices=before.devices,
    )
