"""Removes what the leader found to be of no use. What fails is found again at the next look.

Every removal is conditional: a deposed leader removes nothing of the control bucket, and an
inventory goes only as it was judged. Decisions are made in `scheduler.collecting`.
"""

from __future__ import annotations

import logging

from lattice.bus.base import Connection, Fence, Write
from lattice.errors import LatticeError
from lattice.model.host import Inventory
from lattice.model.ids import DeploymentName
from lattice.wire.codec import decode_as
from lattice.wire.subjects import TERM, history
from scheduler.collecting import DropGenerations, DropInventory, HistoryRead

HISTORY = "history"
"""The family of all generations."""

log = logging.getLogger(__name__)


class Sweeper:
    """The leader's broom over both buckets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def history(self) -> HistoryRead | None:
        """Return every generation that is kept, None when they cannot be read now."""
        try:
            keys = await self._connection.control.keys(HISTORY)
        except LatticeError as exc:
            log.info("history not read, trying again later: %s", exc)
            return None
        found = [key.split(".") for key in keys]
        return HistoryRead(
            generations=tuple(
                (DeploymentName(tokens[1]), int(tokens[2]))
                for tokens in found
                if len(tokens) == 3 and tokens[2].isdigit()
            )
        )

    async def carry_out(self, command: DropGenerations | DropInventory) -> None:
        """Remove what the command names."""
        try:
            match command:
                case DropGenerations():
                    writes = [Write(key=history(*key), value=None) for key in command.generations]
                    await self._connection.control.put_many(
                        writes, fence=Fence(TERM, command.epoch)
                    )
                    log.info("%d old generations removed", len(writes))
                case DropInventory():
                    await self._drop_inventory(command)
        except LatticeError as exc:
            log.info("not removed, trying again later: %s", exc)

    async def _drop_inventory(self, command: DropInventory) -> None:
        hosts = self._connection.hosts
        entry = await hosts.get(command.host)
        if entry is None or entry.value is None:
            return
        if decode_as(Inventory, entry.value).boot != command.boot:
            return  # another process of the host is there now
        await hosts.delete(command.host, expect=entry.revision)
        log.info("inventory of host %s removed: it was lost for hours", command.host)
