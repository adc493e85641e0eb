"""The generations of a deployment that are kept: new ones, old ones, and the way back to one.

Numbers are never used twice, not even for a deployment that was deleted meanwhile: hosts know a
workload by name and generation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from lattice.errors import ConflictError, InvalidError, LatticeError, NotFoundError
from lattice.model.deployment import Deployment
from lattice.model.ids import DeploymentName
from lattice.model.manifest import parse_deployment
from lattice.wire.messages import DeploymentRecord
from scheduler.collecting import HISTORY_MAX
from scheduler.store import ControlStore, Standing

GENERATION_TRIES_MAX = 5
"""Numbers that are tried when others submit the same deployment at the same time."""

log = logging.getLogger(__name__)


class History:
    """What is kept of the generations of each deployment."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    async def add(self, record: DeploymentRecord, standing: Standing | None) -> DeploymentRecord:
        """Keep a record as the next generation, and return it with its number and age.

        Raises:
            ConflictError: others add generations all the time.
        """
        name = DeploymentName(record.name)
        kept = await self._store.generations(name)
        current = standing.record.generation if standing and standing.record else 0
        generation = max(current, *kept, await self._store.floor())
        for _ in range(GENERATION_TRIES_MAX):
            generation += 1
            record = replace(record, generation=generation)
            try:
                revision = await self._store.put_generation(record)
            except ConflictError:
                continue
            await self._prune(name, kept, current)
            before = standing.record if standing else None
            return replace(record, since=before.since if before else revision)
        raise ConflictError(
            f"deployment {name} is being submitted by others at the same time; try again", name=name
        )

    async def entries(self, standing: Standing) -> list[Mapping[str, object]]:
        """Return the generations that are kept in short, newest first."""
        current = standing.record.generation if standing.record else 0
        given_up = standing.record.given_up if standing.record else []
        good = await self._store.good_generation(standing.name)
        entries: list[Mapping[str, object]] = []
        for number in reversed(await self._store.generations(standing.name)):
            record = await self._store.generation(standing.name, number)
            deployment = readable(record)
            entries.append(
                {
                    "generation": number,
                    "submitted_by": record.submitted_by if record else "",
                    "current": number == current,
                    "good": number == good,
                    "given_up": number in given_up,
                    "images": {part.name: part.image for part in deployment.parts}
                    if deployment
                    else {},
                }
            )
        return entries

    async def earlier(self, standing: Standing, wanted: int | None) -> DeploymentRecord:
        """Return the record of a generation; of the one before the current one unless told.

        Raises:
            NotFoundError: it is not kept, or cannot be read; those that are kept are listed.
        """
        name = standing.name
        kept = await self._store.generations(name)
        if wanted is None:
            current = standing.record.generation if standing.record else max(kept, default=0)
            left = standing.record.given_up if standing.record else []
            before = [each for each in kept if each < current and each not in left]
            if not before:
                raise NotFoundError(
                    f"deployment {name} has no generation before {current} that nobody went back "
                    "from; name the one that you want",
                    name=name,
                )
            wanted = before[-1]
        record = await self._store.generation(name, wanted) if wanted in kept else None
        if record is None:
            listed = ", ".join(str(each) for each in kept) or "none"
            raise NotFoundError(
                f"generation {wanted} of deployment {name} is not kept, there are {listed}",
                name=name, generation=wanted,
            )  # fmt: skip
        return record

    async def _prune(self, name: DeploymentName, kept: tuple[int, ...], current: int) -> None:
        surplus = kept[: max(0, len(kept) + 1 - HISTORY_MAX)]
        if not surplus:
            return
        try:
            # The last good one must stay for an automatic way back, however many bad ones follow.
            needed = {current, await self._store.good_generation(name)}
            for generation in surplus:
                if generation not in needed:
                    await self._store.drop_generation(name, generation)
        except LatticeError as exc:
            log.info("old generations of %s not removed: %s", name, exc)


def given_up_with(current: DeploymentRecord, generation: int) -> list[int]:
    """Return the generations that were gone back from, oldest first, with one more."""
    return [*(each for each in current.given_up if each != generation), generation][-HISTORY_MAX:]


def readable(record: DeploymentRecord | None) -> Deployment | None:
    """Return the deployment of a record, None when this release cannot read it."""
    if record is None:
        return None
    try:
        return parse_deployment(record.manifest)
    except InvalidError:
        return None
