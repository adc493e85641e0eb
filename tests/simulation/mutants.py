"""Planted bugs: each breaks one rule of the protocol, and the simulation must catch each.

A mutant that survives shows that an invariant or a fault is missing, not that the rule is idle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hosts import lifecycle
from hosts.lifecycle import Lifecycle
from lattice.model.host import Revision
from lattice.model.ids import HostId
from scheduler import delivery, election, membership
from scheduler.delivery import Delivery
from scheduler.election import Election
from scheduler.membership import Membership
from scheduler.probing import Hinted, Probe
from scheduler.profile import DEFAULT
from scheduler.reconciler import Reconciler
from tests.simulation.actors import HostActor, SchedulerActor
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


def scheduler_actor(mutant: str) -> Callable[[World, str], SchedulerActor]:
    """Return what makes a scheduler, with a bug in it when it is one of the scheduler's."""

    class Mutant(SchedulerActor):
        def new_election(self) -> Election:
            made = ELECTIONS.get(mutant, Election)
            return made(f"{self.name}-{self.boots}", f"incarnation-{self.name}", DEFAULT)

        def new_reconciler(self, lead: election.Lead) -> Reconciler:
            made = super().new_reconciler(lead)
            if mutant == "overfills hosts":
                made.__class__ = _Generous
            if mutant in DELIVERIES:
                made.delivery = DELIVERIES[mutant](lead.epoch, lead.incarnation)
            if mutant in MEMBERSHIPS:
                now_s = self.world.clock(self.name)
                made.membership = MEMBERSHIPS[mutant](DEFAULT, now_s=now_s)
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
            made = _Backwards if mutant == "host goes back" else Lifecycle
            return made(host=HostId(self.name), boot=f"{self.name}-{self.boots}")

    return Mutant
