"""What the active scheduler answers when asked why: `lead.explain` and `lead.why-not`. Pure: state
in, maps out.

The maps are bodies of replies; the client's views read them. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping

from lattice.errors import NoRouteError, NotFoundError
from lattice.model.ids import DeploymentName, HostId, host_short
from scheduler.membership import Member
from scheduler.placement.explain import REASON_CHARS_MAX, Reason
from scheduler.placement.filters import exact_size
from scheduler.placement.inquiry import Inquiry, Preemption, Scored
from scheduler.placement.model import Demand, Eviction
from scheduler.placement.relaxing import Relaxation
from scheduler.rebalancing import points, reason
from scheduler.reconciler import Reconciler

Map = dict[str, object]

REASONS_MAX = 50
"""Reasons and relaxations in one answer: the most frequent ones."""


def explain(core: Reconciler, now_s: float, name: str) -> Map:
    """Return why a deployment's replicas are where they are, and what keeps one more away.

    Raises:
        NotFoundError: there is no such deployment.
        NoRouteError: no plan has been made since this scheduler took over.
    """
    inquiry, demand = _asked(core, name)
    why = inquiry.why(demand)
    unplaced = core.unplaced.get(demand.key)
    members = core.membership.members()
    return {
        **_about(core, now_s, demand),
        "wanted": why.placed + unplaced.count if unplaced else why.placed,
        "placed": why.placed,
        "unplaced": unplaced.count if unplaced else 0,
        "hosts": why.hosts,
        "feasible": why.feasible,
        "here": [_scored(each, members) for each in why.here],
        "best": [_scored(each, members) for each in why.best],
        "reasons": [_reason(each, members) for each in why.reasons[:REASONS_MAX]],
        "relaxations": [_relaxation(each, members) for each in why.relaxations[:REASONS_MAX]],
        "preemption": _preemption(demand, why.preemption, members),
        "moving": [each for each in moving(core, members) if each["deployment"] == name],
        "oldest_heartbeat_s": _oldest_heartbeat_s(members, now_s),
    }


def why_not(core: Reconciler, now_s: float, name: str, host: str) -> Map:
    """Return the verdict of every rule of a deployment on one host.

    Raises:
        NotFoundError: there is no such deployment, or no such host.
        NoRouteError: no plan has been made since this scheduler took over.
    """
    inquiry, demand = _asked(core, name)
    found = inquiry.why_not(demand, HostId(host))
    members = core.membership.members()
    member = members.get(HostId(host))
    if found is None or member is None:
        raise NotFoundError(f"no host {host} is known to the scheduler", host=host)
    return {
        **_about(core, now_s, demand),
        "host": host,
        "host_name": _name(HostId(host), members),
        "replicas": found.replicas,
        "feasible": found.is_feasible,
        "verdicts": [
            {
                "kind": each.kind,
                "subject": each.subject,
                "met": each.is_met,
                "text": each.text[:REASON_CHARS_MAX],
            }
            for each in found.verdicts
        ],
        "score": _scored(found.score, members),
        "chosen": [_scored(each, members) for each in found.chosen],
        "heartbeat_s": _silence_s(member, now_s),
    }


def _asked(core: Reconciler, name: str) -> tuple[Inquiry, Demand]:
    deployment = DeploymentName(name)
    if deployment not in core.wanted:
        raise NotFoundError(f"there is no deployment {name}", name=name)
    if core.planned_at_s is None:
        raise NoRouteError("the scheduler has just taken over and made no plan yet")
    inquiry = Inquiry(core.state)
    demand = inquiry.demand(deployment)
    if demand is None:
        raise NoRouteError(f"the scheduler has not planned deployment {name} yet", name=name)
    return inquiry, demand


def _about(core: Reconciler, now_s: float, demand: Demand) -> Map:
    planned_at_s = core.planned_at_s
    return {
        "name": demand.deployment,
        "generation": demand.generation,
        "planned_s": None if planned_at_s is None else round(now_s - planned_at_s, 3),
    }


def _scored(scored: Scored, members: Mapping[HostId, Member]) -> Map:
    terms = scored.terms
    return {
        "host": scored.host,
        "host_name": _name(scored.host, members),
        "replicas": scored.replicas,
        "score": terms.score,
        "preferences": terms.preferences,
        "alignment": terms.alignment,
        "share": -terms.share_after,
        "own": -terms.own,
        "domains": dict(scored.domains),
    }


def _reason(reason: Reason, members: Mapping[HostId, Member]) -> Map:
    return {
        "kind": reason.kind,
        "subject": reason.subject,
        "hosts": reason.hosts,
        "text": reason.text[:REASON_CHARS_MAX],
        "host": reason.closest,
        "host_name": _name(reason.closest, members) if reason.closest else "",
    }


def _relaxation(relaxation: Relaxation, members: Mapping[HostId, Member]) -> Map:
    return {
        "kind": relaxation.kind,
        "subject": relaxation.subject,
        "hosts": relaxation.hosts,
        "text": relaxation_text(relaxation),
        "free": relaxation.free,
        "host": relaxation.closest,
        "host_name": _name(relaxation.closest, members) if relaxation.closest else "",
    }


_RELAXED = {
    "cordoned": "if they were uncordoned",
    "draining": "if they were not drained",
    "failed": "once it is tried again where it failed",
    "taint": "if it tolerated the taint {subject}",
    "label": "without the requirement {subject}",
    "interface": "without {subject}",
    "together": "if it need not run beside {subject}",
    "apart": "if it need not be apart from {subject}",
    "apart of": "if {subject} did not keep it away",
    "spread": "if it need not be spread over {subject}",
    "per-host": "if a host could take more of it",
    "slots": "if it asked for no more than {free} slots",
    "cpu": "if it asked for no more than {free}m of cpu",
    "memory": "if it asked for no more than {size} of memory",
    "device": "if it asked for no devices",
}
"""What somebody would do to drop a constraint, as a condition, by its kind."""


def relaxation_text(relaxation: Relaxation) -> str:
    """Return what somebody would do to drop a constraint, as a condition."""
    kind, subject, free = str(relaxation.kind), relaxation.subject, max(relaxation.free, 0)
    if kind == "apart" and subject.startswith("of "):
        kind, subject = "apart of", subject.removeprefix("of ")
    template = _RELAXED.get(kind, "without {subject}")
    return template.format(subject=subject, free=free, size=exact_size(free))


def _preemption(demand: Demand, found: Preemption, members: Mapping[HostId, Member]) -> Map:
    victims = [eviction(each, members) for each in found.evictions]
    if not victims and not found.is_allowed:
        text = "it does not preempt, and it would not help"
    elif not victims:
        text = "nothing of lower priority would make enough room"
    else:
        named = ", ".join(f"{each.count} of {each.victim[0]}" for each in found.evictions)
        where = _name(found.evictions[0].host, members)
        verb = (
            "drives"
            if found.is_allowed
            else "does not preempt; with `preempt: lower` it would drive"
        )
        text = f"it {verb} out {named} on {where}"
    return {
        "allowed": found.is_allowed,
        "priority": demand.placement.priority,
        "text": text,
        "evictions": victims,
    }


def eviction(each: Eviction, members: Mapping[HostId, Member]) -> Map:
    """Return an eviction as a map."""
    return {
        "host": each.host,
        "host_name": _name(each.host, members),
        "deployment": each.victim[0],
        "generation": each.victim[1],
        "count": each.count,
        "by": each.by[0],
        "by_generation": each.by[1],
    }


def moving(core: Reconciler, members: Mapping[HostId, Member]) -> list[Map]:
    """Return the replicas that are being moved to hosts that joined, as maps, by deployment."""
    return [
        {
            "deployment": move.key[0],
            "generation": move.key[1],
            "host": move.source,
            "host_name": _name(move.source, members),
            "to_host": move.target,
            "to_host_name": _name(move.target, members),
            "points": points(move.gain.total),
            "reason": reason(move.gain),
        }
        for _, entry in sorted(core.decider.rebalancing.under_way.items())
        for move in entry.moves
    ]


def _oldest_heartbeat_s(members: Mapping[HostId, Member], now_s: float) -> float | None:
    """Return the age of the oldest report that counts for a host that is not lost."""
    ages = [_silence_s(member, now_s) for member in members.values() if member.state == "ready"]
    return max((age for age in ages if age is not None), default=None)


def _silence_s(member: Member, now_s: float) -> float | None:
    return None if member.heard_at_s is None else round(now_s - member.heard_at_s, 3)


def _name(host: HostId, members: Mapping[HostId, Member]) -> str:
    member = members.get(host)
    return member.inventory.name if member is not None else host_short(host)
