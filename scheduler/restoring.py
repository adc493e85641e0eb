"""`api.restore`: writes the keys of a backup, while the leader plans nothing.

In steps, because a backup is larger than a message: `begin`, any number of `put`, `end`. What was
begun and not ended can be begun again; until then whatever runs goes on and nothing is placed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lattice.bus.base import BATCH_WRITES_MAX, Store, Write
from lattice.errors import ConflictError, InvalidError
from lattice.wire import codec
from lattice.wire.messages import Restore
from lattice.wire.requests import RestoreStep
from lattice.wire.subjects import DESIRED, RESTORE, desired

FAMILIES = (DESIRED, "history", "status", "route", "config")
"""The families of keys that a backup may hold; all others belong to the one bucket."""

GENERATIONS_SKIPPED = 10_000
"""Numbers of generations that are not used after a restore: those between the backup and the loss
may still run, and hosts know a workload by its name and generation."""


class Restoring:
    """Writes a backup into the control bucket of one lattice."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def restore(self, question: Mapping[str, Any]) -> Mapping[str, object]:
        """Carry out one step.

        Raises:
            ConflictError: the lattice is not empty, or it runs other code under a generation of
                the backup.
            InvalidError: the step is none, or a key is none of a backup.
        """
        asked = codec.convert(question, RestoreStep)
        match asked.step:
            case "begin":
                return await self._begin(asked)
            case "put":
                return await self._put(asked)
            case "end":
                return await self._end(asked)
            case _:
                raise InvalidError(f"step {asked.step!r} of a restore, expected begin, put or end")

    async def _begin(self, asked: RestoreStep) -> Mapping[str, object]:
        standing = await self._deployments()
        before = await self._marker()
        is_again = before is not None and before.is_running
        if standing and not asked.is_replacing and not is_again:
            raise ConflictError(
                f"the lattice has {len(standing)} deployments, such as {standing[0]}: restore into "
                "an empty one, or replace them with --replace",
                deployments=len(standing),
            )
        floor = max(asked.floor + GENERATIONS_SKIPPED, before.floor if before else 0)
        await self._store.put(RESTORE, codec.encode(Restore(is_running=True, floor=floor)))
        return {"deployments": len(standing)}

    async def _put(self, asked: RestoreStep) -> Mapping[str, object]:
        await self._require_running()
        if len(asked.entries) > BATCH_WRITES_MAX:
            raise InvalidError(f"{len(asked.entries)} keys in one step, at most {BATCH_WRITES_MAX}")
        writes = []
        for key, value in asked.entries.items():
            family, dot, _ = key.partition(".")
            if family not in FAMILIES or not dot or key == RESTORE:
                raise InvalidError(f"{key} is no key of a backup, expected {', '.join(FAMILIES)}")
            if family == "history" and await self._stands(key, value):
                continue
            writes.append(Write(key=key, value=value))
        if writes:
            await self._store.put_many(writes)
        return {"written": len(writes)}

    async def _stands(self, key: str, value: bytes) -> bool:
        """Tell whether a generation is there already; a number never means two things."""
        entry = await self._store.get(key)
        if entry is None:
            return False
        if entry.value != value:
            raise ConflictError(
                f"{key} stands already and is not what the backup holds: this lattice has other "
                "generations under the same numbers; restore into an empty lattice",
                key=key,
            )
        return True

    async def _end(self, asked: RestoreStep) -> Mapping[str, object]:
        marker = await self._require_running()
        kept = frozenset(asked.deployments)
        removed = [name for name in await self._deployments() if name not in kept]
        for begin in range(0, len(removed), BATCH_WRITES_MAX):
            names = removed[begin : begin + BATCH_WRITES_MAX]
            await self._store.put_many([Write(key=desired(name), value=None) for name in names])
        await self._store.put(RESTORE, codec.encode(Restore(is_running=False, floor=marker.floor)))
        return {"removed": removed}

    async def _deployments(self) -> list[str]:
        keys = await self._store.keys(DESIRED)
        return [key.partition(".")[2] for key in keys if key != RESTORE]

    async def _marker(self) -> Restore | None:
        entry = await self._store.get(RESTORE)
        if entry is None or entry.value is None:
            return None
        return codec.decode_as(Restore, entry.value)

    async def _require_running(self) -> Restore:
        marker = await self._marker()
        if marker is None or not marker.is_running:
            raise ConflictError("no restore is under way: begin it first")
        return marker
