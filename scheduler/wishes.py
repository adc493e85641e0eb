"""What each deployment asks of placement now, and what the leader remembers of it; a core.

One object for each term: desired state, rollouts, jobs and loads come in, demands and records come
out. It looks at one deployment at a time, and only when something about it changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from lattice.model.host import ReplicaReport
from lattice.model.ids import DeploymentName, HostId, replica_id
from lattice.model.scheduling import Placement
from lattice.wire.messages import (
    DeploymentRoute,
    DeploymentStatus,
    RouteGeneration,
    TargetItem,
)
from scheduler import jobs
from scheduler.delivery import Items
from scheduler.demanding import Circumstances, asked, kept_as_it_is
from scheduler.generations import Wanted
from scheduler.ledger import Ledger
from scheduler.placement.model import Demand, Key
from scheduler.records import DeleteEnded, Memory, Revert
from scheduler.rollout import Progress, Trial
from scheduler.scaling import QueueSeen, Scaler

REVERT_RETRY_S = 5.0
"""Wait before a generation that stays desired is reverted again: the write may have failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """A call waits for a deployment that has no replica, or none that is ready."""

    name: DeploymentName


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of the hosts where a deployment is."""

    item: Callable[[HostId, Key], TargetItem | None]  # what a host's target lists of a generation
    possible: Callable[[HostId], Iterable[Items]]  # what its target may list besides
    reports: Callable[[HostId], Iterable[ReplicaReport]]
    leaving: frozenset[HostId] = frozenset()
    forced: frozenset[HostId] = frozenset()
    moving: Mapping[HostId, int] = field(default_factory=dict[HostId, int])
    retreats: bool = False
    held: int = 0  # replicas on lost hosts that are not given up yet
    avoided: Mapping[HostId, str] = field(default_factory=dict[HostId, str])
    bad_hosts: int = 0
    gives_way: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a deployment asks now. `before` is the progress that the last wish had."""

    demands: tuple[Demand, ...]
    before: Progress | None = None
    progress: Progress | None = None
    commands: tuple[Revert | DeleteEnded, ...] = ()
    status: tuple[DeploymentStatus, DeploymentStatus] | None = None  # before and after, if changed
    wake_s: float | None = None


class Wishes:
    """Desired state and what is remembered of it, for one term. Time goes in with each call."""

    def __init__(self, epoch: int) -> None:
        self.wanted: dict[DeploymentName, Wanted | None] = {}  # None: the record is malformed
        self.progress: dict[DeploymentName, Progress] = {}
        self.memory = Memory(epoch)
        self.ended: dict[Key, jobs.Ended] = {}  # of jobs: which of the listed replicas ended
        self._epoch = epoch
        self._revisions: dict[DeploymentName, int] = {}
        self._placements: dict[Key, Placement] = {}
        self._scalers: dict[DeploymentName, Scaler] = {}
        self._queues: dict[DeploymentName, int] = {}  # durable jobs that wait, as last counted
        self._asked_s: dict[DeploymentName, tuple[int, float]] = {}  # reverts and deletions
        self._over_s: dict[DeploymentName, float] = {}  # since when a job is known to have ended
        self._last: dict[DeploymentName, Wanted] = {}  # that was read, until nothing of it is left

    def desired(self, name: DeploymentName, wanted: Wanted | None, revision: int) -> None:
        """Take a deployment's record in; None for one that cannot be read."""
        if wanted is not None:
            last = self._last.get(name, wanted)
            past = last.past if last.since == wanted.since else last.generation
            wanted = self._last[name] = replace(wanted, past=past)
        self.wanted[name] = wanted
        self._revisions[name] = revision
        if wanted is None or wanted.scale is None:
            self._scalers.pop(name, None)

    def deleted(self, name: DeploymentName) -> None:
        """Forget a deployment that is desired no more."""
        for known in (self.wanted, self.progress, self._revisions, self._scalers, self._asked_s,
                      self._over_s, self._queues):  # fmt: skip
            known.pop(name, None)
        self.ended = {key: ended for key, ended in self.ended.items() if key[0] != name}
        self.memory.drop(name)

    def revision(self, name: DeploymentName) -> int:
        """Return the revision of a deployment's record."""
        return self._revisions[name]

    def standing(self) -> dict[DeploymentName, tuple[Wanted | None, int]]:
        """Return what is desired, by name, with the revision at which it stands."""
        return {name: (wanted, self._revisions[name]) for name, wanted in self.wanted.items()}

    def drop_orphans(self) -> None:
        """Remove the records of deployments that were deleted before this term."""
        for name in self.memory.names():
            if name not in self.wanted:
                self.memory.drop(name)

    # --- loads ----------------------------------------------------------------------------

    def scaled(self) -> tuple[DeploymentName, ...]:
        """Return the deployments that follow their load."""
        return tuple(sorted(n for n, w in self.wanted.items() if w is not None and w.scale))

    def look(self, now_s: float, name: DeploymentName, ledger: Ledger) -> tuple[int, int]:
        """Look at a deployment's load; return the number of replicas before and now."""
        wanted = self.wanted[name]
        if wanted is None or wanted.scale is None or wanted.is_paused:
            return (0, 0)
        scaler = self._scaler(now_s, wanted, ledger)
        before = scaler.count
        if wanted.scale.on == "queue" and name not in self._queues:
            return before, before
        loads = [ledger.load((name, g)) for g in ledger.generations(name)]
        if wanted.scale.on == "queue":
            at_work = self._queues[name]
        else:
            at_work = sum(load.in_flight + load.waiting for load in loads)
        return before, scaler.look(now_s, wanted.scale, at_work, sum(load.calls for load in loads))

    def queued(self) -> tuple[DeploymentName, ...]:
        """Return the deployments that follow how many durable jobs wait for them."""
        return tuple(name for name in self.scaled()
                     if (wanted := self.wanted[name]) and wanted.scale
                     and wanted.scale.on == "queue")  # fmt: skip

    def queue_seen(self, seen: QueueSeen) -> None:
        """Note how many durable jobs wait for a deployment."""
        if seen.name in self.wanted:
            self._queues[seen.name] = seen.depth

    def wake(self, now_s: float, name: DeploymentName, ledger: Ledger) -> bool:
        """Note that a call waits for a replica; tell whether there will be one."""
        wanted = self.wanted.get(name)
        if wanted is None or wanted.is_paused:
            return False
        if wanted.scale is None:
            return ledger.assigned(wanted.key) > 0
        return self._scaler(now_s, wanted, ledger).wake(now_s, wanted.scale)

    def is_awake(self, wanted: Wanted) -> bool:
        """Tell whether a deployment that follows its load should have a replica now."""
        scaler = self._scalers.get(wanted.name)
        return scaler is not None and scaler.count > 0

    def count(self, now_s: float, wanted: Wanted, ledger: Ledger) -> int:
        """Return how many replicas a deployment should have, unless it is a daemon."""
        if wanted.scale is not None:
            return self._scaler(now_s, wanted, ledger).count
        return self.standing_count(wanted)

    def standing_count(self, wanted: Wanted) -> int:
        """Return how many replicas a deployment should have as last looked at; 0 for a daemon."""
        if wanted.scale is not None:
            scaler = self._scalers.get(wanted.name)
            return scaler.count if scaler is not None else wanted.scale.minimum
        if wanted.job is not None:
            return jobs.wanted(self.status(wanted), wanted.job)
        if wanted.daemon is not None:
            return 0
        return 1 if wanted.is_singleton else wanted.replicas

    def _scaler(self, now_s: float, wanted: Wanted, ledger: Ledger) -> Scaler:
        scale, found = wanted.scale, self._scalers.get(wanted.name)
        assert scale is not None, "only a deployment that follows its load has a scaler"
        if found is None:
            standing = sum(ledger.assigned((wanted.name, g))
                           for g in ledger.generations(wanted.name))  # fmt: skip
            count = max(scale.minimum, min(standing, scale.maximum))
            found = self._scalers[wanted.name] = Scaler(count=count, active_s=now_s)
        return found

    # --- one deployment -------------------------------------------------------------------

    def status(self, wanted: Wanted) -> DeploymentStatus:
        """Return what is remembered of the wanted generation."""
        found = self.memory.status(wanted.name)
        if found.generation == wanted.generation:
            return found
        return DeploymentStatus(
            name=wanted.name, good_generation=found.good_generation, generation=wanted.generation
        )

    def wish(self, now_s: float, name: DeploymentName, ledger: Ledger, at: Standing) -> Wish:
        """Return what a deployment asks now, and note how far it is."""
        old = {g: self._placement(name, g, ledger, at) for g in ledger.generations(name)}
        wanted = self.wanted.get(name)
        if wanted is None:
            is_malformed = name in self.wanted
            if not is_malformed and not old:
                self._last.pop(name, None)
            return Wish(demands=kept_as_it_is(name, ledger, old) if is_malformed else ())
        self._placements[wanted.key] = wanted.placement
        status_before = self.memory.status(name)
        if wanted.job is not None:
            self._count_job(wanted, ledger, at)
        about = Circumstances(
            count=max(0, self.count(now_s, wanted, ledger) - at.held),
            avoided=at.avoided, leaving=at.leaving, forced=at.forced, old=old,
            moving=at.moving, retreats=at.retreats,
            trial=self._trial(wanted, ledger), bad_hosts=at.bad_hosts, gives_way=at.gives_way,
        )  # fmt: skip
        before = self._progress_of(now_s, wanted)
        made = asked(now_s, wanted, ledger, about, before)
        if at.gives_way:
            return Wish(demands=made.demands)
        progress = self.progress[name] = made.turn.progress
        if made.turn.is_good and wanted.job is None:
            good = DeploymentStatus(
                name=name, good_generation=wanted.generation, generation=wanted.generation
            )
            self.memory.keep(good)
        self.memory.route(name, self._route(wanted, progress, ledger))
        reverts = self._revert(now_s, wanted, progress)
        ending, wake_s = self._ending(now_s, wanted)
        if reverts:
            wake_s = now_s + REVERT_RETRY_S
        status = self.memory.status(name)
        wakes = [at_s for at_s in (made.turn.wake_s, wake_s) if at_s is not None]
        return Wish(
            demands=made.demands,
            before=before,
            progress=progress,
            commands=(*reverts, *ending),
            status=(status_before, status) if status != status_before else None,
            wake_s=min(wakes, default=None),
        )

    def _placement(
        self, name: DeploymentName, generation: int, ledger: Ledger, at: Standing
    ) -> Placement:
        """Return what replicas of a generation take; of one that this term never wanted, what their
        targets say of it."""
        key = (name, generation)
        if (known := self._placements.get(key)) is not None:
            return known
        item = at.item(min(ledger.places(key)), key)
        if item is None:
            return Placement()
        return Placement(cpu_milli=item.cpu_milli, memory_bytes=item.memory_bytes,
                         slots=item.slots, priority=item.priority)  # fmt: skip

    def _progress_of(self, now_s: float, wanted: Wanted) -> Progress | None:
        found = self.progress.get(wanted.name)
        if found is not None and found.generation == wanted.generation:
            return found
        if self.memory.status(wanted.name).good_generation == wanted.generation:
            return Progress(generation=wanted.generation, phase="steady", moved_s=now_s)
        return None

    def _trial(self, wanted: Wanted, ledger: Ledger) -> Trial:
        if wanted.update.strategy != "canary":
            return Trial()
        load = ledger.load(wanted.key)
        return Trial(calls=load.calls, errors=load.errors, busy_ms=load.busy_ms)

    def _revert(self, now_s: float, wanted: Wanted, progress: Progress) -> tuple[Revert, ...]:
        """Go back to the last good generation, once; a revert that does no better stays."""
        good = self.memory.status(wanted.name).good_generation
        is_due = progress.phase == "stuck" and wanted.update.reverts and not wanted.reverted
        if not is_due or good in (0, wanted.generation) or wanted.job is not None:
            return ()
        if not self._is_time_to_ask(now_s, wanted.name):
            return ()
        return (
            Revert(
                name=wanted.name, to=good, given_up=wanted.generation,
                revision=self._revisions[wanted.name], reason=progress.reason, epoch=self._epoch,
            ),
        )  # fmt: skip

    def _is_time_to_ask(self, now_s: float, name: DeploymentName) -> bool:
        revision = self._revisions[name]
        last = self._asked_s.get(name)
        if last is not None and last[0] == revision and now_s - last[1] < REVERT_RETRY_S:
            return False
        self._asked_s[name] = (revision, now_s)
        return True

    def _route(self, wanted: Wanted, progress: Progress, ledger: Ledger) -> DeploymentRoute | None:
        """Return how calls are divided: while a canary is judged, and who may have no replica."""
        wakes = wanted.scale is not None and wanted.scale.minimum == 0
        is_trial = wanted.update.strategy == "canary" and not progress.is_canary_over
        if not is_trial or progress.phase not in ("canary", "stuck"):
            return DeploymentRoute(name=wanted.name, wakes=True) if wakes else None
        weight = wanted.update.canary.weight_percent if progress.canary_s is not None else 0
        generations = [
            RouteGeneration(
                generation=generation,
                weight=weight if generation == wanted.generation else 100 - weight,
                hosts=sorted(host for host in ledger.places((wanted.name, generation))
                             if ledger.at(host, (wanted.name, generation))[1]),
            )
            for generation in ledger.generations(wanted.name) if generation > wanted.past
        ]  # fmt: skip
        return DeploymentRoute(name=wanted.name, generations=generations, wakes=wakes)

    # --- jobs -----------------------------------------------------------------------------

    def _count_job(self, wanted: Wanted, ledger: Ledger, at: Standing) -> None:
        assert wanted.job is not None, "only jobs are counted"
        listed: set[str] = set()
        standing: set[str] = set()
        reports: list[ReplicaReport] = []
        for host in ledger.places(wanted.key):
            if (item := at.item(host, wanted.key)) is not None:
                ids = [replica_id(item.deployment, item.generation, host, item.assignment, n)
                       for n in range(item.count)]  # fmt: skip
                listed |= set(ids)
                standing |= {jobs.family(each) for each in ids}
                reports += [r for r in at.reports(host) if r.deployment == wanted.name]
        found = jobs.ended(frozenset(listed), reports)
        status = self.status(wanted)
        # A write that takes a replica off a target may fail: it counts as listed until then.
        standing |= {
            jobs.family(replica_id(item.deployment, item.generation, host, item.assignment, 0))
            for host in ledger.places(wanted.key)
            for items in at.possible(host)
            for item in items
        }
        # What was counted stays ended, whatever its host says of it after a restart.
        known = frozenset(status.counted) & listed
        self.ended[wanted.key] = replace(found, completed=found.completed | known)
        self.memory.keep(jobs.count(status, wanted.job, frozenset(standing), found))

    def confirmed(self, wanted: Wanted) -> frozenset[str]:
        """Return the replicas of a job that are counted for good, so that targets may drop them."""
        kept = self.memory.kept_status(wanted.name)
        return frozenset(kept.counted) if kept.generation == wanted.generation else frozenset()

    def _ending(self, now_s: float, wanted: Wanted) -> tuple[tuple[DeleteEnded, ...], float | None]:
        """Delete a job some time after it ended."""
        if wanted.job is None or not self.memory.kept_status(wanted.name).verdict:
            self._over_s.pop(wanted.name, None)
            return (), None
        over_s = self._over_s.setdefault(wanted.name, now_s)
        due_s = over_s + wanted.job.ttl_s
        if now_s < due_s:
            return (), due_s
        if not self._is_time_to_ask(now_s, wanted.name):
            return (), now_s + REVERT_RETRY_S
        deletion = DeleteEnded(
            name=wanted.name, revision=self._revisions[wanted.name], epoch=self._epoch
        )
        return (deletion,), now_s + REVERT_RETRY_S if math.isfinite(due_s) else None
