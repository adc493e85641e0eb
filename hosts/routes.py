"""How calls are divided among generations, as the leader writes it: kept current by one watch.

What stands under `route.<deployment>` is there only while calls are divided (a canary), or for a
deployment that may be at zero, so the family is small and one watch of it costs next to nothing.
"""

from __future__ import annotations

import logging

import anyio

from lattice.bus.base import Entry, Store
from lattice.errors import DecodeError, LatticeError
from lattice.routing.weights import Routes
from lattice.wire.codec import decode_as
from lattice.wire.messages import DeploymentRoute
from lattice.wire.subjects import ROUTE

WATCH_RETRY_S = 1.0
"""Wait before a lost watch is tried again."""

log = logging.getLogger(__name__)


class RouteBook:
    """The routes of a lattice; `watch` keeps them current."""

    def __init__(self, control: Store) -> None:
        self.routes = Routes()
        """What decides."""
        self._control = control

    async def watch(self) -> None:
        """Keep the routes current until cancelled; those known last hold while it is cut off."""
        is_told = True
        while True:
            try:
                async with self._control.watch(ROUTE) as entries:
                    unseen = set(self.routes.names())
                    async for entry in entries:
                        if isinstance(entry, Entry):
                            unseen.discard(self._take(entry))
                            continue
                        is_told = True
                        while unseen:
                            self.routes.take(unseen.pop(), None)
            except LatticeError as exc:
                if is_told:
                    log.warning("routes of calls are not told, trying again: %s", exc)
                is_told = False  # once is enough
            await anyio.sleep(WATCH_RETRY_S)

    def _take(self, entry: Entry) -> str:
        """Change one route, and return its name; one that cannot be read stays as it was."""
        name = entry.key.removeprefix(f"{ROUTE}.")
        try:
            route = decode_as(DeploymentRoute, entry.value) if entry.value is not None else None
        except DecodeError as exc:
            log.warning("route of %s cannot be read, it stays as it is: %s", name, exc)
        else:
            self.routes.take(name, route)
        return name
