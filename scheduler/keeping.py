"""Carries out what the leader decides about statuses, routes and desired state, under its fence.

Each `KeepRecord` and each `ReadRecords` ends in exactly one event. A revert or a deletion that
fails is decided again; it changes nothing unless the record still stands at the revision that was
judged. Nothing is decided here.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TypeVar

from lattice.bus.base import CaughtUp, Entry, Fence, Store, Write
from lattice.errors import DecodeError, LatticeError
from lattice.model.manifest import parse_deployment, to_document
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import DeploymentRecord, DeploymentRoute, DeploymentStatus
from lattice.wire.subjects import ROUTE, TERM, desired, history, route, status
from scheduler.history import given_up_with
from scheduler.records import (
    DeleteEnded,
    KeepRecord,
    Outcome,
    ReadRecords,
    RecordKept,
    RecordsRead,
    RecordsUnread,
    Revert,
)
from scheduler.sameness import counted_as

STATUS = "status"
"""The family of all statuses."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Keeper:
    """The leader's hand on the records of deployments."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def carry_out(
        self, command: ReadRecords | KeepRecord | Revert | DeleteEnded
    ) -> Outcome | None:
        """Do what the command says and return its outcome, None where none is awaited."""
        match command:
            case ReadRecords():
                return await self._read()
            case KeepRecord():
                return await self._keep(command)
            case Revert():
                await self._revert(command)
            case DeleteEnded():
                await self._delete(command)
        return None

    async def _read(self) -> RecordsRead | RecordsUnread:
        try:
            return RecordsRead(
                statuses=await self._family(STATUS, DeploymentStatus),
                routes=await self._family(ROUTE, DeploymentRoute),
            )
        except LatticeError as exc:
            log.warning("statuses and routes not read, trying again: %s", exc)
            return RecordsUnread()

    async def _family(self, family: str, cls: type[T]) -> tuple[T, ...]:
        found: list[T] = []
        async with self._store.watch(family) as entries:
            async for entry in entries:
                if isinstance(entry, CaughtUp):
                    break
                if (record := _readable(entry, cls)) is not None:
                    found.append(record)
        return tuple(found)

    async def _keep(self, asked: KeepRecord) -> RecordKept:
        key = status(asked.name) if asked.kind is DeploymentStatus else route(asked.name)
        value = None if asked.value is None else encode(asked.value)
        try:
            # An earlier write whose answer was lost may still take place, but not after this one.
            entry = await self._store.get(key)
            expect = entry.revision if entry is not None else 0
            write = Write(key=key, value=value, expect=expect)
            await self._store.put_many((write,), fence=Fence(TERM, asked.epoch))
        except LatticeError as exc:
            log.warning("%s not written, trying again: %s", key, exc)
            return RecordKept(asked=asked, is_kept=False)
        return RecordKept(asked=asked, is_kept=True)

    async def _revert(self, asked: Revert) -> None:
        """Desire a generation of before, with as many replicas as now."""
        try:
            entry = await self._store.get(desired(asked.name))
            current = _readable(entry, DeploymentRecord)
            kept = await self._store.get(history(asked.name, asked.to))
            earlier = _readable(kept, DeploymentRecord)
            if entry is None or current is None or entry.revision != asked.revision:
                return  # something else is desired meanwhile
            if earlier is None:
                log.warning("%s stays: generation %d is not kept", asked.name, asked.to)
                return
            deployment = counted_as(
                parse_deployment(earlier.manifest), parse_deployment(current.manifest)
            )
            record = replace(
                earlier,
                manifest=to_document(deployment),
                since=current.since,
                is_paused=current.is_paused,
                reverted=asked.given_up,
                given_up=given_up_with(current, asked.given_up),
                reason=asked.reason,
            )
            write = Write(key=desired(asked.name), value=encode(record), expect=asked.revision)
            await self._store.put_many((write,), fence=Fence(TERM, asked.epoch))
            log.info("%s goes back to generation %d: %s", asked.name, asked.to, asked.reason)
        except LatticeError as exc:
            log.warning("%s not reverted, trying again: %s", asked.name, exc)

    async def _delete(self, asked: DeleteEnded) -> None:
        try:
            write = Write(key=desired(asked.name), value=None, expect=asked.revision)
            await self._store.put_many((write,), fence=Fence(TERM, asked.epoch))
            log.info("job %s removed: it ended long enough ago", asked.name)
        except LatticeError as exc:
            log.warning("job %s not removed, trying again: %s", asked.name, exc)


def _readable(entry: Entry | None, cls: type[T]) -> T | None:
    if entry is None or entry.value is None:
        return None
    try:
        return decode_as(cls, entry.value)
    except DecodeError as exc:
        log.warning("%s at revision %d is taken for absent: %s", entry.key, entry.revision, exc)
        return None
