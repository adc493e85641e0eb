"""Which generation of a deployment takes the next call, where calls are divided by weight.

The choice is deterministic and of low discrepancy: after any number of calls each generation has
had its part to within one call, so that a canary of a tenth gets 100 of 1,000 calls and not what
luck gives. Each host divides the calls that it routes by itself; nothing is agreed between hosts.
"""

from __future__ import annotations

from collections.abc import Mapping

from lattice.wire.messages import DeploymentRoute, RouteGeneration

GENERATIONS_MAX = 16
"""Generations among which the calls of one deployment are divided; a rollout has two."""

ROUTES_MAX = 10_000
"""Deployments whose calls are divided at the same time; those of further ones are not."""


class Shares:
    """How the calls of one deployment are divided. `choose` counts; nothing else changes it."""

    def __init__(self, generations: Mapping[int, RouteGeneration]) -> None:
        """Begin with nobody having had a call; `generations` are those with a weight."""
        self._generations = dict(generations)
        self._total = sum(each.weight for each in generations.values())
        self._credit = dict.fromkeys(generations, 0)
        self._turns = dict.fromkeys(generations, 0)

    @property
    def generations(self) -> frozenset[int]:
        """Return the generations that take calls."""
        return frozenset(self._generations)

    def choose(self) -> int:
        """Return the generation that takes the next call.

        Each call adds its weight to the credit of every generation; the one with most credit takes
        the call and pays the sum of all weights.
        """
        credit = self._credit
        for generation, each in self._generations.items():
            credit[generation] += each.weight
        chosen = max(credit, key=lambda generation: (credit[generation], generation))
        credit[chosen] -= self._total
        return chosen

    def hosts_of(self, generation: int, *, besides: str = "") -> tuple[str, ...]:
        """Return the hosts that answer for a generation, in the order to ask them: they take
        turns in being the first. `besides` is left out.
        """
        each = self._generations.get(generation)
        hosts = [host for host in each.hosts if host != besides] if each is not None else []
        if not hosts:
            return ()
        turn = self._turns[generation] % len(hosts)
        self._turns[generation] += 1
        return (*hosts[turn:], *hosts[:turn])

    def succeed(self, before: Shares) -> Shares:
        """Return these shares with the credit of those before, where they speak of the same."""
        if before.generations == self.generations and before._total == self._total:
            self._credit = dict(before._credit)
            self._turns = dict(before._turns)
        return self


class Routes:
    """The deployments whose calls are divided, by name."""

    def __init__(self) -> None:
        self.shares: dict[str, Shares] = {}
        """How, for each of them; empty while there are none, which every call looks at."""

    def take(self, name: str, route: DeploymentRoute | None) -> None:
        """Learn how the calls of a deployment are divided; None or no weights: they are not."""
        weighty = [each for each in route.generations if each.weight > 0] if route else []
        before = self.shares.pop(name, None)
        if not weighty or len(weighty) > GENERATIONS_MAX or len(self.shares) >= ROUTES_MAX:
            return
        shares = Shares({each.generation: each for each in weighty})
        self.shares[name] = shares.succeed(before) if before is not None else shares

    def names(self) -> frozenset[str]:
        """Return the deployments whose calls are divided."""
        return frozenset(self.shares)

    def choose(self, name: str) -> int:
        """Return the generation that takes the next call of a deployment, 0: any."""
        shares = self.shares.get(name)
        return shares.choose() if shares is not None else 0

    def hosts_of(self, name: str, generation: int, *, besides: str = "") -> tuple[str, ...]:
        """Return the hosts that answer for a generation; see `Shares.hosts_of`."""
        shares = self.shares.get(name)
        return shares.hosts_of(generation, besides=besides) if shares is not None else ()
