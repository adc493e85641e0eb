"""The host's core: which replicas this host should start and stop, and what it reports.

Level-triggered: the host adopts the highest revision of its target document and drives what runs
towards it; there are no start or stop requests to lose. `handle` is the only entrance. It decides;
the agent carries out, and tells the outcome as another event. No I/O, no clock, no randomness.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from hosts.lifecycle_events import (
    Acked,
    Announce,
    Command,
    Event,
    HeartbeatDue,
    Outcome,
    ReadTarget,
    ReplicaCompleted,
    ReplicaFailed,
    ReplicaFigures,
    ReplicaReady,
    ReplicaStopped,
    ReplicaUnready,
    ReportNow,
    SendReport,
    SingletonFound,
    StartReplica,
    StopReplica,
    TargetSeen,
    TargetUnreadable,
    Ticked,
)
from hosts.reports import NO_FIGURES, REASON_LENGTH_MAX, held_devices, replica_reports
from hosts.slots import Slot, refusal, slots_of
from lattice.model.host import ReplicaState, Report, Revision
from lattice.model.ids import HostId, ReplicaId

__all__ = [
    "CRASH_LOOP_FAILURES",
    "FEATURES",
    "Acked",
    "Announce",
    "Command",
    "Event",
    "HeartbeatDue",
    "Lifecycle",
    "Outcome",
    "ReadTarget",
    "ReplicaCompleted",
    "ReplicaFailed",
    "ReplicaFigures",
    "ReplicaReady",
    "ReplicaStopped",
    "ReplicaUnready",
    "ReportNow",
    "SendReport",
    "SingletonFound",
    "Slot",
    "StartReplica",
    "StopReplica",
    "TargetSeen",
    "TargetUnreadable",
    "Ticked",
]

FEATURES = ("replicas@1", "singletons@1", "probes@1", "jobs@1", "large-targets@1")
"""What a target may need of this release (see `Target.needs`)."""

FENCE_SHARE = 0.1
"""Share of a lease, at its end, in which strict singletons are ended: the calls that they work on
are over by the time that somebody else may count on it."""

NO_LEASE = "the host has no lease from a scheduler: it waits for one, as a strict singleton must"
"""What is told of a strict singleton that does not run on its host."""

RESTART_DELAY_MIN_S = 0.5
"""First wait before a failed replica is started again; doubles with each failure."""

RESTART_DELAY_MAX_S = 30.0
"""Longest wait: short enough that a repaired cause is noticed, long enough to cost nothing."""

CRASH_LOOP_FAILURES = 5
"""Failures after which a replica is called a crash loop; it is still retried."""

STABLE_S = 300.0
"""A replica that ran this long starts with a clean record when it fails."""

REPORTS_OPEN_MAX = 30
"""Reports whose send time is remembered: a minute at the default pace; an older ack is ignored."""


@dataclass(slots=True)
class Lifecycle:
    """What runs on one host. Change it only through `handle`."""

    host: HostId
    boot: str
    features: frozenset[str] = frozenset(FEATURES)
    adopted: Revision = field(default_factory=Revision)
    slots: dict[ReplicaId, Slot] = field(default_factory=dict[ReplicaId, Slot])
    lease_until_s: float = float("-inf")
    fence_at_s: float = float("-inf")
    """Until when strict singletons take calls; then they are ended, before the lease has."""
    _epoch: int = 0  # of the adopted target
    _sequence: int = 0
    _sent_at_s: dict[int, float] = field(default_factory=dict[int, float])
    _refused: Revision | None = None
    _looping: frozenset[ReplicaId] = frozenset()  # as last reported

    def handle(self, now_s: float, event: Event) -> tuple[Command, ...]:
        """Take in one event and return what to do about it, in the order to do it."""
        match event:
            case TargetSeen():
                return self._adopt(now_s, event)
            case TargetUnreadable():
                # Its incarnation cannot be read; it is the one that stands, or soon told anew.
                return self._refuse(
                    Revision(self.adopted.incarnation, event.sequence), event.reason
                )
            case SingletonFound():
                return self._strict(now_s, event)
            case ReplicaReady():
                return self._ready(now_s, event)
            case ReplicaUnready():
                return self._unready(now_s, event)
            case ReplicaCompleted():
                return self._completed(now_s, event)
            case ReplicaFailed():
                return self._failed(now_s, event)
            case ReplicaStopped():
                return self._stopped(now_s, event)
            case HeartbeatDue():
                return (*self._announce_loops(event), self._report(now_s, event))
            case Acked():
                return self._acked(now_s, event)
            case Ticked():
                return (*self._fence(now_s), *self._retry(now_s))
            case _:
                assert_never(event)

    def next_due_s(self) -> float | None:
        """Return when a `Ticked` is next of use, or None."""
        due = [slot.retry_at_s for slot in self.slots.values() if slot.retry_at_s is not None]
        due += [
            slot.works_until_s(self.fence_at_s) for slot in self.slots.values() if slot.is_to_fence
        ]
        return min(due, default=None)

    def has_lease(self, now_s: float) -> bool:
        """Tell whether the scheduler still counts on this host."""
        return now_s < self.lease_until_s

    def may_call(self, replica: ReplicaId, now_s: float) -> bool:
        """Tell whether a replica may work on calls: a strict singleton only under a lease."""
        slot = self.slots.get(replica)
        if slot is None or slot.is_held or not slot.lives:
            return False
        return not slot.is_strict or now_s < slot.works_until_s(self.fence_at_s)

    def why_not(self, deployment: str) -> str:
        """Return why a replica of a deployment does not work here, "" when there is no reason."""
        told = (s for s in self.slots.values() if s.deployment == deployment and s.reason)
        found = next(told, None)
        return "" if found is None else f"{found.state}, {found.reason.partition(chr(10))[0]}"

    def check(self) -> None:
        """Assert what must hold after every event."""
        for replica, slot in self.slots.items():
            assert replica == slot.replica, "a slot lies under its own id"
            waits = slot.retry_at_s is not None
            is_failed = slot.state in ("failed", "crash-loop")
            assert waits == (is_failed and not slot.is_final), "only the failed wait"
            assert slot.is_wanted or slot.state == "stopping", "what is not wanted is stopping"
            assert not slot.is_held or slot.state in ("stopping", "unready"), "the held do not run"

    # --- targets --------------------------------------------------------------------------

    def _adopt(self, now_s: float, event: TargetSeen) -> tuple[Command, ...]:
        if not self.adopted.is_behind(event.revision):
            return ()
        if reason := refusal(event.target, self.host, self.features):
            return self._refuse(event.revision, reason)
        self.adopted, self._epoch = event.revision, event.target.epoch
        wanted = slots_of(event.target, self.host, now_s)
        commands: list[Command] = []
        for replica in sorted(self.slots.keys() - wanted.keys()):
            commands += self._withdraw(now_s, self.slots[replica])
        for replica, slot in wanted.items():
            known = self.slots.get(replica)
            if known is None:
                self.slots[replica] = slot
                commands.append(self._start(slot))
            elif not known.is_wanted or known.grants != slot.grants:
                commands += self._want_again(now_s, known, slot)
        return (*commands, ReportNow())

    def _want_again(self, now_s: float, known: Slot, wanted: Slot) -> list[Command]:
        """Keep a replica that is being stopped, or start it anew with the devices it has now.

        It starts when it is gone, never twice at once.
        """
        is_changed = known.grants != wanted.grants
        again = replace(known, is_wanted=True, grants=wanted.grants)
        if not is_changed or not known.lives or known.state == "stopping":
            self.slots[known.replica] = again
            return []
        self.slots[known.replica] = replace(again, state="stopping", since_s=now_s)
        return [StopReplica(replica=known.replica)]

    def _refuse(self, revision: Revision, reason: str) -> tuple[Command, ...]:
        """Keep what is adopted, and say why; once, because every heartbeat brings it again."""
        if self._refused == revision:
            return ()
        self._refused = revision
        return (Announce(kind="target-refused", reason=reason[:REASON_LENGTH_MAX]),)

    def _withdraw(self, now_s: float, slot: Slot) -> list[Command]:
        if slot.state == "stopping":
            self.slots[slot.replica] = slot.withdrawn(self.fence_at_s)
            return list(self._fence(now_s))
        if not slot.lives:
            del self.slots[slot.replica]
            return [Announce(kind="replica-stopped", replica=slot.replica)]
        stopping = replace(slot, state="stopping", since_s=now_s)
        self.slots[slot.replica] = stopping.withdrawn(self.fence_at_s)
        return [StopReplica(replica=slot.replica), *self._fence(now_s)]

    # --- outcomes -------------------------------------------------------------------------

    def _ready(self, now_s: float, event: ReplicaReady) -> tuple[Command, ...]:
        slot = self.slots.get(event.replica)
        if slot is None or slot.state not in ("starting", "unready") or slot.is_held:
            return ()
        self.slots[slot.replica] = replace(slot, state="running", reason="", since_s=now_s)
        return (Announce(kind="replica-running", replica=slot.replica), ReportNow())

    def _unready(self, now_s: float, event: ReplicaUnready) -> tuple[Command, ...]:
        slot = self.slots.get(event.replica)
        if slot is None or slot.state not in ("starting", "running"):
            return ()
        reason = event.reason[:REASON_LENGTH_MAX]
        self.slots[slot.replica] = replace(slot, state="unready", reason=reason, since_s=now_s)
        if slot.state == "starting":  # which every replica with a probe is for a moment
            return (ReportNow(),)
        unready = Announce(kind="replica-unready", replica=slot.replica, reason=reason)
        return (unready, ReportNow())

    def _completed(self, now_s: float, event: ReplicaCompleted) -> tuple[Command, ...]:
        slot = self.slots.get(event.replica)
        if slot is None or not slot.lives:
            return ()
        if not slot.is_wanted:
            return self._stopped(now_s, ReplicaStopped(replica=event.replica))
        self.slots[slot.replica] = replace(
            slot, state="completed", reason="", is_held=False, since_s=now_s
        )
        return (Announce(kind="replica-completed", replica=slot.replica), ReportNow())

    def _failed(self, now_s: float, event: ReplicaFailed) -> tuple[Command, ...]:
        slot = self.slots.get(event.replica)
        if slot is None or not slot.lives:
            return ()
        if slot.state == "stopping":
            return self._stopped(now_s, ReplicaStopped(replica=event.replica))
        was_stable = slot.state in ("running", "unready") and now_s - slot.since_s >= STABLE_S
        failures = 1 if was_stable else slot.failures + 1
        delay_s = min(RESTART_DELAY_MIN_S * 2.0 ** min(failures - 1, 16), RESTART_DELAY_MAX_S)
        reason = event.reason[:REASON_LENGTH_MAX]
        is_looping = failures >= CRASH_LOOP_FAILURES and not event.is_final
        state: ReplicaState = "crash-loop" if is_looping else "failed"
        self.slots[slot.replica] = replace(
            slot, state=state, reason=reason, failures=failures, since_s=now_s,
            retry_at_s=None if event.is_final else now_s + delay_s, is_final=event.is_final,
        )  # fmt: skip
        return (
            Announce(kind=f"replica-{state}", replica=slot.replica, reason=reason),
            ReportNow(),
        )

    def _stopped(self, now_s: float, event: ReplicaStopped) -> tuple[Command, ...]:
        slot = self.slots.get(event.replica)
        if slot is None or slot.state != "stopping":
            return ()
        stopped = Announce(
            kind="replica-stopped", replica=slot.replica, reason=NO_LEASE if slot.is_held else ""
        )
        if not slot.is_wanted:
            del self.slots[slot.replica]
            return (stopped, ReportNow())
        if slot.is_held and now_s >= self.fence_at_s:
            self.slots[slot.replica] = replace(
                slot, state="unready", reason=NO_LEASE, since_s=now_s
            )
            return (stopped, ReportNow())
        again = replace(
            slot, state="starting", reason="", failures=0, is_held=False, since_s=now_s,
            ends_at_s=None,
        )  # fmt: skip
        self.slots[slot.replica] = again
        return (stopped, self._start(again), ReportNow())

    def _retry(self, now_s: float) -> tuple[Command, ...]:
        due = [
            slot
            for slot in self.slots.values()
            if slot.retry_at_s is not None and slot.retry_at_s <= now_s
        ]
        for slot in due:
            self.slots[slot.replica] = replace(
                slot, state="starting", retry_at_s=None, since_s=now_s
            )
        return tuple(self._start(slot) for slot in due)

    def _start(self, slot: Slot) -> StartReplica:
        return StartReplica(
            replica=slot.replica, deployment=slot.deployment, generation=slot.generation,
            epoch=self._epoch, revision=self.adopted.sequence, grants=slot.grants,
        )  # fmt: skip

    # --- strict singletons ----------------------------------------------------------------

    def _strict(self, now_s: float, event: SingletonFound) -> tuple[Command, ...]:
        slot = self.slots.get(event.replica)
        if slot is None:
            return ()
        ends_at_s = None if slot.is_wanted else now_s
        self.slots[slot.replica] = replace(slot, is_strict=True, ends_at_s=ends_at_s)
        return self._fence(now_s)

    def _fence(self, now_s: float) -> tuple[Command, ...]:
        """End the strict singletons when the lease ends, those that finish their calls as well."""
        fenced = [
            slot
            for slot in self.slots.values()
            if slot.is_to_fence and now_s >= slot.works_until_s(self.fence_at_s)
        ]
        for slot in fenced:
            self.slots[slot.replica] = replace(
                slot, state="stopping", is_held=True, reason=NO_LEASE, since_s=now_s
            )
        return tuple(StopReplica(replica=slot.replica, at_once=True) for slot in fenced)

    def _resume(self, now_s: float) -> tuple[Command, ...]:
        """Start what was held, under a lease; what is not gone yet starts when it is."""
        if now_s >= self.fence_at_s:
            return ()
        held = [slot for slot in self.slots.values() if slot.is_held and slot.state == "unready"]
        for slot in held:
            self.slots[slot.replica] = replace(
                slot, state="starting", is_held=False, reason="", since_s=now_s, ends_at_s=None
            )
        return tuple(self._start(slot) for slot in held)

    # --- reports --------------------------------------------------------------------------

    def _announce_loops(self, event: HeartbeatDue) -> list[Command]:
        """Tell of running replicas of which a service began to fail again and again."""
        looping = frozenset(each for each, told in event.figures.items() if told.is_looping)
        began, self._looping = sorted(looping - self._looping), looping
        return [
            Announce(
                kind="replica-crash-loop",
                replica=replica,
                reason=event.figures.get(replica, NO_FIGURES).trouble[:REASON_LENGTH_MAX],
            )
            for replica in began
            if replica in self.slots and self.slots[replica].state == "running"
        ]

    def _report(self, now_s: float, event: HeartbeatDue) -> SendReport:
        self._sequence += 1
        self._sent_at_s[self._sequence] = now_s
        self._sent_at_s.pop(self._sequence - REPORTS_OPEN_MAX, None)
        return SendReport(
            report=Report(
                host=self.host,
                boot=self.boot,
                sequence=self._sequence,
                adopted=self.adopted,
                replicas=replica_reports(self.slots.values(), event),
                load=event.load,
                held=held_devices(self.slots.values()),
            )
        )

    def _acked(self, now_s: float, event: Acked) -> tuple[Command, ...]:
        sent_at_s = self._sent_at_s.pop(event.sequence, None)
        if self.adopted.is_behind(event.required):
            return (ReadTarget(),)
        if sent_at_s is not None and event.lease_s > 0:
            # Counted from the sending: whatever the answer took on its way is not ours to use.
            until_s = sent_at_s + event.lease_s
            if until_s > self.lease_until_s:
                self.lease_until_s = until_s
                self.fence_at_s = until_s - FENCE_SHARE * event.lease_s
        return self._resume(now_s)
