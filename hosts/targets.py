"""Reads this host's target document: as it changes, and again when asked to.

What is no target is told as such and never adopted. Nothing here decides what to run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from hosts.lifecycle import TargetSeen, TargetUnreadable
from lattice.bus.base import Entry, Objects, Store
from lattice.errors import DecodeError, LatticeError
from lattice.model.host import Revision
from lattice.model.ids import Digest, HostId
from lattice.wire.codec import decode_as
from lattice.wire.messages import Target
from lattice.wire.subjects import target as target_key

WATCH_RETRY_S = 1.0
"""Wait before a lost watch is tried again."""

log = logging.getLogger(__name__)


class Targets:
    """The target documents of one host. `feed` takes each one to the lifecycle core."""

    def __init__(
        self,
        control: Store,
        artifacts: Objects,
        host: HostId,
        feed: Callable[[TargetSeen | TargetUnreadable], None],
    ) -> None:
        self._control = control
        self._artifacts = artifacts
        self._key = target_key(host)
        self._feed = feed

    async def watch(self) -> None:
        """Feed the document that stands and every later one, until cancelled."""
        while True:
            try:
                async with self._control.watch(self._key) as entries:
                    async for entry in entries:
                        if isinstance(entry, Entry):
                            await self._see(entry)
            except LatticeError as exc:
                log.warning("watch of %s lost, trying again: %s", self._key, exc)
            await anyio.sleep(WATCH_RETRY_S)

    async def read(self) -> None:
        """Feed the document that stands. When it cannot be read, the next heartbeat asks again."""
        try:
            entry = await self._control.get(self._key)
        except LatticeError as exc:
            log.info("target not read, the next heartbeat asks again: %s", exc)
            return
        if entry is not None:
            await self._see(entry)

    async def _see(self, entry: Entry) -> None:
        if entry.value is None:
            return  # Only the leader's documents count; a removed one says nothing.
        try:
            target = decode_as(Target, entry.value)
            if target.body:
                target = decode_as(Target, await self._artifacts.get(Digest(target.body)))
        except DecodeError as exc:
            reason = f"target at revision {entry.revision} is malformed, kept the old one: {exc}"
            self._feed(TargetUnreadable(sequence=entry.revision, reason=reason))
            return
        except LatticeError as exc:  # of a large target; it may have been replaced meanwhile
            log.info("large target not read, the next heartbeat asks again: %s", exc)
            return
        self._feed(TargetSeen(revision=Revision(target.incarnation, entry.revision), target=target))
