"""How fast replicas are moved: bounds for each plan, and a brake when much is gone at once; a core.

When a large part of the hosts falls silent together, a broken network is as likely as broken hosts,
and what moves now may have to move back. So it is replaced slowly, what matters most first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lattice.model.ids import HostId
from scheduler.placement.model import Key

STARTS_MAX = 50_000
"""Replicas that one plan starts at most, so that one wave of targets is adopted before the next."""

BEGINNINGS_MAX = 128
"""Generations that one host has to start at a time: each may be an artifact to fetch first."""

MASS_SHARE = 3
"""One host in so many that is lost within `MASS_S` is a mass failure."""

MASS_HOSTS_MIN = 5
"""Fewer lost hosts than this are no mass failure: in a small lattice each one is a large share."""

MASS_S = 30.0
"""Seconds within which losses count as one."""

BRAKE_STARTS_PER_S = 20.0
"""Least pace of starts under the brake."""

BRAKE_WHOLE_S = 60.0
"""Seconds in which what was lost is replaced under the brake, when that is faster."""

ZONE = "zone"
"""Label of hosts that fail together; a zone of `MASS_HOSTS_MIN` hosts that is lost is a mass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Replicas that a plan puts on a host in addition."""

    host: HostId
    key: Key
    count: int
    priority: int = 0
    is_new: bool = True  # the host has none of this generation yet


class Brake:
    """Which hosts were lost lately, and how many starts are allowed. Time goes in with calls."""

    def __init__(self) -> None:
        self._lost_s: dict[HostId, tuple[float, str]] = {}
        self._per_s = 0.0  # 0 while the brake is off
        self._credit = 0.0
        self._paid_s = 0.0

    @property
    def is_on(self) -> bool:
        """Tell whether starts are slowed."""
        return self._per_s > 0

    def lost(
        self, now_s: float, host: HostId, zone: str, hosts: Mapping[str, int], replicas: int
    ) -> bool:
        """Take a loss in and tell whether it put the brake on.

        `hosts` has the number of hosts of each zone, lost ones included; `replicas` is the number
        of those that the lost host's target lists.
        """
        self._lost_s[host] = (now_s, zone)
        self._lost_s = {h: at for h, at in self._lost_s.items() if now_s - at[0] <= MASS_S}
        lost, total = len(self._lost_s), sum(hosts.values())
        of_zone = sum(1 for _, other in self._lost_s.values() if other == zone)
        is_zone = bool(zone) and of_zone >= hosts.get(zone, 0)
        is_mass = lost >= MASS_HOSTS_MIN and (lost * MASS_SHARE > total or is_zone)
        if self.is_on:
            self._per_s += replicas / BRAKE_WHOLE_S
            return False
        if is_mass:
            self._per_s = max(BRAKE_STARTS_PER_S, replicas * lost / BRAKE_WHOLE_S)
            self._credit, self._paid_s = 0.0, now_s
        return is_mass

    def returned(self, host: HostId) -> None:
        """Note that a host is back."""
        self._lost_s.pop(host, None)

    def allowed(self, now_s: float) -> int:
        """Return how many replicas may be started now."""
        if not self.is_on:
            return STARTS_MAX
        self._credit += (now_s - self._paid_s) * self._per_s
        self._credit, self._paid_s = min(self._credit, self._per_s), now_s
        return min(STARTS_MAX, int(self._credit))

    def started(self, now_s: float, count: int, *, is_all: bool) -> bool:
        """Note what was started; tell whether that released the brake, because `is_all` that was to
        start has."""
        self._credit -= count
        is_over = all(now_s - at_s > MASS_S for at_s, _ in self._lost_s.values())
        if self.is_on and is_all and is_over:
            self._per_s = 0.0
            return True
        return False


def admitted(
    starts: Iterable[Start], allowed: int, beginning: Mapping[HostId, int]
) -> tuple[dict[HostId, dict[Key, int]], int, int]:
    """Return what may start now by host and generation, how many that are, and how many wait.

    The highest priority goes first; then the order is that of deployment, generation and host.
    """
    admitted: dict[HostId, dict[Key, int]] = {}
    begun = dict(beginning)
    used = waiting = 0
    for start in sorted(starts, key=lambda s: (-s.priority, s.key, s.host)):
        count = min(start.count, allowed - used)
        if start.is_new and begun.get(start.host, 0) >= BEGINNINGS_MAX:
            count = 0
        waiting += start.count - count
        if count:
            begun[start.host] = begun.get(start.host, 0) + start.is_new
            admitted.setdefault(start.host, {})[start.key] = count
            used += count
    return admitted, used, waiting
