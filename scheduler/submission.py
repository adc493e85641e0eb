"""The `api` verbs: put, get, list and delete deployments. Any scheduler answers; no leader needed.

A deployment is checked here once, with all its faults: the manifest, every image and file, how the
imports are satisfied, and the types across links. What is stored is right; placement comes later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from lattice.bus.base import Objects
from lattice.errors import (
    ConflictError,
    InvalidError,
    LatticeError,
    NotFoundError,
)
from lattice.model.deployment import Deployment
from lattice.model.ids import DeploymentName
from lattice.model.manifest import http_addresses, parse_deployment, to_document
from lattice.routing.http import HttpRoute, require_free, routes_of
from lattice.wire import codec
from lattice.wire.messages import DeploymentRecord
from lattice.wire.requests import DeleteDeployment, Listing, OneDeployment, PutDeployment
from scheduler.announcements import Emit, deployment_applied, deployment_deleted
from scheduler.answers import Question, Verb
from scheduler.checking import Checked, Checker
from scheduler.collecting import HISTORY_MAX
from scheduler.paging import page
from scheduler.store import ControlStore, Standing

GENERATION_TRIES_MAX = 5
"""Numbers that are tried when others submit the same deployment at the same time."""

log = logging.getLogger(__name__)


def api_verbs(
    store: ControlStore, artifacts: Objects, announce: Callable[[Emit], None]
) -> Mapping[str, Verb]:
    """Return the verbs; `announce` is told of each change that was stored."""
    desk = _Desk(store, artifacts, announce)
    return {"put": desk.put, "get": desk.get, "list": desk.show, "delete": desk.delete}


class _Desk:
    def __init__(
        self, store: ControlStore, artifacts: Objects, announce: Callable[[Emit], None]
    ) -> None:
        self._store = store
        self._checker = Checker(store, artifacts)
        self._announce = announce

    # --- verbs ----------------------------------------------------------------------------

    async def put(self, question: Question) -> Mapping[str, object]:
        """Store a deployment as a new generation, unless nothing changed.

        A change of nothing but `replicas` and routes keeps the generation: what runs goes on
        running.
        """
        asked = codec.convert(question, PutDeployment)
        deployment = parse_deployment(asked.manifest)
        by, expect = asked.submitted_by, asked.expect
        standing = await self._store.deployment(deployment.name)
        revision = standing.revision if standing else 0
        if expect is not None and expect != revision:
            raise ConflictError(
                f"deployment {deployment.name} stands at revision {revision}, expected {expect}; "
                "read it again and decide",
                name=deployment.name, found=revision, expected=expect,
            )  # fmt: skip
        before = _deployment_of(standing)
        if standing and standing.record and before == deployment:
            return _answer(standing.record, revision, warnings=[], is_changed=False)
        checked = await self._checker.check(deployment)
        await self._require_free_routes(deployment)
        if standing and standing.record and before and _runs_the_same(before, deployment):
            record = _record(checked, standing.record.generation, by)
            record = replace(record, since=standing.record.since)
        else:
            record = await self._new_generation(checked, standing, by)
        revision = await self._store.put_deployment(record, expect=revision)
        self._announce(
            deployment_applied(record.name, record.generation, deployment.replicas, revision)
        )
        return _answer(record, revision, warnings=checked.warnings, is_changed=True)

    async def get(self, question: Question) -> Mapping[str, object]:
        """Return a deployment's record."""
        name = DeploymentName(codec.convert(question, OneDeployment).name)
        standing = await self._store.deployment(name)
        if standing is None:
            raise NotFoundError(f"there is no deployment {name}", name=name)
        if standing.record is None:
            raise ConflictError(
                f"the record of deployment {name} cannot be read: submit it again, or delete it",
                name=name,
            )
        return {"record": standing.record, "revision": standing.revision}

    async def show(self, question: Question) -> Mapping[str, object]:
        """Return a page of the deployments in short, by name."""
        asked = codec.convert(question, Listing)
        found = page(
            ((each.name, _summary(each)) for each in await self._store.deployments()),
            after=asked.after,
            limit=asked.limit,
        )
        return found.body(deployments=[summary for _, summary in found.entries])

    async def delete(self, question: Question) -> Mapping[str, object]:
        """Remove a deployment; its replicas are withdrawn."""
        asked = codec.convert(question, DeleteDeployment)
        name = DeploymentName(asked.name)
        revision = await self._store.delete_deployment(name, expect=asked.expect)
        self._announce(deployment_deleted(name, revision))
        return {"name": name, "revision": revision}

    async def _require_free_routes(self, deployment: Deployment) -> None:
        """Return when no other deployment answers the same requests.

        Two that are submitted at the same moment may both pass: hosts then follow the older one.

        Raises:
            ConflictError: one does; both are named.
        """
        if not deployment.http:
            return
        others: list[HttpRoute] = []
        for standing in await self._store.deployments():
            if standing.record is not None:
                try:
                    addresses = http_addresses(standing.record.manifest)
                except InvalidError as exc:
                    log.warning("routes of %s cannot be read: %s", standing.name, exc)
                    continue
                others += routes_of(standing.name, addresses)
        require_free(routes_of(deployment.name, deployment.http), others)

    # --- generations ----------------------------------------------------------------------

    async def _new_generation(
        self, checked: Checked, standing: Standing | None, by: str
    ) -> DeploymentRecord:
        """Keep the next generation in history and return its record.

        Numbers are never used twice, not even for a deployment that was deleted meanwhile: hosts
        know a workload by name and generation.
        """
        name = checked.deployment.name
        kept = await self._store.generations(name)
        current = standing.record.generation if standing and standing.record else 0
        generation = max(current, *kept, 0)
        for _ in range(GENERATION_TRIES_MAX):
            generation += 1
            record = _record(checked, generation, by)
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

    async def _prune(self, name: DeploymentName, kept: tuple[int, ...], current: int) -> None:
        for generation in kept[: max(0, len(kept) + 1 - HISTORY_MAX)]:
            if generation != current:
                try:
                    await self._store.drop_generation(name, generation)
                except LatticeError as exc:
                    log.info("old generation %d of %s not removed: %s", generation, name, exc)


def _deployment_of(standing: Standing | None) -> Deployment | None:
    """Return what stands, None when there is nothing that this release can read."""
    if standing is None or standing.record is None:
        return None
    try:
        return parse_deployment(standing.record.manifest)
    except InvalidError:
        return None


def _runs_the_same(before: Deployment, after: Deployment) -> bool:
    """Tell whether what runs is the same: how often, and for which requests, is no matter of it."""
    answers = [{each.component for each in one.http} - {""} for one in (before, after)]
    same = replace(before, replicas=after.replicas, http=after.http) == after
    return same and answers[0] == answers[1]


def _record(checked: Checked, generation: int, by: str) -> DeploymentRecord:
    resolution = checked.resolution
    return DeploymentRecord(
        name=checked.deployment.name,
        generation=generation,
        manifest=to_document(checked.deployment),
        interfaces=sorted(resolution.interfaces),
        exposed={name: dict(functions) for name, functions in resolution.exposed.items()},
        submitted_by=by,
    )


def _answer(
    record: DeploymentRecord, revision: int, *, warnings: list[str], is_changed: bool
) -> Mapping[str, object]:
    return {
        "name": record.name,
        "generation": record.generation,
        "revision": revision,
        "changed": is_changed,
        "warnings": warnings,
    }


def _summary(standing: Standing) -> dict[str, object]:
    deployment = _deployment_of(standing)
    return {
        "name": standing.name,
        "generation": standing.record.generation if standing.record else 0,
        "replicas": deployment.replicas if deployment else 0,
        "revision": standing.revision,
        "labels": dict(deployment.labels) if deployment else {},
        "http": [str(address) for address in deployment.http] if deployment else [],
    }
