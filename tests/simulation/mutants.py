"""Planted bugs: each breaks one rule of the protocol, and the simulation must catch each.

A mutant that survives shows that an invariant or a fault is missing, not that the rule is idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from hosts import lifecycle
from hosts.lifecycle import Lifecycle
from lattice.model.host import Inventory, Report, Revision
from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.wire.messages import DeploymentStatus
from scheduler import deciding, delivery, election, membership, reconciler, records
from scheduler.announcements import Announcements, Emit
from scheduler.around import Around
from scheduler.deciding import Decider
from scheduler.delivery import Delivery
from scheduler.election import Election
from scheduler.generations import Wanted
from scheduler.ledger import Ledger
from scheduler.membership import Membership
from scheduler.pacing import Brake
from scheduler.placement.model import Demand, Key
from scheduler.probing import Hinted, Probe
from scheduler.profile import Profile
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


class _Graceless(Membership):
    """Takes hosts for lost that had no time to report to a new leader."""

    def __init__(self, profile: Profile, *, now_s: float) -> None:
        super().__init__(profile, now_s=now_s - profile.lost_after_s)

    def is_settled(self, now_s: float) -> bool:
        return True

    def inventory_read(
        self, now_s: float, host: HostId, inventory: Inventory | None
    ) -> tuple[membership.MembershipChanged, ...]:
        return super().inventory_read(now_s - self._profile.lost_after_s, host, inventory)


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
    "has no patience after a take-over": _Graceless,
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

    def _reported(self, now_s: float, report: Report) -> tuple[reconciler.Command, ...]:
        until_s, self._lease_until_s = self._lease_until_s, float("inf")
        commands = super()._reported(now_s, report)
        self._lease_until_s = until_s
        return commands


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


class _Hasty(Wishes):
    """Takes old replicas away before new ones are ready."""

    def desired(self, name: DeploymentName, wanted: Wanted | None, revision: int) -> None:
        if wanted is not None and wanted.update.strategy != "recreate":
            wanted = replace(wanted, update=replace(wanted.update, unavailable_max=100))
        super().desired(name, wanted, revision)


class _Asleep(Wishes):
    """Hears no call."""

    def wake(self, now_s: float, name: DeploymentName, ledger: Ledger) -> bool:
        return False


class _Unbraked(Brake):
    """Takes the loss of many hosts for many losses of one."""

    def lost(
        self, now_s: float, host: HostId, zone: str, hosts: Mapping[str, int], replicas: int
    ) -> bool:
        return False


class _Mumbling(Decider):
    """Does not say by which rule a replica has no place."""

    def plan(self, now_s: float, at: Around) -> tuple[deciding.Command, ...]:
        commands = super().plan(now_s, at)
        unplaced = tuple(replace(each, kinds=("interface",)) for each in self._state.unplaced)
        self._state = replace(self._state, unplaced=unplaced)
        return commands


class _Crowding(Decider):
    """Places replicas without a look at where the others are."""

    def _replaced(
        self, name: DeploymentName, demands: tuple[Demand, ...]
    ) -> dict[Key, Demand | None]:
        apart = tuple(replace(d, placement=replace(d.placement, spread=())) for d in demands)
        return super()._replaced(name, apart)


class _Stammering(Announcements):
    """Gives all hosts' events of a term one id."""

    def host(
        self, change: membership.MembershipChanged, members: Mapping[HostId, membership.Member]
    ) -> Emit:
        return replace(super().host(change, members), id=f"{self._epoch}.1")


DECIDERS: dict[str, type[Decider]] = {
    "misnames what keeps a replica away": _Mumbling,
    "forgets to spread": _Crowding,
}

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
    "updates beyond its bounds": _Hasty,
    "sleeps through calls": _Asleep,
}

MUTANTS = (
    *MUTANTS,
    *[h for h in HOSTS if h not in OTHERS],
    *SINGLETONS,
    *WISHES,
    *DECIDERS,
    "answers after its lease",
    "replaces a mass at once",
    "tells two things as one",
)


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
            if mutant == "replaces a mass at once":
                made.decider.brake.__class__ = _Unbraked
            if mutant == "tells two things as one":
                made.announcements.__class__ = _Stammering
            if mutant in DECIDERS:
                made.decider.__class__ = DECIDERS[mutant]
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
