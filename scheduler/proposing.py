"""From a plan to the targets that may be written now; a core.

What a plan takes away is taken away at once. What it adds is let through at a pace, what matters
most first, and a strict singleton only when no other host may run one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lattice.model.ids import HostId
from lattice.wire.messages import TargetItem
from scheduler.delivery import Delivery
from scheduler.demanding import needs_of
from scheduler.itemizing import Items, key_of
from scheduler.ledger import Ledger
from scheduler.pacing import Brake, Start, admitted
from scheduler.placement.model import NEEDS, Demand, Key, Plan
from scheduler.singletons import Singletons
from scheduler.wishes import Wishes

Goals = dict[HostId, dict[Key, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What the targets of hosts should be, with what each needs of its host."""

    proposals: tuple[tuple[HostId, tuple[TargetItem, ...], tuple[str, ...]], ...]
    is_held_back: bool  # some of what was planned waits for its turn
    is_released: bool  # the brake was released


class Proposer:
    """The gate between plans and targets, for one term. Time goes in with each call."""

    def __init__(
        self, wishes: Wishes, ledger: Ledger, items: Items, brake: Brake, singletons: Singletons
    ) -> None:
        self._wishes = wishes
        self._ledger = ledger
        self._items = items
        self._brake = brake
        self._singletons = singletons

    def propose(
        self,
        now_s: float,
        sent: Delivery,
        made: Plan,
        hosts: Iterable[HostId],
        demands: Mapping[Key, Demand],
    ) -> Proposed:
        """Return the targets that come nearer to the plan, of these hosts and of those with jobs of
        which something ended."""
        jobs = {host for key in self._wishes.ended for host in self._ledger.places(key)}
        goals: Goals = {}
        starts: list[Start] = []
        is_held_back = False
        for host in sorted({*hosts, *jobs}):
            if sent.is_busy(host) or host not in sent.documents:
                continue
            planned, actual = made.assignments.get(host, {}), self._items.actual(host, sent)
            goals[host] = {k: min(n, actual[k]) for k, n in planned.items() if k in actual}
            for key, count in planned.items():
                if count <= actual.get(key, 0):
                    continue
                if self._may_start(now_s, host, key, sent):
                    starts.append(self._start(host, key, count - actual.get(key, 0), actual))
                else:
                    is_held_back = True
        waiting, is_released = self._admit(now_s, goals, starts)
        return Proposed(
            proposals=tuple(
                (host, *self._target(host, goal, sent, made, demands))
                for host, goal in goals.items()
            ),
            is_held_back=is_held_back or waiting > 0,
            is_released=is_released,
        )

    def _admit(self, now_s: float, goals: Goals, starts: list[Start]) -> tuple[int, bool]:
        """Add to the goals what may start now; return how many wait, and whether that released the
        brake."""
        hosts = {start.host for start in starts}
        beginning = {host: self._ledger.beginning(host) for host in hosts}
        let, used, waiting = admitted(starts, self._brake.allowed(now_s), beginning)
        for host, counts in let.items():
            for key, count in counts.items():
                goals[host][key] = goals[host].get(key, 0) + count
        if not self._brake.is_on:
            return waiting, False
        return waiting, self._brake.started(now_s, used, is_all=not waiting)

    def _start(self, host: HostId, key: Key, count: int, actual: Mapping[Key, int]) -> Start:
        wanted = self._wishes.wanted.get(key[0])
        priority = wanted.placement.priority if wanted is not None else 0
        return Start(host=host, key=key, count=count, priority=priority, is_new=key not in actual)

    def _may_start(self, now_s: float, host: HostId, key: Key, sent: Delivery) -> bool:
        """Tell whether a replica may be added to a host: of a strict singleton only when no other
        host may run one."""
        name = key[0]
        wanted = self._wishes.wanted.get(name)
        if wanted is None or not wanted.is_singleton:
            return True
        for generation in self._ledger.generations(name):
            if self._ledger.places((name, generation)) - {host}:
                return False
        targets = {each: document.revision for each, document in sent.documents.items()}
        suspects = self._singletons.suspects(now_s, name, targets)
        return all(suspect == host for suspect in suspects)

    def _target(
        self,
        host: HostId,
        goal: Mapping[Key, int],
        sent: Delivery,
        made: Plan,
        demands: Mapping[Key, Demand],
    ) -> tuple[tuple[TargetItem, ...], tuple[str, ...]]:
        document = sent.documents[host]
        items = self._items.items(host, goal, document, demands, made.grants.get(host, {}))
        needs = sorted({need for item in items for need in self._needs(key_of(item))})
        return items, tuple(needs) or NEEDS

    def _needs(self, key: Key) -> tuple[str, ...]:
        wanted = self._wishes.wanted.get(key[0])
        return needs_of(wanted) if wanted is not None and wanted.key == key else NEEDS
