"""The replicas of this host that take calls now, and which of them takes the next one."""

from __future__ import annotations

from collections.abc import Callable

from hosts.replica import Replica
from lattice.errors import NoRouteError


class ReadyReplicas:
    """Ready replicas by deployment."""

    def __init__(self, why_not: Callable[[str], str] = lambda _: "") -> None:
        """Begin without any. `why_not` tells of a deployment why none of it is ready, if known."""
        self._replicas: dict[str, list[Replica]] = {}
        self._why_not = why_not

    def add(self, replica: Replica) -> None:
        """Let a replica take calls."""
        self._replicas.setdefault(replica.deployment, []).append(replica)

    def remove(self, replica: Replica) -> None:
        """Let it take no more; nothing happens when it took none."""
        replicas = self._replicas.get(replica.deployment, [])
        if replica in replicas:
            replicas.remove(replica)
        if not replicas:
            self._replicas.pop(replica.deployment, None)

    def none(self, deployment: str) -> NoRouteError:
        """Return what a caller is told who asked this host when no replica is ready."""
        why = self._why_not(deployment)
        because = f": {why}" if why else ""
        return NoRouteError(f"no replica of {deployment} is ready on this host now{because}")

    def is_last(self, replica: Replica) -> bool:
        """Tell whether no other replica of its deployment takes calls here."""
        return self._replicas.get(replica.deployment) == [replica]

    def pick(self, deployment: str, generation: int = 0) -> Replica | None:
        """Return the least busy replica of the newest ready generation (or of the given one).

        Equally busy ones take turns.
        """
        replicas = self._replicas.get(deployment, [])
        if len(replicas) == 1 and generation in (0, replicas[0].generation):
            return replicas[0]  # the usual case, and one of every call
        wanted = generation or max((r.generation for r in replicas), default=0)
        candidates = [r for r in replicas if r.generation == wanted]
        if not candidates:
            return None
        chosen = min(candidates, key=lambda replica: replica.in_flight)
        # The chosen one goes to the end, so that equals take turns.
        replicas.remove(chosen)
        replicas.append(chosen)
        return chosen
