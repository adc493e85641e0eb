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
    ReplicaFailed,
    ReplicaReady,
    ReplicaStopped,
    ReportNow,
    SendReport,
    StartReplica,
    StopReplica,
    TargetSeen,
    TargetUnreadable,
    Ticked,
)
from lattice.model.host import ReplicaReport, ReplicaState, Report, Revision
from lattice.model.ids import DeploymentName, HostId, ReplicaId, replica_id
from lattice.wire.messages import Target

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
    "ReplicaFailed",
    "ReplicaReady",
    "ReplicaStopped",
    "ReportNow",
    "SendReport",
    "Slot",
    "StartReplica",
    "StopReplica",
    "TargetSeen",
    "TargetUnreadable",
    "Ticked",
]

FEATURES = ("replicas@1",)
"""What a target may need of this release (see `Target.needs`)."""

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

REASON_LENGTH_MAX = 2000
"""Characters of an error text in a report: a trap's backtrace is kept, a heartbeat stays small."""

REASONS_LENGTH_MAX = 150_000
"""Characters of all error texts in one report. A thousand replicas that fail share them, because
a report that is larger than a message never arrives, and its host would count as lost."""

REPLICAS_MAX = 10_000
"""Replicas of one target: far above what a scheduler assigns, far below what exhausts memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One replica on this host. `is_wanted` tells whether the adopted target lists it."""

    replica: ReplicaId
    deployment: DeploymentName
    generation: int
    state: ReplicaState
    is_wanted: bool = True
    reason: str = ""
    failures: int = 0
    since_s: float = 0.0  # when it came into this state
    retry_at_s: float | None = None  # set while failed


@dataclass(slots=True)
class Lifecycle:
    """What runs on one host. Change it only through `handle`."""

    host: HostId
    boot: str
    features: frozenset[str] = frozenset(FEATURES)
    adopted: Revision = field(default_factory=Revision)
    slots: dict[ReplicaId, Slot] = field(default_factory=dict[ReplicaId, Slot])
    lease_until_s: float = float("-inf")
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
            case ReplicaReady():
                return self._ready(now_s, event)
            case ReplicaFailed():
                return self._failed(now_s, event)
            case ReplicaStopped():
                return self._stopped(now_s, event)
            case HeartbeatDue():
                return (*self._announce_loops(event), self._report(now_s, event))
            case Acked():
                return self._acked(event)
            case Ticked():
                return self._retry(now_s)
            case _:
                assert_never(event)

    def next_due_s(self) -> float | None:
        """Return when a `Ticked` is next of use, or None."""
        return min((s.retry_at_s for s in self.slots.values() if s.retry_at_s is not None),
                   default=None)  # fmt: skip

    def has_lease(self, now_s: float) -> bool:
        """Tell whether the scheduler still counts on this host: singletons run only then."""
        return now_s < self.lease_until_s

    def check(self) -> None:
        """Assert what must hold after every event."""
        for replica, slot in self.slots.items():
            assert replica == slot.replica, "a slot lies under its own id"
            waits = slot.retry_at_s is not None
            assert waits == (slot.state in ("failed", "crash-loop")), "only the failed wait"
            assert slot.is_wanted or slot.state == "stopping", "what is not wanted is stopping"

    # --- targets --------------------------------------------------------------------------

    def _adopt(self, now_s: float, event: TargetSeen) -> tuple[Command, ...]:
        if not self.adopted.is_behind(event.revision):
            return ()
        if reason := self._refusal(event.target):
            return self._refuse(event.revision, reason)
        self.adopted = event.revision
        wanted = {
            replica_id(item.deployment, item.generation, self.host, item.assignment, ordinal): item
            for item in event.target.items
            for ordinal in range(item.count)
        }
        commands: list[Command] = []
        for replica in sorted(self.slots.keys() - wanted.keys()):
            commands += self._withdraw(now_s, self.slots[replica])
        for replica, item in wanted.items():
            if replica not in self.slots:
                slot = Slot(
                    replica=replica,
                    deployment=DeploymentName(item.deployment),
                    generation=item.generation,
                    state="starting",
                    since_s=now_s,
                )
                self.slots[replica] = slot
                commands.append(_start(slot))
            elif not self.slots[replica].is_wanted:
                # It is being stopped: it starts again when it is gone, never twice at once.
                self.slots[replica] = replace(self.slots[replica], is_wanted=True)
        return (*commands, ReportNow())

    def _refuse(self, revision: Revision, reason: str) -> tuple[Command, ...]:
        """Keep what is adopted, and say why; once, because every heartbeat brings it again."""
        if self._refused == revision:
            return ()
        self._refused = revision
        return (Announce(kind="target-refused", reason=reason[:REASON_LENGTH_MAX]),)

    def _refusal(self, target: Target) -> str | None:
        if target.host not in ("", self.host):
            return f"target is meant for host {target.host}, this is {self.host}"
        if unknown := sorted(set(target.needs) - self.features):
            return f"target needs {', '.join(unknown)}, this host knows {sorted(self.features)}"
        count = sum(item.count for item in target.items)
        if count > REPLICAS_MAX or any(item.count < 0 for item in target.items):
            return f"target lists {count} replicas, expected 0 to {REPLICAS_MAX}"
        return None

    def _withdraw(self, now_s: float, slot: Slot) -> list[Command]:
        match slot.state:
            case "failed" | "crash-loop":
                del self.slots[slot.replica]
                return [Announce(kind="replica-stopped", replica=slot.replica)]
            case "stopping":
                self.slots[slot.replica] = replace(slot, is_wanted=False)
                return []
            case "starting" | "unready" | "running" | "completed":
                self.slots[slot.replica] = replace(
                    slot, state="stopping", is_wanted=False, since_s=now_s
                )
                return [StopReplica(replica=slot.replica)]

    # --- outcomes -------------------------------------------------------------------------

    def _ready(self, now_s: float, event: ReplicaReady) -> tuple[Command, ...]:
        slot = self.slots.get(event.replica)
        if slot is None or slot.state != "starting":
            return ()
        self.slots[slot.replica] = replace(slot, state="running", reason="", since_s=now_s)
        return (Announce(kind="replica-running", replica=slot.replica), ReportNow())

    def _failed(self, now_s: float, event: ReplicaFailed) -> tuple[Command, ...]:
        slot = self.slots.get(event.replica)
        if slot is None:
            return ()
        if slot.state == "stopping":
            return self._stopped(now_s, ReplicaStopped(replica=event.replica))
        was_stable = slot.state == "running" and now_s - slot.since_s >= STABLE_S
        failures = 1 if was_stable else slot.failures + 1
        delay_s = min(RESTART_DELAY_MIN_S * 2.0 ** min(failures - 1, 16), RESTART_DELAY_MAX_S)
        reason = event.reason[:REASON_LENGTH_MAX]
        state: ReplicaState = "crash-loop" if failures >= CRASH_LOOP_FAILURES else "failed"
        self.slots[slot.replica] = replace(
            slot, state=state, reason=reason, failures=failures,
            since_s=now_s, retry_at_s=now_s + delay_s,
        )  # fmt: skip
        return (
            Announce(kind=f"replica-{state}", replica=slot.replica, reason=reason),
            ReportNow(),
        )

    def _stopped(self, now_s: float, event: ReplicaStopped) -> tuple[Command, ...]:
        slot = self.slots.get(event.replica)
        if slot is None or slot.state != "stopping":
            return ()
        stopped = Announce(kind="replica-stopped", replica=slot.replica)
        if not slot.is_wanted:
            del self.slots[slot.replica]
            return (stopped, ReportNow())
        again = replace(slot, state="starting", reason="", failures=0, since_s=now_s)
        self.slots[slot.replica] = again
        return (stopped, _start(again), ReportNow())

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
        return tuple(_start(slot) for slot in due)

    # --- reports --------------------------------------------------------------------------

    def _announce_loops(self, event: HeartbeatDue) -> list[Command]:
        """Tell of running replicas of which a service began to fail again and again."""
        began, self._looping = sorted(event.looping - self._looping), event.looping
        return [
            Announce(
                kind="replica-crash-loop",
                replica=replica,
                reason=event.troubles.get(replica, "")[:REASON_LENGTH_MAX],
            )
            for replica in began
            if replica in self.slots and self.slots[replica].state == "running"
        ]

    def _report(self, now_s: float, event: HeartbeatDue) -> SendReport:
        self._sequence += 1
        self._sent_at_s[self._sequence] = now_s
        self._sent_at_s.pop(self._sequence - REPORTS_OPEN_MAX, None)
        told = sum(1 for slot in self.slots.values() if slot.reason) + len(event.troubles)
        length_max = min(REASON_LENGTH_MAX, REASONS_LENGTH_MAX // max(told, 1))
        replicas = tuple(
            ReplicaReport(
                replica=slot.replica,
                deployment=slot.deployment,
                generation=slot.generation,
                state=_shown(slot, event),
                reason=(slot.reason or event.troubles.get(slot.replica, ""))[:length_max],
                restarts=slot.failures + event.restarts.get(slot.replica, 0),
                calls=event.calls.get(slot.replica, 0),
                fuel=event.fuel.get(slot.replica, 0),
            )
            for slot in self.slots.values()
        )
        return SendReport(
            report=Report(
                host=self.host,
                boot=self.boot,
                sequence=self._sequence,
                adopted=self.adopted,
                replicas=replicas,
                load=event.load,
            )
        )

    def _acked(self, event: Acked) -> tuple[Command, ...]:
        sent_at_s = self._sent_at_s.pop(event.sequence, None)
        if self.adopted.is_behind(event.required):
            return (ReadTarget(),)
        if sent_at_s is not None and event.lease_s > 0:
            # Counted from the sending: whatever the answer took on its way is not ours to use.
            self.lease_until_s = max(self.lease_until_s, sent_at_s + event.lease_s)
        return ()


def _shown(slot: Slot, event: HeartbeatDue) -> ReplicaState:
    """Return the state to report: of a running replica, the services count too."""
    is_looping = slot.state == "running" and slot.replica in event.looping
    return "crash-loop" if is_looping else slot.state


def _start(slot: Slot) -> StartReplica:
    return StartReplica(
        replica=slot.replica, deployment=slot.deployment, generation=slot.generation
    )
