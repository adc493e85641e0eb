"""Whether one replica takes calls: in the ready ones of its host, and subscribed for what comes.

Opened and closed as its probe says, and closed for good when it ends. What runs in it, and how it
stops, is the runner's business.
"""

from __future__ import annotations

import anyio

from hosts.endpoints import Endpoints
from hosts.replica import Replica
from lattice.errors import LatticeError

CLOSE_S = 5.0
"""Seconds that closing waits for calls that are under way; then the subscription goes anyway."""


class UnhealthyError(LatticeError):
    """The liveness probe of a replica says that it has to be started again."""


class Admission:
    """What lets calls into one replica."""

    def __init__(self, replica: Replica, endpoints: Endpoints) -> None:
        self._replica = replica
        self._endpoints = endpoints
        self._is_open = False

    async def open(self) -> None:
        """Let calls in; nothing happens when they are.

        Raises:
            LatticeError: the bus refused the subscription.
        """
        if not self._is_open:
            await self._endpoints.open(self._replica.deployment, http=self._replica.answers_http)
            self._is_open = True
            self._endpoints.ready.add(self._replica)

    def refuse(self) -> None:
        """Let no call of this host in from now on, whatever still arrives from others."""
        self._endpoints.ready.remove(self._replica)

    async def close(self) -> None:
        """Let none in; return when those that came over the bus are answered, or it took too long.

        The last replica here answers until then: calls may be on their way to it.
        """
        if not self._is_open:
            return
        self._is_open = False
        if not self._endpoints.ready.is_last(self._replica):
            self.refuse()
        with anyio.move_on_after(CLOSE_S):
            await self._endpoints.close(self._replica.deployment, http=self._replica.answers_http)
        self.refuse()
