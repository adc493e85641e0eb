"""Answers why a demand is where it is, and why nowhere else, from the state that a plan left.

Asked rarely and by people; it looks at the same columns, rules and scores as the plan did, and
changes nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lattice.model.ids import DeploymentName, HostId
from scheduler.placement.explain import Reason
from scheduler.placement.explaining import rooms_of
from scheduler.placement.filters import refusal
from scheduler.placement.model import Demand, Eviction
from scheduler.placement.preempt import drive_out
from scheduler.placement.relaxing import Relaxation, relaxations
from scheduler.placement.rooms import Room, Surroundings
from scheduler.placement.scores import Terms, first_scores, terms, wanted_share, weights_for
from scheduler.placement.state import State
from scheduler.placement.surroundings import refusing_of, surroundings_of
from scheduler.placement.surveying import surveyed
from scheduler.placement.verdicts import Verdict, verdicts

HOSTS_MAX = 20
"""Hosts with replicas whose scores are told; the others are the same story."""

BEST_MAX = 5
"""Hosts without replicas that would be next, whose scores are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A host's score for one replica there, beside all that is placed.

    On a host that runs some it is the score of the last of them. `domains` has, for each key that
    the demand is spread over, how many replicas the host's domain has: fewer come before any score.
    """

    host: HostId
    replicas: int
    terms: Terms
    domains: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preemption:
    """What driving out lower priorities would do for one more replica."""

    is_allowed: bool
    evictions: tuple[Eviction, ...]  # none: it would not help


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why the replicas of a demand are where they are, and what keeps one more away."""

    demand: Demand
    placed: int
    hosts: int  # that are known
    feasible: int  # that could take one more replica
    here: tuple[Scored, ...]
    best: tuple[Scored, ...]  # feasible ones without replicas
    reasons: tuple[Reason, ...]
    relaxations: tuple[Relaxation, ...]
    preemption: Preemption


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot:
    """Every rule's verdict on one host, and its score against those of the chosen ones."""

    demand: Demand
    replicas: int  # that are there
    verdicts: tuple[Verdict, ...]
    score: Scored
    chosen: tuple[Scored, ...]

    @property
    def is_feasible(self) -> bool:
        """Tell whether the host could take one more replica."""
        return all(verdict.is_met for verdict in self.verdicts)


class Inquiry:
    """Questions about one state of placement."""

    def __init__(self, state: State) -> None:
        self._draft = state.draft()
        self._refusing = refusing_of(each for each in self._draft.book.demands if each is not None)
        self._rooms: list[Room] = []
        self._weights = weights_for(wanted_share(self._draft, []))

    def demand(self, name: DeploymentName) -> Demand | None:
        """Return the demand of a deployment for its newest generation; None if there is none."""
        found = [self._draft.book.demand(n) for n in self._draft.book.by_name.get(name, ())]
        return max(found, key=lambda each: (not each.is_kept_only, each.generation), default=None)

    def why(self, demand: Demand) -> Why:
        """Return why a demand's replicas are where they are, and what keeps one more away."""
        around = self._look_around(demand)
        reasons = surveyed(self._draft, self._number(demand))
        return Why(
            demand=demand,
            placed=int(self._draft.totals[self._number(demand)]),
            hosts=len(self._rooms),
            feasible=len(self._rooms) - sum(reason.hosts for reason in reasons),
            here=self._here(demand)[:HOSTS_MAX],
            best=self._best(demand, around),
            reasons=reasons,
            relaxations=relaxations(demand, self._rooms, around),
            preemption=self._preemption(demand),
        )

    def why_not(self, demand: Demand, host: HostId) -> WhyNot | None:
        """Return the verdict of every rule on one host; None if there is no such host."""
        row = self._draft.fleet.rows.get(host)
        if row is None:
            return None
        around = self._look_around(demand)
        room = self._rooms[row]
        return WhyNot(
            demand=demand,
            replicas=room.counts.get(demand.key, 0),
            verdicts=verdicts(demand, room, around),
            score=self._scored(demand, row),
            chosen=tuple(each for each in self._here(demand) if each.host != host)[:BEST_MAX],
        )

    def _look_around(self, demand: Demand) -> Surroundings:
        self._rooms = rooms_of(self._draft, [demand], self._refusing)
        return surroundings_of(demand, self._rooms, self._refusing)

    def _number(self, demand: Demand) -> int:
        return self._draft.book.numbers[demand.key]

    def _here(self, demand: Demand) -> tuple[Scored, ...]:
        """Return the hosts with replicas, the best first."""
        rows = self._draft.pairs(self._number(demand))[0].tolist()
        # Beyond what is told and compared, hosts are taken as they come.
        return _ordered([self._scored(demand, row) for row in rows[: 4 * HOSTS_MAX]])

    def _best(self, demand: Demand, around: Surroundings) -> tuple[Scored, ...]:
        """Return the best hosts that could take one more replica and have none."""
        scores = first_scores(self._draft, self._number(demand), self._weights)
        ties = self._draft.fleet.ties(demand.deployment)
        found: list[Scored] = []
        for row in np.lexsort((ties, scores))[::-1].tolist():
            room = self._rooms[row]
            if demand.key not in room.counts and refusal(demand, room, around) is None:
                found.append(self._scored(demand, row))
                if len(found) == BEST_MAX:
                    break
        return tuple(found)

    def _scored(self, demand: Demand, row: int) -> Scored:
        number, host = self._number(demand), self._draft.fleet.candidates[row]
        replicas = self._rooms[row].counts.get(demand.key, 0)
        draft = self._draft
        if replicas:
            draft = draft.fork()
            draft.put(number, np.array([row], np.int32), np.array([-1], np.int64))
        found = terms(draft, number, host.id, self._weights)
        return Scored(
            host=host.id, replicas=replicas, terms=found, domains=self._domains(demand, row)
        )

    def _domains(self, demand: Demand, row: int) -> dict[str, int]:
        found: dict[str, int] = {}
        own = self._draft.own(self._number(demand))
        for spread in demand.placement.spread:
            codes = self._draft.fleet.label_domains(spread.key)
            if codes[row] >= 0:
                found[spread.key] = int(own[codes == codes[row]].sum())
        return found

    def _preemption(self, demand: Demand) -> Preemption:
        """Return whom one more replica would drive out, if it may or if it only might."""
        may = demand.placement.preempt == "lower"
        bold = replace(demand, placement=replace(demand.placement, preempt="lower"))
        draft = self._draft.fork()
        draft.book = draft.book.updated({bold.key: bold})
        _, evictions = drive_out(draft, {self._number(demand): 1}, self._weights)
        return Preemption(
            is_allowed=may, evictions=tuple(each for each in evictions if each.by == demand.key)
        )


def _ordered(scored: Sequence[Scored]) -> tuple[Scored, ...]:
    return tuple(sorted(scored, key=lambda each: (-each.terms.score, each.host)))
