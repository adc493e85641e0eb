"""Which events are missing in the log, by what stands; a core.

A scheduler that ends between a write and its event leaves a log that tells less than what is so.
What the log makes is compared with what stands, and each difference is told as an event. One about
a desired state has the id that it would have had, so that it counts once if it was told after all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from lattice.model.ids import DeploymentName, HostId
from lattice.wire.past import Past, PastReplica
from scheduler.announcements import (
    Announcements,
    Emit,
    deployment_applied,
    deployment_deleted,
    replicas_of,
)
from scheduler.delivery import Document
from scheduler.generations import Wanted
from scheduler.membership import Change, Member, MembershipChanged


def unsaid_deployments(
    past: Past, standing: Mapping[DeploymentName, tuple[Wanted | None, int]]
) -> list[Emit]:
    """Return the events about deployments that the log lacks.

    `standing` is what is desired, by name, with the revision at which it stands; what cannot be
    read (None) is left as it is.
    """
    found: list[Emit] = []
    for name, (wanted, revision) in standing.items():
        known = past.deployments.get(name)
        if wanted is not None and (known is None or known.revision < revision):
            found.append(
                deployment_applied(
                    name, wanted.generation, wanted.replicas, revision, is_paused=wanted.is_paused
                )
            )
    for former in past.deployments.values():
        if DeploymentName(former.name) not in standing:
            # Nobody knows any more at which revision: it is told as of the one that was removed.
            gone = deployment_deleted(former.name, former.revision)
            found.append(replace(gone, id=f"{gone.id}.gone"))
    return found


def unsaid_replicas(
    told: Collection[PastReplica], document: Document, host_name: str
) -> list[Emit]:
    """Return the events about the replicas of one host that the log lacks.

    `told` are those that the log has placed there, `document` is the host's target.
    """
    after = replicas_of(document.host, document.items)
    before = {each.replica for each in told}
    differing: list[tuple[str, str, str, int]] = [
        ("replica-withdrawn", each.replica, each.deployment, each.generation)
        for each in told
        if each.replica not in after
    ]
    differing += [
        ("replica-placed", replica, item.deployment, item.generation)
        for replica, item in after.items()
        if replica not in before
    ]
    return [
        Emit(
            id=f"{document.revision}.{kind}.{replica}",
            kind=kind,
            entity=replica,
            data={
                "deployment": deployment,
                "generation": generation,
                "host": document.host,
                "host_name": host_name,
            },
        )
        for kind, replica, deployment, generation in differing
    ]


def unsaid_hosts(
    past: Past, members: Mapping[HostId, Member], announcements: Announcements
) -> list[Emit]:
    """Return the events about hosts that came, were lost or left, and that the log lacks."""
    found: list[Emit] = []
    for host, member in members.items():
        known = past.hosts.get(host)
        change: Change | None = None
        if member.state == "ready" and known is None:
            change = "joined"
        elif member.state == "ready" and known is not None and known.state == "lost":
            change = "returned"
        elif member.state == "lost" and known is not None and known.state != "lost":
            change = "lost"
        if change is not None:
            found.append(announcements.host(MembershipChanged(host=host, change=change), members))
    found += [
        announcements.host(MembershipChanged(host=HostId(host), change="left"), members)
        for host in past.hosts
        if HostId(host) not in members
    ]
    return found
