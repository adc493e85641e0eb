"""Watches desired state and inventories, and keeps the newest of each for the next term.

One bad record is logged, told and skipped. Watches are made again when they end; what was removed
meanwhile is noticed then. Nothing is decided here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import anyio
from anyio.abc import TaskStatus

from lattice.bus.base import Connection, Entry, Store
from lattice.errors import DecodeError, LatticeError
from lattice.model.host import Inventory
from lattice.model.ids import DeploymentName, HostId, name_fault
from lattice.wire.codec import decode_as
from lattice.wire.messages import DeploymentRecord, Restore
from lattice.wire.subjects import DESIRED, RESTORE
from scheduler.memory import RestoreSeen
from scheduler.reconciler import DesiredRead, InventoryRead
from scheduler.store import wanted_of

WATCH_RETRY_S = 1.0
"""Wait before a watch that ended is made again."""

log = logging.getLogger(__name__)

Observed = DesiredRead | InventoryRead | RestoreSeen


class Observer:
    """The newest desired records and inventories, told to `tell` as they change."""

    def __init__(
        self,
        connection: Connection,
        tell: Callable[[Observed], None],
        tell_malformed: Callable[[str, str], None],
    ) -> None:
        self._connection = connection
        self._tell = tell
        self._tell_malformed = tell_malformed
        self._desired: dict[str, DesiredRead] = {}
        self._inventories: dict[str, InventoryRead] = {}
        self._restore: RestoreSeen | None = None

    def known(self) -> Iterator[Observed]:
        """Yield what a new term begins with."""
        if self._restore is not None:
            yield self._restore
        yield from list(self._desired.values())
        yield from list(self._inventories.values())

    async def deployments(self, *, task_status: TaskStatus[None]) -> None:
        """Follow desired state until cancelled; "started" once it is known in full."""
        await self._follow(
            self._connection.control, DESIRED, self._desired_seen, self._desired, task_status
        )

    async def hosts(self, *, task_status: TaskStatus[None]) -> None:
        """Follow the inventories until cancelled; "started" once they are known in full."""
        await self._follow(
            self._connection.hosts, "", self._inventory_seen, self._inventories, task_status
        )

    async def _follow(
        self,
        store: Store,
        prefix: str,
        see: Callable[[Entry], None],
        known: dict[str, DesiredRead] | dict[str, InventoryRead],
        task_status: TaskStatus[None],
    ) -> None:
        is_started = False
        while True:
            standing: set[str] = set()
            is_caught_up = False
            try:
                async with store.watch(prefix) as entries:
                    async for entry in entries:
                        if isinstance(entry, Entry):
                            standing.add(entry.key)
                            self._see(see, entry)
                        elif not is_caught_up:
                            is_caught_up = True
                            for key in sorted(known.keys() - standing):
                                see(Entry(key=key, value=None, revision=0))
                            if not is_started:
                                task_status.started()
                                is_started = True
            except LatticeError as exc:
                log.warning("watch of %s ended, trying again: %s", prefix or "inventories", exc)
            await anyio.sleep(WATCH_RETRY_S)

    def _see(self, see: Callable[[Entry], None], entry: Entry) -> None:
        """Take one entry in. A record that no reader expected must not end every scheduler in turn,
        so what reading foreign values can raise is told as a fault of the record.
        """
        try:
            see(entry)
        except (LatticeError, ValueError, TypeError, LookupError, RecursionError) as exc:
            self._complain(entry, f"{type(exc).__name__}: {exc}")

    def _desired_seen(self, entry: Entry) -> None:
        if entry.key == RESTORE:
            self._restore_seen(entry)
            return
        name = DeploymentName(entry.key.partition(".")[2])
        if fault := name_fault(name):
            self._complain(entry, fault)
            return
        if (known := self._desired.get(entry.key)) and known.revision == entry.revision:
            return  # A watch that was made again repeats what stands.
        if entry.value is None:
            self._desired.pop(entry.key, None)
            self._tell(DesiredRead(name=name, wanted=None, revision=entry.revision))
            return
        try:
            record = decode_as(DeploymentRecord, entry.value)
            if record.name != name:
                raise DecodeError(f"it is the record of {record.name}")
            seen = DesiredRead(name=name, wanted=wanted_of(record), revision=entry.revision)
        except LatticeError as exc:
            self._complain(entry, exc.message)
            seen = DesiredRead(name=name, wanted=None, revision=entry.revision, is_malformed=True)
        self._desired[entry.key] = seen
        self._tell(seen)

    def _restore_seen(self, entry: Entry) -> None:
        if entry.value is None:
            self._restore = None
            return
        self._restore = RestoreSeen(is_running=decode_as(Restore, entry.value).is_running)
        self._tell(self._restore)

    def _inventory_seen(self, entry: Entry) -> None:
        host = HostId(entry.key)
        if entry.value is None:
            self._inventories.pop(entry.key, None)
            self._tell(InventoryRead(host=host, inventory=None))
            return
        try:
            inventory = decode_as(Inventory, entry.value)
        except LatticeError as exc:
            self._complain(entry, exc.message)
            return
        if inventory.host != host:
            self._complain(entry, f"it is the inventory of {inventory.host}")
            return
        seen = InventoryRead(host=host, inventory=inventory)
        self._inventories[entry.key] = seen
        self._tell(seen)

    def _complain(self, entry: Entry, reason: str) -> None:
        log.warning("%s at revision %d is left alone: %s", entry.key, entry.revision, reason)
        self._tell_malformed(entry.key, reason)
