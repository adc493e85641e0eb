"""A host's inventory in the lattice: written, kept standing, changed, and withdrawn for good.

Others take a host for present while its inventory stands. So nothing may write it once it was
withdrawn, whatever was under way at that moment.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import replace

import anyio

from lattice.bus.base import Entry, Store
from lattice.errors import ConflictError, LatticeError
from lattice.model.host import Inventory, Taint
from lattice.model.labels import Labels
from lattice.wire.codec import encode

INVENTORY_CHECK_S = 120.0
"""How often the host looks whether its own inventory still stands; it is written again if not. The
leader asks sooner when it is gone or another process's. A look makes consumers, for each of which
NATS goes through all of the bucket's: a thousand hosts that look every 10 s take half a core."""

INVENTORY_CHECK_SPREAD = 0.5
"""Share by which that varies, so that hosts started together do not look together."""

log = logging.getLogger(__name__)


class Presence:
    """The inventory of one host. `has_lease` tells whether the scheduler counts on this process."""

    def __init__(
        self, hosts: Store, inventory: Inventory, *, has_lease: Callable[[], bool]
    ) -> None:
        self.inventory = inventory
        self._hosts = hosts
        self._has_lease = has_lease
        self._is_withdrawn = False
        self._writing = 0
        self._at_rest = anyio.Event()

    async def write(self) -> None:
        """Write the inventory as it is now.

        Raises:
            ConflictError: it was withdrawn; nothing was written.
            LatticeError: as `lattice.bus.base.Store.put`.
        """
        self.require_standing()
        self._writing += 1
        try:
            await self._hosts.put(self.inventory.host, encode(self.inventory))
        finally:
            self._writing -= 1
            self._at_rest.set()

    async def relabel(self, labels: Labels) -> None:
        """Replace the labels. `Raises:` as `write`; after the first, nothing has changed."""
        self.require_standing()
        self.inventory = replace(self.inventory, labels=labels)
        await self.write()

    async def change(
        self,
        *,
        is_cordoned: bool | None = None,
        is_draining: bool | None = None,
        taints: tuple[Taint, ...] | None = None,
    ) -> None:
        """Replace what is given of the upkeep. `Raises:` as `relabel`.

        The inventory has the change before the first wait, so that changes that are under way at
        the same time build on each other.
        """
        self.require_standing()
        facts = self.inventory
        self.inventory = replace(
            facts,
            is_cordoned=facts.is_cordoned if is_cordoned is None else is_cordoned,
            is_draining=facts.is_draining if is_draining is None else is_draining,
            taints=facts.taints if taints is None else taints,
        )
        await self.write()

    async def keep(self) -> None:
        """Write the inventory again whenever it was lost or overwritten, until cancelled."""
        spread = random.Random(self.inventory.host)  # noqa: S311 - spreads load, guards nothing
        while True:
            share = spread.uniform(1 - INVENTORY_CHECK_SPREAD, 1 + INVENTORY_CHECK_SPREAD)
            await anyio.sleep(INVENTORY_CHECK_S * share)
            try:
                standing = await self._standing()
                # A second process with this key wrote its own before it was refused. Only who
                # holds the lease puts it right, so that the two never take turns.
                is_mine = standing == encode(self.inventory)
                if standing is None or (not is_mine and self._has_lease()):
                    await self.write()
            except LatticeError as exc:
                log.info("inventory not checked: %s", exc)

    async def withdraw(self) -> None:
        """Remove the inventory, after the writes that are under way; there are none from now on.

        Raises:
            LatticeError: as `lattice.bus.base.Store.delete`.
        """
        self._is_withdrawn = True
        while self._writing:
            self._at_rest = anyio.Event()
            await self._at_rest.wait()
        await self._hosts.delete(self.inventory.host)

    async def _standing(self) -> bytes | None:
        # Watching, because a host's permissions let it watch its own key but not get it.
        async with self._hosts.watch(self.inventory.host) as entries:
            async for entry in entries:
                if not isinstance(entry, Entry):
                    return None
                if entry.key == self.inventory.host:
                    return entry.value
        return None

    def require_standing(self) -> None:
        """Return while the inventory may be written.

        Raises:
            ConflictError: it was withdrawn.
        """
        if self._is_withdrawn:
            raise ConflictError(
                f"host {self.inventory.name} is leaving the lattice, its inventory is not changed"
            )
