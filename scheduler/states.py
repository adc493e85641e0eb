"""What the active scheduler answers about one deployment: its state in one word, counts, reasons.

Pure: the leader's cores in, the body of a reply out. Nothing is changed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lattice.errors import NotFoundError
from lattice.model.host import ReplicaReport
from lattice.model.ids import DeploymentName, HostId, host_short
from lattice.wire.messages import DeploymentStatus
from scheduler.generations import Wanted
from scheduler.placement.model import Unplaced
from scheduler.reconciler import FAILURES_MIN, Reconciler
from scheduler.rollout import Progress

Map = dict[str, object]

DeploymentState = Literal[
    "ready",
    "progressing",
    "degraded",
    "failed",
    "crash-loop",
    "completed",
    "paused",
    "scaled-to-zero",
    "reverted",
]

CRASHES_MIN = 3
"""Times that a generation was tried on a host and failed, from which on it is a crash loop."""


@dataclass(slots=True)
class Counted:
    """The replicas of one generation, by what their hosts say of them."""

    placed: int = 0
    running: int = 0
    failing: int = 0
    looping: int = 0  # of the failing ones, those whose host calls it a crash loop
    outgoing: int = 0  # replicas of other generations
    texts: dict[HostId, str] = field(default_factory=dict[HostId, str])  # of the failing ones


def status(core: Reconciler, name: str) -> Map:
    """Return how far a deployment is from what is wanted of it.

    Raises:
        NotFoundError: there is no such deployment.
    """
    deployment = DeploymentName(name)
    if deployment not in core.wanted:
        raise NotFoundError(f"there is no deployment {name}", name=name)
    wishes = core.decider.wishes
    wanted, progress = core.wanted[deployment], wishes.progress.get(deployment)
    if wanted is None:
        reason = f"the record desired.{name} cannot be read: submit the deployment again"
        return _view(name, None, Counted(), 0, None, "degraded", [reason])
    counted, entry = _counted(core, wanted), core.unplaced.get(wanted.key)
    count = wishes.standing_count(wanted)
    if wanted.daemon is not None:
        count = counted.placed + (entry.count if entry else 0)
    kept = wishes.status(wanted)
    state = _state(core, wanted, counted, count, kept)
    view = _view(name, wanted, counted, count, entry, state, _reasons(core, wanted, counted, kept))
    return view | {
        "revision": wishes.revision(deployment),
        "reverted": wanted.reverted,
        "good_generation": kept.good_generation,
        "completed": kept.completed,
        "failed_runs": kept.failed,
        "progress": _told(progress, wanted, counted, count),
    }


def _view(
    name: str,
    wanted: Wanted | None,
    counted: Counted,
    count: int,
    entry: Unplaced | None,
    state: DeploymentState,
    reasons: list[str],
) -> Map:
    return {
        "name": name,
        "generation": wanted.generation if wanted is not None else 0,
        "wanted": count,
        "placed": counted.placed,
        "running": counted.running,
        "failed": counted.failing,
        "unplaced": entry.count if entry else 0,
        "state": state,
        "reasons": reasons,
    }


def _counted(core: Reconciler, wanted: Wanted) -> Counted:
    """Count what the targets list, as reported; a host that is lost reports nothing."""
    found, ledger = Counted(), core.decider.ledger
    for generation in ledger.generations(wanted.name):
        if generation != wanted.generation:
            found.outgoing += ledger.assigned((wanted.name, generation))
    for host in sorted(ledger.places(wanted.key)):
        listed, _ = ledger.at(host, wanted.key)
        found.placed += listed
        member = core.membership.member(host)
        if member is None or member.report is None or member.state == "lost":
            continue
        own = [r for r in member.report.replicas if (r.deployment, r.generation) == wanted.key]
        found.running += min(listed, sum(r.state == "running" for r in own))
        for report in own:
            if is_failing(report):
                found.failing += 1
                found.looping += report.state == "crash-loop"
                if report.reason:
                    found.texts[host] = report.reason
    return found


def _state(
    core: Reconciler, wanted: Wanted, counted: Counted, count: int, kept: DeploymentStatus
) -> DeploymentState:
    """Return the state in one word.

    `failed`: nothing runs, and every replica either fails or was driven away by failures;
    `crash-loop`: that again and again. `degraded`: something is wrong with some. `progressing`:
    nothing is wrong yet.
    """
    if wanted.is_paused:
        return "paused"
    if kept.verdict == "completed":
        return "completed"
    if kept.verdict == "failed":
        return "failed"
    is_whole = counted.running >= count and not counted.outgoing and not counted.failing
    if is_whole and wanted.scale is not None and count == 0:
        return "scaled-to-zero"
    if is_whole and wanted.job is None:
        return "reverted" if wanted.reverted else "ready"
    entry = core.unplaced.get(wanted.key)
    failures = core.failures.failures(wanted.key).values()
    has_failed = counted.failing > 0 or (entry is not None and "failed" in entry.kinds)
    is_pending = counted.placed > counted.running + counted.failing
    if has_failed and not counted.running and not is_pending:
        is_loop = counted.looping or any(f.times >= CRASHES_MIN for f in failures)
        return "crash-loop" if is_loop else "failed"
    progress = core.decider.wishes.progress.get(wanted.name)
    is_stuck = progress is not None and progress.phase == "stuck"
    return "degraded" if counted.failing or entry is not None or is_stuck else "progressing"


def _reasons(
    core: Reconciler, wanted: Wanted, counted: Counted, kept: DeploymentStatus
) -> list[str]:
    """Return the hosts' own error texts about this generation, each once for each host, and what
    keeps replicas from being placed or the rollout from going on."""
    texts = {
        host: failure.reason for host, failure in core.failures.failures(wanted.key).items()
    } | counted.texts
    reasons = [f"{_name(core, host)}: {text}" for host, text in sorted(texts.items())]
    if wanted.reverted:
        reasons.append(f"generation {wanted.reverted} was given up: {wanted.reason}")
    progress = core.decider.wishes.progress.get(wanted.name)
    if progress is not None and progress.phase == "stuck" and progress.reason:
        reasons.append(progress.reason)
    if kept.verdict == "failed" and kept.reason:
        reasons.append(kept.reason)
    entry = core.unplaced.get(wanted.key)
    return [*reasons, *(entry.reasons if entry else ())]


def _told(progress: Progress | None, wanted: Wanted, counted: Counted, count: int) -> str:
    """Return how far the rollout is, in words; "" when there is none."""
    if progress is None or progress.phase == "steady":
        return ""
    if progress.phase == "canary" and progress.canary_s is not None:
        return f"canary takes {wanted.update.canary.weight_percent} % of the calls"
    return (
        f"{progress.phase}: {counted.running} of {count} replicas of generation "
        f"{wanted.generation} run, {counted.outgoing} of others stay"
    )


def is_failing(report: ReplicaReport) -> bool:
    """Tell whether a replica has failed more than once, whatever its host is doing about it."""
    if report.state in ("running", "stopping", "unready", "completed"):
        return False
    return report.state == "crash-loop" or report.restarts >= FAILURES_MIN


def _name(core: Reconciler, host: HostId) -> str:
    member = core.membership.member(host)
    return member.inventory.name if member is not None else host_short(host)
