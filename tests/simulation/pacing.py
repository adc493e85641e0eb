"""What must hold of the pace of starts when much is gone at once.

It counts what leaders tell and what they write, in its own way: so many hosts lost in so short a
time is a mass failure, and until it is over only so many replicas start in a second. To hosts that
joined only so many are moved at a time, each for what it gains.
"""

from __future__ import annotations

from collections.abc import Iterator

from scheduler.announcements import Emit
from scheduler.delivery import Items
from scheduler.pacing import BRAKE_STARTS_PER_S, MASS_HOSTS_MIN, MASS_S, MASS_SHARE
from scheduler.placement.rebalance import PRICE
from scheduler.rebalancing import MOVES_MAX, points

STARTS_PER_S_MAX = 1.25 * BRAKE_STARTS_PER_S
"""What the brake lets through here: a fiftieth of what is lost is less in worlds of this size."""

EDGE_S = 1.0
"""Clocks drift: losses this near to the edge of the time that counts may be in it or not."""


class Pace:
    """The starts of one term."""

    def __init__(self) -> None:
        self._lost_s: dict[str, float] = {}
        self._starts: list[tuple[float, int]] = []
        self._moving: list[tuple[float, Emit]] = []
        self._is_braked = False

    def emitted(self, now_s: float, event: Emit) -> None:
        """Take in what the leader told."""
        match event.kind:
            case "host-lost":
                self._lost_s[event.entity] = now_s
            case "host-returned":
                self._lost_s.pop(event.entity, None)
            case "mass-failure":
                self._is_braked, self._starts = True, []
            case "mass-failure-over":
                self._is_braked = False
            case "replica-moving":
                self._moving.append((now_s, event))

    def started(self, now_s: float, before: Items, after: Items) -> None:
        """Take in a target that the leader writes."""
        counts = {(i.deployment, i.generation): i.count for i in before}
        more = sum(max(0, i.count - counts.get((i.deployment, i.generation), 0)) for i in after)
        if more:
            self._starts.append((now_s, more))

    def look(self, now_s: float, hosts: int) -> Iterator[str]:
        """Yield what is wrong after a leader that knows so many hosts was heard out."""
        yield from self._moved(now_s)
        lost = sum(now_s - at_s < MASS_S - EDGE_S for at_s in self._lost_s.values())
        if not self._is_braked:
            if lost >= MASS_HOSTS_MIN and lost * MASS_SHARE > hosts:
                yield f"{lost} of {hosts} hosts are lost at once, and nobody says so"
            return
        self._starts = [each for each in self._starts if now_s - each[0] <= 1.0]
        if (count := sum(more for _, more in self._starts)) > 2 * STARTS_PER_S_MAX:
            yield f"{count} replicas were started within a second of a mass failure"

    def _moved(self, now_s: float) -> Iterator[str]:
        self._moving = [each for each in self._moving if now_s - each[0] <= 1.0]
        if len(self._moving) > MOVES_MAX:
            yield f"{len(self._moving)} replicas are moved within a second"
        for at_s, event in self._moving:
            if at_s == now_s and not event.data["points"] >= points(PRICE):
                yield f"a move of {event.entity} gains only {event.data['points']} points"
