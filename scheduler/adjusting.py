"""The `api` verbs that change what stands: how many, whether it goes on, which generation.

Each reads the desired record, changes it and writes it over the revision that it read. With
`expect` only that revision is changed; without, a record that changed meanwhile is read again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from lattice.errors import ConflictError, InvalidError
from lattice.model.deployment import Deployment
from lattice.model.ids import DeploymentName
from lattice.model.manifest import to_document
from lattice.model.manifest_scheduling import REPLICAS_MAX
from lattice.wire import codec
from lattice.wire.messages import DeploymentRecord
from lattice.wire.requests import OneDeployment, RollBack, SetPaused, SetReplicas
from scheduler.announcements import Emit, deployment_applied
from scheduler.answers import Question, Verb
from scheduler.history import History, given_up_with, readable
from scheduler.sameness import counted_as, mode_of
from scheduler.store import ControlStore, Standing

TRIES_MAX = 5
"""Times that a record is read and changed when others change it at the same time."""

Change = Callable[[Standing], Awaitable[DeploymentRecord]]
"""Returns the record that is to stand in place of the one that does."""

Usable = Callable[[Deployment], Awaitable[list[str]]]
"""Returns the warnings of a deployment that can be used; raises when it cannot."""


class Adjusting:
    """Carries the verbs out. `usable` checks a deployment as if it were submitted."""

    def __init__(
        self, store: ControlStore, usable: Usable, announce: Callable[[Emit], None]
    ) -> None:
        self._store = store
        self._history = History(store)
        self._usable = usable
        self._announce = announce

    def verbs(self) -> Mapping[str, Verb]:
        """Return the verbs by their names."""
        return {
            "history": self.history,
            "rollback": self.roll_back,
            "scale": self.scale,
            "pause": self.pause,
            "resume": self.resume,
        }

    async def history(self, question: Question) -> Mapping[str, object]:
        """Return the generations that are kept, newest first."""
        name = DeploymentName(codec.convert(question, OneDeployment).name)
        standing = await self._store.require(name)
        record = standing.record
        return {
            "name": name,
            "revision": standing.revision,
            "reverted": record.reverted if record else 0,
            "reason": record.reason if record else "",
            "generations": await self._history.entries(standing),
        }

    async def roll_back(self, question: Question) -> Mapping[str, object]:
        """Desire an earlier generation again, with as many replicas as now."""
        asked = codec.convert(question, RollBack)
        warnings: list[str] = []

        async def change(standing: Standing) -> DeploymentRecord:
            earlier = await self._history.earlier(standing, asked.generation)
            deployment = readable(earlier)
            if deployment is None:
                raise ConflictError(
                    f"generation {earlier.generation} of {asked.name} is one that this release "
                    "cannot read: submit a manifest instead",
                    name=asked.name, generation=earlier.generation,
                )  # fmt: skip
            current = readable(standing.record)
            if current is not None:
                deployment = counted_as(deployment, current)
            warnings[:] = await self._usable(deployment)
            return _gone_back(asked, standing.record, earlier, deployment)

        answer = await self._change(asked.name, asked.expect, change, "deployment-rolled-back")
        return {**answer, "warnings": warnings}

    async def scale(self, question: Question) -> Mapping[str, object]:
        """Desire another number of replicas."""
        asked = codec.convert(question, SetReplicas)
        if not 0 <= asked.replicas <= REPLICAS_MAX:
            raise InvalidError(f"replicas: expected 0 to {REPLICAS_MAX}, found {asked.replicas}")

        async def change(standing: Standing) -> DeploymentRecord:
            deployment = readable(standing.record)
            if standing.record is None or deployment is None:
                raise _unreadable(standing.name)
            if (mode := mode_of(deployment)) != "replicas":
                raise ConflictError(
                    f"deployment {standing.name} has no number of replicas of its own, `{mode}` "
                    "of its manifest decides: change that and apply it",
                    name=standing.name, mode=mode,
                )  # fmt: skip
            manifest = to_document(replace(deployment, replicas=asked.replicas))
            return replace(
                standing.record,
                manifest=manifest,
                submitted_by=asked.submitted_by or standing.record.submitted_by,
            )

        return await self._change(asked.name, asked.expect, change, "")

    async def pause(self, question: Question) -> Mapping[str, object]:
        """Leave what runs as it is, whatever is desired, until it is resumed."""
        return await self._set_paused(question, is_paused=True)

    async def resume(self, question: Question) -> Mapping[str, object]:
        """Go on after a pause."""
        return await self._set_paused(question, is_paused=False)

    async def _set_paused(self, question: Question, *, is_paused: bool) -> Mapping[str, object]:
        asked = codec.convert(question, SetPaused)

        async def change(standing: Standing) -> DeploymentRecord:
            if standing.record is None:
                raise _unreadable(standing.name)
            return replace(standing.record, is_paused=is_paused)

        return await self._change(asked.name, asked.expect, change, "")

    async def _change(
        self, name: str, expect: int | None, change: Change, kind: str
    ) -> Mapping[str, object]:
        for attempt in range(TRIES_MAX):
            standing = await self._store.require(DeploymentName(name))
            require_revision(name, standing.revision, expect)
            record = await change(standing)
            if record == standing.record:
                return answer(record, standing.revision, warnings=[], is_changed=False)
            try:
                revision = await self._store.put_deployment(record, expect=standing.revision)
            except ConflictError:
                if expect is not None or attempt == TRIES_MAX - 1:
                    raise
                continue
            self._tell(record, revision, kind)
            return answer(record, revision, warnings=[], is_changed=True)
        raise AssertionError("the last try returns or raises")

    def _tell(self, record: DeploymentRecord, revision: int, kind: str) -> None:
        deployment = readable(record)
        replicas = deployment.replicas if deployment else 0
        self._announce(
            deployment_applied(
                record.name, record.generation, replicas, revision, is_paused=record.is_paused
            )
        )
        if kind:
            data = {"deployment": record.name, "generation": record.generation}
            reason = {"reason": record.reason} if record.reason else {}
            self._announce(
                Emit(id=f"{revision}.1", kind=kind, entity=record.name, data=data | reason)
            )


def require_revision(name: str, found: int, expect: int | None) -> None:
    """Return when a deployment stands where it is expected to, if it is.

    Raises:
        ConflictError: it does not; both revisions are told.
    """
    if expect is not None and expect != found:
        raise ConflictError(
            f"deployment {name} stands at revision {found}, expected {expect}; "
            "read it again and decide",
            name=name, found=found, expected=expect,
        )  # fmt: skip


def answer(
    record: DeploymentRecord, revision: int, *, warnings: list[str], is_changed: bool
) -> Mapping[str, object]:
    """Return the answer to a change."""
    return {
        "name": record.name,
        "generation": record.generation,
        "revision": revision,
        "changed": is_changed,
        "paused": record.is_paused,
        "warnings": warnings,
    }


def _gone_back(
    asked: RollBack,
    before: DeploymentRecord | None,
    earlier: DeploymentRecord,
    deployment: Deployment,
) -> DeploymentRecord:
    manifest = to_document(deployment)
    if before is None:
        return replace(earlier, manifest=manifest, submitted_by=asked.submitted_by)
    if before.generation == earlier.generation:
        return replace(before, manifest=manifest)
    by = f" by {asked.submitted_by}" if asked.submitted_by else ""
    return replace(
        earlier,
        manifest=manifest,
        since=before.since,
        is_paused=before.is_paused,
        submitted_by=asked.submitted_by or before.submitted_by,
        reverted=before.generation,
        given_up=[
            each for each in given_up_with(before, before.generation) if each != earlier.generation
        ],
        reason=asked.reason or f"rolled back{by}",
    )


def _unreadable(name: str) -> ConflictError:
    return ConflictError(
        f"the record of deployment {name} cannot be read: submit it again, roll it back to a "
        "generation, or delete it",
        name=name,
    )
