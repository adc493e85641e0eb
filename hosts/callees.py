"""The replicas of this host that take calls now, and which of them takes the next one."""

from __future__ import annotations

from hosts.replica import Replica


class ReadyReplicas:
    """Ready replicas by deployment."""

    def __init__(self) -> None:
        self._replicas: dict[str, list[Replica]] = {}

    def add(self, replica: Replica) -> None:
        """Let a replica take calls."""
        self._replicas.setdefault(replica.deployment, []).append(replica)

    def remove(self, replica: Replica) -> bool:
        """Let it take no more, and return whether it was the last of its deployment here."""
        replicas = self._replicas.get(replica.deployment, [])
        if replica in replicas:
            replicas.remove(replica)
        if replicas:
            return False
        self._replicas.pop(replica.deployment, None)
        return True

    def pick(self, deployment: str, generation: int = 0) -> Replica | None:
        """Return the least busy replica of the newest ready generation (or of the given one).

        Equally busy ones take turns.
        """
        replicas = self._replicas.get(deployment, [])
        wanted = generation or max((r.generation for r in replicas), default=0)
        candidates = [r for r in replicas if r.generation == wanted]
        if not candidates:
            return None
        chosen = min(candidates, key=lambda replica: replica.in_flight)
        # The chosen one goes to the end, so that equals take turns.
        replicas.remove(chosen)
        replicas.append(chosen)
        return chosen
