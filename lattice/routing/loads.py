"""Which host takes the next call that leaves: the less busy one of two that are drawn.

NATS gives a call of a queue group to any member, however much that has to do. Every reply tells how
busy its host is, and who calls knows what it has sent there itself; of two hosts drawn by chance
the less busy one is asked by name. Two draws spread calls nearly as well as looking at all hosts
would, and callers that know the same do not all rush to the same one.

A host that refused a call because it is full is left out until the time that it told. Times are in
whole milliseconds. No I/O, no clock; chance is given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

DEPLOYMENTS_MAX = 1024
"""Deployments of which loads are known; calls of further ones go to the group."""

HOSTS_MAX = 64
"""Hosts of one deployment whose loads are known; the group knows the others."""

EXPLORE_MS = 1_000
"""Once in this time a call goes to the group in any case: so hosts are found that are new."""

EXPLORE_CALLS = 4
"""Calls for each known host that go to the group until one of them finds another host: with that
many, the chance that a host stays unknown is small, and what is unknown gets no calls."""

FRESH_MS = 1_000
"""How long a told load counts. Who gave no call to a busy host would never hear that it is idle."""

KNOWN_MS = 30_000
"""How long a host is known that was not heard of, unless calls are on their way to it."""

CLOSED_MS_MAX = 5_000
"""How long a host that refused a call is left out at most, whatever it told."""

Draw = Callable[[int], int]
"""Returns a number from 0 up to one below the one given, by chance."""


@dataclass(slots=True)
class _Known:
    """What is known of a host that answered for a deployment."""

    load: int = 0
    heard_ms: int = 0
    own: int = 0  # calls that were sent to it by name and have not ended
    closed_ms: int = 0  # until when it takes no calls


@dataclass(slots=True)
class _Group:
    explored_ms: int = 0
    explored: int = 0  # calls to the group since one of them found a host
    hosts: dict[str, _Known] = field(default_factory=dict[str, _Known])


class Loads:
    """How busy the hosts of deployments are, as far as one caller knows."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._groups: dict[str, _Group] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def heard(self, deployment: str, host: str, load: int, now_ms: int) -> None:
        """Note what a reply told: calls at work or waiting there for each replica."""
        group = self._groups.get(deployment)
        if group is None:
            if len(self._groups) >= DEPLOYMENTS_MAX:
                del self._groups[next(iter(self._groups))]
            group = self._groups[deployment] = _Group(explored_ms=now_ms)
        known = group.hosts.get(host)
        if known is None:
            if len(group.hosts) >= HOSTS_MAX:
                return
            known = group.hosts[host] = _Known()
            group.explored = 0
        known.load, known.heard_ms = load, now_ms

    def refused(self, deployment: str, host: str, retry_after_ms: int, now_ms: int) -> None:
        """Note that a host took no call because it is full, and for how long."""
        self.heard(deployment, host, 0, now_ms)
        known = self._known(deployment, host)
        if known is not None:
            known.closed_ms = now_ms + min(max(retry_after_ms, 1), CLOSED_MS_MAX)

    def gone(self, deployment: str, host: str) -> None:
        """Note that a host does not answer for the deployment any more."""
        group = self._groups.get(deployment)
        if group is not None:
            group.hosts.pop(host, None)

    def began(self, deployment: str, host: str) -> None:
        """Note that a call is sent to a host by its name."""
        known = self._known(deployment, host)
        if known is not None:
            known.own += 1

    def ended(self, deployment: str, host: str) -> None:
        """Note that it ended in any way."""
        known = self._known(deployment, host)
        if known is not None and known.own:
            known.own -= 1

    def pick(self, deployment: str, now_ms: int, besides: Collection[str] = ()) -> str:
        """Return the host that takes the next call, "": any of the group.

        `besides` are hosts that this call was refused by.
        """
        group = self._groups.get(deployment)
        if group is None or (len(group.hosts) < 2 and not besides):
            return ""
        is_due = now_ms - group.explored_ms >= EXPLORE_MS
        if not besides and (is_due or group.explored < EXPLORE_CALLS * len(group.hosts)):
            group.explored_ms = now_ms
            group.explored += 1
            self._forget_old(group, now_ms)
            return ""
        open_hosts = [
            host
            for host, known in group.hosts.items()
            if known.closed_ms <= now_ms and host not in besides
        ]
        if len(open_hosts) < 2:
            is_choice = bool(open_hosts) and (len(group.hosts) > 1 or bool(besides))
            return open_hosts[0] if is_choice else ""
        first = self._draw(len(open_hosts))
        second = self._draw(len(open_hosts) - 1)
        second += second >= first  # two different ones
        one, other = open_hosts[first], open_hosts[second]
        is_busier = _cost(group.hosts[one], now_ms) > _cost(group.hosts[other], now_ms)
        return other if is_busier else one

    def _known(self, deployment: str, host: str) -> _Known | None:
        group = self._groups.get(deployment)
        return group.hosts.get(host) if group is not None else None

    def _forget_old(self, group: _Group, now_ms: int) -> None:
        for host, known in tuple(group.hosts.items()):
            if not known.own and known.heard_ms + KNOWN_MS < now_ms:
                del group.hosts[host]


def _cost(known: _Known, now_ms: int) -> int:
    """Return how busy a host is: as it told lately, but what was sent there since counts too."""
    told = known.load if now_ms - known.heard_ms < FRESH_MS else 0
    return max(told, known.own)
