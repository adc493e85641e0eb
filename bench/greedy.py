"""The straightforward way to place: for every replica look at every host, and take the best.

It has the rules and scores of `scheduler.placement` once more, in plain Python and without its
columns: what the batches are compared with, for speed and for equal answers. Demands with devices,
more than one spread, or wishes about themselves are beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lattice.model.ids import DeploymentName, HostId
from lattice.model.scheduling import HOST_TOPOLOGY, Preference, Spread
from lattice.model.wit import wanted_matches
from scheduler.placement.columns import hashed
from scheduler.placement.model import Candidate, Demand, Key
from scheduler.placement.scores import ONE, Weights

BITS_64 = (1 << 64) - 1


@dataclass(slots=True)
class Host:
    """A host with what is taken of it, in the three capacities, and by whom."""

    candidate: Candidate
    capacity: tuple[int, int, int]
    units: tuple[int, int, int]
    used: list[int] = field(default_factory=lambda: [0, 0, 0])
    load: list[int] = field(default_factory=lambda: [0, 0, 0])
    counts: dict[Key, int] = field(default_factory=dict[Key, int])
    names: set[DeploymentName] = field(default_factory=set[DeploymentName])


class Greedy:
    """Places one replica after the other."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self.hosts: list[Host] = []
        for each in candidates:
            capacity = each.capacity
            exact = (capacity.cpu_milli, capacity.memory_bytes, capacity.slots)
            units = (exact[0], exact[1] >> 20, exact[2])
            self.hosts.append(Host(each, exact, units))
        self.refusing: dict[DeploymentName, set[DeploymentName]] = {}
        there = [host for host in self.hosts if host.candidate.state != "lost"]
        count = max(1, len(there))
        self._means = (
            max(1, sum(host.capacity[0] for host in there) // count),
            max(1, (sum(host.capacity[1] for host in there) // count) >> 20),
        )

    def place_all(
        self, demands: Sequence[Demand], counts: Mapping[Key, int], weights: Weights
    ) -> None:
        """Place that many replicas of each demand, as far as they fit, in the order given."""
        for demand in demands:
            for name in demand.placement.apart:
                self.refusing.setdefault(name, set()).add(demand.deployment)
        for demand in demands:
            self.place(demand, counts[demand.key], weights)

    def place(self, demand: Demand, count: int, weights: Weights) -> int:
        """Place up to `count` replicas of one demand and return how many fit."""
        # What does not change while replicas of one demand are placed.
        standing = [self._standing_score(demand, host, weights) for host in self.hosts]
        ties = [tie(demand.deployment, host.candidate.id) for host in self.hosts]
        ranks = self._domain_ranks(demand, standing, ties, weights)
        for done in range(count):
            best: tuple[tuple[int, ...], Host] | None = None
            domains = self._domains(demand)
            for host, score, order in zip(self.hosts, standing, ties, strict=True):
                if not self._can_take(demand, host, domains):
                    continue
                key = (
                    *self._domain_order(demand, host, domains, ranks),
                    score + self._changing_score(demand, host, weights),
                    order,
                )
                if best is None or key > best[0]:
                    best = (key, host)
            if best is None:
                return done
            self._take(demand, best[1])
        return count

    def counts(self) -> dict[HostId, dict[Key, int]]:
        """Return what every host has."""
        return {host.candidate.id: host.counts for host in self.hosts}

    # --- rules ----------------------------------------------------------------------------

    def _standing(self, demand: Demand, candidate: Candidate, *, is_passing: bool) -> bool:
        """Tell whether the host's own facts let it take the demand, but for passing troubles."""
        asked = demand.placement
        if not is_passing:
            if candidate.state == "silent" or candidate.is_frozen:
                return False
            if candidate.id in demand.avoid or candidate.id in demand.keep_max:
                return False
        if candidate.state == "lost" or candidate.is_cordoned or candidate.is_draining:
            return False
        if any(need not in candidate.features for need in demand.needs):
            return False
        for taint in candidate.taints:
            if not any(
                each.key == taint.key and each.refusal({taint.key: taint.value}) is None
                for each in asked.tolerate
            ):
                return False
        if any(each.refusal(candidate.labels) is not None for each in asked.require_labels):
            return False
        return all(
            any(wanted_matches(name, offer) for offer in candidate.interfaces)
            for name in demand.interfaces
        )

    def _can_take(
        self, demand: Demand, host: Host, domains: tuple[dict[str, int], int] | None
    ) -> bool:
        asked, candidate = demand.placement, host.candidate
        if not self._standing(demand, candidate, is_passing=False):
            return False
        if any(name not in host.names for name in asked.together):
            return False
        if any(name in host.names for name in asked.apart):
            return False
        refusing = self.refusing.get(demand.deployment, ())
        if any(name in host.names for name in refusing if name != demand.deployment):
            return False
        if 0 < asked.per_host_max <= host.counts.get(demand.key, 0):
            return False
        request = (asked.cpu_milli, asked.memory_bytes, max(asked.slots, 1))
        if any(
            ask and used + ask > has
            for ask, used, has in zip(request, host.used, host.capacity, strict=True)
        ):
            return False
        for spread in asked.spread:
            if spread.is_hard and domains is not None:
                value = candidate.labels.get(spread.key)
                if value is None or domains[0].get(value, 0) + 1 - domains[1] > spread.max_skew:
                    return False
        return True

    def _domains(self, demand: Demand) -> tuple[dict[str, int], int] | None:
        """Return the replicas of each domain, and of the emptiest one that counts."""
        if not demand.placement.spread:
            return None
        spread = demand.placement.spread[0]
        counts: dict[str, int] = {}
        eligible: set[str] = set()
        for host in self.hosts:
            value = host.candidate.labels.get(spread.key)
            if value is not None:
                counts[value] = counts.get(value, 0) + host.counts.get(demand.key, 0)
                if value not in eligible and self._standing(
                    demand, host.candidate, is_passing=True
                ):
                    eligible.add(value)
        is_short = len(eligible) < max(1, spread.domains_min)
        return counts, 0 if is_short else min(counts[value] for value in eligible)

    # --- scores ---------------------------------------------------------------------------

    def _standing_score(self, demand: Demand, host: Host, weights: Weights) -> int:
        wishes = sum(
            wish.weight * ONE // 100
            for wish in demand.placement.prefer
            if self._fulfils(wish, host)
        )
        return wishes + self._alignment(demand, host, weights)

    def _fulfils(self, wish: Preference, host: Host) -> bool:
        labels = host.candidate.labels
        if wish.near is None and wish.apart is None:
            return all(selector.refusal(labels) is None for selector in wish.labels)
        name = wish.near if wish.near is not None else wish.apart
        if wish.topology == HOST_TOPOLOGY:
            is_near = name in host.names
        else:
            value = labels.get(wish.topology)
            is_near = value is not None and any(
                name in other.names and other.candidate.labels.get(wish.topology) == value
                for other in self.hosts
            )
        return is_near if wish.near is not None else not is_near

    def _alignment(self, demand: Demand, host: Host, weights: Weights) -> int:
        free = [
            min(max(((has - used) >> bits << 20) // mean, 0), 1 << 25)
            for has, used, bits, mean in zip(
                host.capacity, host.used, (0, 20), self._means, strict=False
            )
        ]
        length = max(1, math.isqrt(free[0] ** 2 + free[1] ** 2))
        asked = [
            (units << 20) // mean for units, mean in zip(_units(demand), self._means, strict=False)
        ]
        size = math.isqrt(asked[0] ** 2 + asked[1] ** 2)
        if not size:
            return 0
        along = sum(
            ((has << 15) // length) * ((ask << 15) // size)
            for has, ask in zip(free, asked, strict=True)
        )
        return along * weights.alignment >> 30

    def _changing_score(self, demand: Demand, host: Host, weights: Weights) -> int:
        after = max(
            load + share for load, share in zip(host.load, _shares(demand, host), strict=True)
        )
        return -after - weights.own_price * host.counts.get(demand.key, 0)

    def _domain_ranks(
        self, demand: Demand, standing: Sequence[int], ties: Sequence[int], weights: Weights
    ) -> dict[str, tuple[int, int]]:
        """Return the score of the best host of each domain, for domains that are equally full."""
        if not demand.placement.spread:
            return {}
        ranks: dict[str, tuple[int, int]] = {}
        for host, score, order in zip(self.hosts, standing, ties, strict=True):
            value = host.candidate.labels.get(demand.placement.spread[0].key)
            if value is not None and self._can_take(demand, host, None):
                first = (score + self._changing_score(demand, host, weights), order)
                ranks[value] = max(ranks.get(value, first), first)
        return ranks

    def _domain_order(
        self,
        demand: Demand,
        host: Host,
        domains: tuple[dict[str, int], int] | None,
        ranks: Mapping[str, tuple[int, int]],
    ) -> tuple[int, ...]:
        if domains is None:
            return ()
        spread: Spread = demand.placement.spread[0]
        value = host.candidate.labels.get(spread.key)
        if value is None:
            return (-(1 << 62), 0, 0)
        return (-domains[0].get(value, 0), *ranks[value])

    def _take(self, demand: Demand, host: Host) -> None:
        asked = demand.placement
        shares = _shares(demand, host)
        for kind, amount in enumerate((asked.cpu_milli, asked.memory_bytes, max(asked.slots, 1))):
            host.used[kind] += amount
            host.load[kind] += shares[kind]
        host.counts[demand.key] = host.counts.get(demand.key, 0) + 1
        host.names.add(demand.deployment)


def tie(deployment: str, host: str) -> int:
    """Return the number that orders hosts of equal score."""
    number = (hashed(host) ^ hashed(deployment)) + 0x9E3779B97F4A7C15 & BITS_64
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & BITS_64
    number = (number ^ number >> 27) * 0x94D049BB133111EB & BITS_64
    return number ^ number >> 31


def _units(demand: Demand) -> tuple[int, int, int]:
    asked = demand.placement
    return (asked.cpu_milli, -(-asked.memory_bytes >> 20), max(asked.slots, 1))


def _shares(demand: Demand, host: Host) -> list[int]:
    return [
        units * (-(-(1 << 40) // has) if has else 0) >> 20
        for units, has in zip(_units(demand), host.units, strict=True)
    ]
