"""The `api` verbs: put, get, list and delete deployments. Any scheduler answers; no leader needed.

A deployment is checked here once, with all its faults: the manifest, every image and file, how the
imports are satisfied, and the types across links. What is stored is right; placement comes later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from lattice.bus.base import Objects
from lattice.clock import SystemClock
from lattice.errors import ConflictError, IncompatibleError, InvalidError
from lattice.model.deployment import Deployment
from lattice.model.ids import DeploymentName
from lattice.model.manifest import http_addresses, parse_deployment, to_document
from lattice.routing.http import HttpRoute, require_free, routes_of
from lattice.wire import codec
from lattice.wire.messages import DeploymentRecord
from lattice.wire.requests import DeleteDeployment, Listing, OneDeployment, PutDeployment
from scheduler.adjusting import Adjusting, answer, require_revision
from scheduler.announcements import Emit, deployment_applied, deployment_deleted
from scheduler.answers import Question, Verb
from scheduler.checking import Checked, Checker
from scheduler.history import History, readable
from scheduler.paging import page
from scheduler.refusing import Refusals
from scheduler.sameness import mode_of, runs_the_same
from scheduler.store import ControlStore, Standing

log = logging.getLogger(__name__)


def api_verbs(
    store: ControlStore, artifacts: Objects, announce: Callable[[Emit], None]
) -> Mapping[str, Verb]:
    """Return the verbs; `announce` is told of each change that was stored."""
    desk = _Desk(store, artifacts, announce)
    adjusting = Adjusting(store, desk.usable, announce)
    return {
        "put": desk.put,
        "get": desk.get,
        "list": desk.show,
        "delete": desk.delete,
        **adjusting.verbs(),
    }


class _Desk:
    def __init__(
        self, store: ControlStore, artifacts: Objects, announce: Callable[[Emit], None]
    ) -> None:
        self._store = store
        self._checker = Checker(store, artifacts)
        self._history = History(store)
        self._announce = announce
        self._refusals = Refusals(announce, SystemClock())

    # --- verbs ----------------------------------------------------------------------------

    async def put(self, question: Question) -> Mapping[str, object]:
        """Store a deployment as a new generation, unless nothing changed.

        A change that leaves what runs as it is keeps the generation, and what is paused stays so.
        """
        asked = codec.convert(question, PutDeployment)
        try:
            return await self._put(asked)
        except (InvalidError, IncompatibleError, ConflictError) as exc:
            self._refusals.refused(asked.manifest, asked.submitted_by, exc)
            raise

    async def _put(self, asked: PutDeployment) -> Mapping[str, object]:
        deployment = parse_deployment(asked.manifest)
        by, expect = asked.submitted_by, asked.expect
        standing = await self._store.deployment(deployment.name)
        revision = standing.revision if standing else 0
        require_revision(deployment.name, revision, expect)
        current = standing.record if standing else None
        before = readable(current)
        if current is not None and before == deployment:
            return answer(current, revision, warnings=[], is_changed=False)
        checked = await self._checker.check(deployment)
        await self._require_free_routes(deployment)
        record = _record(checked, by)
        if current is not None and before is not None and runs_the_same(before, deployment):
            record = replace(
                current,
                manifest=record.manifest,
                interfaces=record.interfaces,
                exposed=record.exposed,
                submitted_by=by,
            )
        else:
            record = await self._history.add(record, standing)
            if current is not None:
                record = replace(record, is_paused=current.is_paused, given_up=current.given_up)
        revision = await self._store.put_deployment(record, expect=revision)
        self._announce(
            deployment_applied(
                record.name,
                record.generation,
                deployment.replicas,
                revision,
                is_paused=record.is_paused,
            )
        )
        return answer(record, revision, warnings=checked.warnings, is_changed=True)

    async def get(self, question: Question) -> Mapping[str, object]:
        """Return a deployment's record."""
        name = DeploymentName(codec.convert(question, OneDeployment).name)
        standing = await self._store.require(name)
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

    async def usable(self, deployment: Deployment) -> list[str]:
        """Return the warnings about a deployment as it could be submitted now.

        Raises:
            InvalidError: images or files are gone, or imports stay open.
            IncompatibleError: types differ across a link.
            ConflictError: another deployment answers the same requests.
        """
        checked = await self._checker.check(deployment)
        await self._require_free_routes(deployment)
        return checked.warnings

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


def _record(checked: Checked, by: str) -> DeploymentRecord:
    """Return the record of what was checked, without its generation."""
    resolution = checked.resolution
    return DeploymentRecord(
        name=checked.deployment.name,
        generation=0,
        manifest=to_document(checked.deployment),
        interfaces=sorted(resolution.interfaces),
        exposed={name: dict(functions) for name, functions in resolution.exposed.items()},
        submitted_by=by,
    )


def _summary(standing: Standing) -> dict[str, object]:
    deployment = readable(standing.record)
    return {
        "name": standing.name,
        "generation": standing.record.generation if standing.record else 0,
        "replicas": deployment.replicas if deployment else 0,
        "mode": mode_of(deployment) if deployment else "",
        "paused": standing.record.is_paused if standing.record else False,
        "revision": standing.revision,
        "labels": dict(deployment.labels) if deployment else {},
        "http": [str(address) for address in deployment.http] if deployment else [],
    }
