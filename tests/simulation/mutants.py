"""Planted bugs: each breaks one rule of the protocol, and the simulation must catch each.

A mutant that survives shows that an invariant or a fault is missing, not that the rule is idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from hosts import lifecycle
from hosts.lifecycle import Lifecycle
from lattice.model.host import Revision
from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.wire.messages import DeploymentStatus
from scheduler import delivery, election, membership, reconciler, records
from scheduler.delivery import Delivery
from scheduler.election import Election
from scheduler.generations import Wanted
from scheduler.membership import Membership
from scheduler.probing import Hinted, Probe
from scheduler.reconciler import Reconciler
from scheduler.rollout import Progress
from scheduler.singletons import Singletons
from scheduler.wishes import Wishes
from tests.simulation.host_actor import HostActor
from tests.simulation.scheduler_actor import SchedulerActor
from tests.simulation.world import World


class _Impatient(Election):
    """Challenges a lease as soon as it sees it."""

    def _observe(self, now_s: float, read: election.LeaseRead) -> tuple[election.Command, ...]:
        return self._acquire(now_s, read)


class _Unfenced(Election):
    """Goes on leading after its lease ran out."""

    @property
    def lease_until_s(self) -> float:
        return float("inf") if self._epoch is not None else float("-inf")

    def _self_fence(self, now_s: float) -> tuple[election.Command, ...]:
        return ()


class _LateCount(Election):
    """Counts its lease from the answer, not from the sending of the request."""

    def handle(self, now_s: float, event: election.Event) -> tuple[election.Command, ...]:
        if isinstance(event, election.Renewed | election.Acquired):
            event = replace(event, asked_s=now_s)
        return super().handle(now_s, event)


class _Forgetful(Delivery):
    """Takes a write with an unknown outcome for one that did not take place."""

    def handle(
        self, outcome: delivery.Outcome
    ) -> tuple[tuple[delivery.Command, ...], delivery.Changed | None]:
        if isinstance(outcome, delivery.TargetUnknown) and outcome.host in self._documents:
            self._pending.pop(outcome.host, None)
            return (), None
        return super().handle(outcome)


class _Careless(_Forgetful):
    """Also writes on without looking when a host knows a newer target."""

    def reseal(self, host: HostId) -> tuple[delivery.Command, ...]:
        return ()


class _Resigned(Delivery):
    """Never repeats a request that failed."""

    def retry(self) -> tuple[delivery.Command, ...]:
        return super().retry() if self._unsealed is None else ()


class _Trusting(Membership):
    """Never gives a host up."""

    def ticked(self, now_s: float) -> tuple[membership.MembershipChanged, ...]:
        return ()

    def hinted(self, now_s: float, event: Hinted) -> tuple[Probe, ...]:
        return ()


class _Backwards(Lifecycle):
    """Adopts whatever target it sees last."""

    def handle(self, now_s: float, event: lifecycle.Event) -> tuple[lifecycle.Command, ...]:
        if isinstance(event, lifecycle.TargetSeen):
            self.adopted = Revision("", 0)
        return super().handle(now_s, event)


class _Generous(Reconciler):
    """Takes every host for far larger than it is."""

    def _candidate(self, host: HostId, member: membership.Member) -> Any:
        found = super()._candidate(host, member)
        is_first = host == "h1"
        capacity = replace(found.capacity, cpu_milli=10**9, slots=10**6)
        return replace(found, capacity=capacity, is_cordoned=not is_first)


ELECTIONS: dict[str, type[Election]] = {
    "challenges a fresh lease": _Impatient,
    "leads beyond its lease": _Unfenced,
    "counts the lease from the answer": _LateCount,
}

DELIVERIES: dict[str, type[Delivery]] = {
    "forgets unknown writes and trusts its memory": _Careless,
    "never repeats a failed write": _Resigned,
}

MEMBERSHIPS: dict[str, type[Membership]] = {
    "never gives a host up": _Trusting,
}

OTHERS = ("host goes back", "overfills hosts", "writes without a fence")

MUTANTS = (*ELECTIONS, *DELIVERIES, *MEMBERSHIPS, *OTHERS)


class _Unproven(Singletons):
    """Starts a singleton elsewhere as soon as its host's target lists it no more."""

    def suspects(
        self, now_s: float, name: DeploymentName, targets: Mapping[HostId, int]
    ) -> Iterable[HostId]:
        return ()


class _Sure(Singletons):
    """Believes at the beginning of a term that nothing was withdrawn by a leader before."""

    def suspects(
        self, now_s: float, name: DeploymentName, targets: Mapping[HostId, int]
    ) -> Iterable[HostId]:
        return super().suspects(now_s, name, {})


class _Leaseless(Lifecycle):
    """Lets strict singletons work without a lease."""

    def _fence(self, now_s: float) -> tuple[lifecycle.Command, ...]:
        return ()

    def may_call(self, replica: ReplicaId, now_s: float) -> bool:
        slot = self.slots.get(replica)
        return slot is not None and slot.lives


class _Credulous(Lifecycle):
    """Takes a lease although it has not adopted the target that the answer requires."""

    def _acked(self, now_s: float, event: lifecycle.Acked) -> tuple[lifecycle.Command, ...]:
        behind = self.adopted.is_behind(event.required)
        read = (lifecycle.ReadTarget(),) if behind else ()
        return (*read, *super()._acked(now_s, replace(event, required=self.adopted)))


class _Late(Lifecycle):
    """Counts its lease from the arrival of the answer."""

    def _acked(self, now_s: float, event: lifecycle.Acked) -> tuple[lifecycle.Command, ...]:
        if event.sequence in self._sent_at_s:
            self._sent_at_s[event.sequence] = now_s
        return super()._acked(now_s, event)


class _Deposed(Reconciler):
    """Answers heartbeats after its own lease ran out."""

    def handle(self, now_s: float, event: reconciler.Event) -> tuple[reconciler.Command, ...]:
        if isinstance(event, reconciler.Reported | reconciler.LeaseExtended):
            self._lease_until_s = float("inf")
        if isinstance(event, reconciler.LeaseExtended):
            event = replace(event, until_s=float("inf"))
        return super().handle(now_s, event)


class _Stubborn(Wishes):
    """Never reverts."""

    def _revert(
        self, now_s: float, wanted: Wanted, progress: Progress
    ) -> tuple[records.Revert, ...]:
        return ()


class _Overcounting(Wishes):
    """Forgets which replicas of a job are counted already."""

    def status(self, wanted: Wanted) -> DeploymentStatus:
        return replace(super().status(wanted), counted=[])


HOSTS: dict[str, type[Lifecycle]] = {
    "host goes back": _Backwards,
    "no fence on the host": _Leaseless,
    "lease without the target": _Credulous,
    "lease counted from the answer's arrival": _Late,
}

SINGLETONS: dict[str, type[Singletons]] = {
    "moves a singleton without proof": _Unproven,
    "trusts what a leader before withdrew": _Sure,
}

WISHES: dict[str, type[Wishes]] = {
    "never reverts": _Stubborn,
    "counts a job's replica twice": _Overcounting,
}

MUTANTS = (*MUTANTS, *[h for h in HOSTS if h not in OTHERS], *SINGLETONS, *WISHES,
           "answers after its lease")  # fmt: skip


def scheduler_actor(mutant: str) -> Callable[[World, str], SchedulerActor]:
    """Return what makes a scheduler, with a bug in it when it is one of the scheduler's."""

    class Mutant(SchedulerActor):
        def new_election(self) -> Election:
            made = ELECTIONS.get(mutant, Election)
            return made(f"{self.name}-{self.boots}", f"incarnation-{self.name}", self.world.profile)

        def new_reconciler(self, lead: election.Lead) -> Reconciler:
            made = super().new_reconciler(lead)
            if mutant == "overfills hosts":
                made.__class__ = _Generous
            if mutant == "answers after its lease":
                made.__class__ = _Deposed
            if mutant in SINGLETONS:
                made.decider.singletons.__class__ = SINGLETONS[mutant]
            if mutant in WISHES:
                made.decider.wishes.__class__ = WISHES[mutant]
            if mutant in DELIVERIES:
                made.delivery = DELIVERIES[mutant](lead.epoch, lead.incarnation)
            if mutant in MEMBERSHIPS:
                now_s = self.world.clock(self.name)
                made.membership = MEMBERSHIPS[mutant](self.world.profile, now_s=now_s)
            return made

        def fence(
            self, command: delivery.WriteTarget | delivery.SealTargets
        ) -> tuple[str, int] | None:
            if mutant == "writes without a fence":
                return None
            return super().fence(command)

    return Mutant


def host_actor(mutant: str) -> Callable[[World, str], HostActor]:
    """Return what makes a host, with a bug in it when it is one of the host's."""

    class Mutant(HostActor):
        def new_core(self) -> Lifecycle:
            made = HOSTS.get(mutant, Lifecycle)
            return made(host=HostId(self.name), boot=f"{self.name}-{self.boots}")

    return Mutant
