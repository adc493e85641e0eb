"""The control bucket as the scheduler sees it: keys and documents over any `Store`.

One function for each request that the cores make, each ending in exactly one event: errors of the
bucket become outcomes here. Decisions are made in the cores.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TypeVar

from lattice.bus.base import CaughtUp, Entry, Fence, Store, Write, batch_revisions
from lattice.errors import DecodeError, LatticeError, NotFoundError
from lattice.model.ids import DeploymentName, HostId
from lattice.model.manifest import parse_deployment
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import DeploymentRecord, DeploymentStatus, Lease, Restore, Target, Term
from lattice.wire.subjects import DESIRED, LEADER, RESTORE, TERM, desired, history, status, target
from scheduler import delivery, election
from scheduler.generations import Wanted
from scheduler.large import LargeTargets
from scheduler.placement.model import NEEDS

TARGETS = "target"
"""The family of all targets."""

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A deployment's desired record and the revision at which it stands.

    `record` is None when what stands there cannot be read.
    """

    name: DeploymentName
    record: DeploymentRecord | None
    revision: int


class ControlStore:
    """The leader's and the submitter's access to the control bucket."""

    def __init__(self, store: Store, large: LargeTargets | None = None) -> None:
        """Work on a bucket; without `large`, every target must fit into a message."""
        self._store = store
        self._large = large

    # --- election -------------------------------------------------------------------------

    async def read_lease(self) -> election.Event:
        """Return what `leader` and `term` hold; what cannot be read counts as held by nobody."""
        try:
            lease, term = await self._store.get(LEADER), await self._store.get(TERM)
        except LatticeError as exc:
            return election.Failed(reason=exc.message)
        return election.LeaseRead(
            lease=_readable(lease, Lease),
            revision=lease.revision if lease else 0,
            term=_readable(term, Term),
            term_revision=term.revision if term else 0,
        )

    async def acquire(self, asked: election.Acquire) -> election.Event:
        """Write lease and term in one batch."""
        writes = (
            Write(key=LEADER, value=encode(asked.lease), expect=asked.lease_expect),
            # The term comes last, because a batch tells the revision of its last write.
            Write(key=TERM, value=encode(asked.term), expect=asked.term_expect),
        )
        try:
            epoch = await self._store.put_many(writes)
        except LatticeError as exc:
            return election.Failed(reason=exc.message)
        return election.Acquired(
            epoch=epoch, incarnation=asked.term.incarnation, asked_s=asked.asked_s
        )

    async def renew(self, asked: election.Renew) -> election.Event:
        """Write the lease over the own one."""
        try:
            revision = await self._store.put(LEADER, encode(asked.lease), expect=asked.expect)
        except LatticeError as exc:
            return election.Failed(reason=exc.message)
        return election.Renewed(revision=revision, asked_s=asked.asked_s)

    async def release(self, revision: int) -> None:
        """Give the own lease back, so that a standby takes over at once. Errors are left to it."""
        try:
            await self._store.delete(LEADER, expect=revision)
        except LatticeError as exc:
            log.info("lease not given back, it runs out by itself: %s", exc)

    # --- targets --------------------------------------------------------------------------

    async def read_targets(self) -> delivery.Outcome:
        """Return every target that stands; what cannot be read counts as empty."""
        documents: list[delivery.Document] = []
        try:
            async with self._store.watch(TARGETS) as entries:
                async for entry in entries:
                    if isinstance(entry, CaughtUp):
                        return delivery.TargetsRead(documents=tuple(documents))
                    documents.append(await self._document(entry.key.partition(".")[2], entry))
        except LatticeError as exc:
            log.warning("targets not read, trying again: %s", exc)
        return delivery.TargetsUnread()

    async def read_target(self, asked: delivery.ReadTarget) -> delivery.Outcome:
        """Return one target."""
        try:
            entry = await self._store.get(target(asked.host))
            document = await self._document(asked.host, entry)
        except LatticeError as exc:
            log.warning("target of %s not read, trying again: %s", asked.host, exc)
            return delivery.TargetUnknown(host=asked.host, ticket=asked.ticket)
        return delivery.TargetRead(ticket=asked.ticket, document=document)

    async def write_target(self, asked: delivery.WriteTarget) -> delivery.Outcome:
        """Write one target while the term stands."""
        try:
            write = await self._write(asked)
            revision = await self._store.put_many((write,), fence=Fence(TERM, asked.epoch))
        except LatticeError as exc:
            log.warning("target of %s not written, reading it again: %s", asked.host, exc)
            return delivery.TargetUnknown(host=asked.host, ticket=asked.ticket)
        if self._large is not None:
            await self._large.forget_former(asked.host, write.value)
        return delivery.TargetWritten(host=asked.host, ticket=asked.ticket, revision=revision)

    async def seal_targets(self, asked: delivery.SealTargets) -> delivery.Outcome:
        """Write several targets in one batch while the term stands."""
        try:
            writes = [await self._write(each) for each in asked.writes]
            last = await self._store.put_many(writes, fence=Fence(TERM, asked.epoch))
        except LatticeError as exc:
            log.warning("%d targets not sealed, each by itself: %s", len(asked.writes), exc)
            return delivery.TargetsUnsealed(writes=asked.writes)
        revisions = tuple(batch_revisions(last, len(writes)))
        return delivery.TargetsSealed(writes=asked.writes, revisions=revisions)

    async def drop_target(self, asked: delivery.DropTarget) -> delivery.Outcome:
        """Remove one target while the term stands."""
        write = Write(key=target(asked.host), value=None, expect=asked.expect)
        try:
            await self._store.put_many((write,), fence=Fence(TERM, asked.epoch))
        except LatticeError as exc:
            log.warning("target of %s not removed, reading it again: %s", asked.host, exc)
            return delivery.TargetUnknown(host=asked.host, ticket=asked.ticket)
        return delivery.TargetDropped(host=asked.host, ticket=asked.ticket)

    async def _write(self, asked: delivery.WriteTarget) -> Write:
        body = encode(asked.target)
        if self._large is not None:
            body = await self._large.packed(asked.target, body)
        return Write(key=target(asked.host), value=body, expect=asked.expect)

    async def _document(self, host: str, entry: Entry | None) -> delivery.Document:
        found = _readable(entry, Target)
        if found is not None and found.body and self._large is not None:
            found = await self._large.unpacked(found)
        return delivery.Document(
            host=HostId(host),
            items=tuple(found.items) if found else (),
            revision=entry.revision if entry else 0,
            needs=tuple(found.needs) if found and found.needs else NEEDS,
        )

    # --- deployments ----------------------------------------------------------------------

    async def deployment(self, name: DeploymentName) -> Standing | None:
        """Return a deployment's desired record, None if there is none."""
        entry = await self._store.get(desired(name))
        return None if entry is None else _standing(entry)

    async def require(self, name: DeploymentName) -> Standing:
        """Return a deployment's desired record.

        Raises:
            NotFoundError: there is none.
        """
        standing = await self.deployment(name)
        if standing is None:
            raise NotFoundError(f"there is no deployment {name}", name=name)
        return standing

    async def deployments(self) -> tuple[Standing, ...]:
        """Return every desired record, by name."""
        found: list[Standing] = []
        async with self._store.watch(DESIRED) as entries:
            async for entry in entries:
                if isinstance(entry, CaughtUp):
                    break
                if entry.key != RESTORE:
                    found.append(_standing(entry))
        return tuple(sorted(found, key=lambda standing: standing.name))

    async def generations(self, name: DeploymentName) -> tuple[int, ...]:
        """Return the generations of a deployment that history keeps, oldest first."""
        keys = await self._store.keys(f"history.{name}")
        numbers = (key.rpartition(".")[2] for key in keys)
        return tuple(sorted(int(number) for number in numbers if number.isdigit()))

    async def generation(self, name: DeploymentName, generation: int) -> DeploymentRecord | None:
        """Return what history keeps of a generation, None if nothing that can be read."""
        return _readable(await self._store.get(history(name, generation)), DeploymentRecord)

    async def good_generation(self, name: DeploymentName) -> int:
        """Return the last generation that was rolled out in full, 0 if none is known."""
        found = _readable(await self._store.get(status(name)), DeploymentStatus)
        return found.good_generation if found else 0

    async def floor(self) -> int:
        """Return the generation up to which numbers are spoken for since a restore, else 0."""
        marker = _readable(await self._store.get(RESTORE), Restore)
        return marker.floor if marker else 0

    async def put_generation(self, record: DeploymentRecord) -> int:
        """Keep a generation for the hosts to read, and return the revision of the bucket.

        It is written before `desired` names it.

        Raises:
            ConflictError: the generation exists already.
        """
        key = history(record.name, record.generation)
        return await self._store.put(key, encode(record), expect=0)

    async def drop_generation(self, name: DeploymentName, generation: int) -> None:
        """Remove one generation from history."""
        await self._store.delete(history(name, generation))

    async def put_deployment(self, record: DeploymentRecord, *, expect: int) -> int:
        """Write the desired record and return its revision.

        Raises:
            ConflictError: it does not stand at `expect`.
        """
        return await self._store.put(desired(record.name), encode(record), expect=expect)

    async def delete_deployment(self, name: DeploymentName, *, expect: int | None) -> int:
        """Remove the desired record and return the revision of the removal; history is kept.

        Raises:
            NotFoundError: there is none.
            ConflictError: it does not stand at `expect`.
        """
        entry = await self._store.get(desired(name))
        if entry is None:
            raise NotFoundError(f"there is no deployment {name}", name=name)
        revision = entry.revision if expect is None else expect
        return await self._store.delete(desired(name), expect=revision)


def wanted_of(record: DeploymentRecord) -> Wanted:
    """Return what placement needs of a record.

    Raises:
        InvalidError: the manifest in the record is not one that this release reads.
    """
    deployment = parse_deployment(record.manifest)
    return Wanted(
        name=DeploymentName(record.name),
        generation=record.generation,
        replicas=deployment.replicas,
        placement=deployment.placement,
        interfaces=tuple(sorted({*record.interfaces, *deployment.placement.require_interfaces})),
        daemon=deployment.daemon,
        is_singleton=deployment.is_singleton,
        scale=deployment.scale,
        job=deployment.job,
        update=deployment.update,
        has_probes=deployment.ready is not None or deployment.live is not None,
        is_paused=record.is_paused,
        lost_after_s=deployment.lost_after_s,
        reverted=record.reverted,
        reason=record.reason,
        since=record.since,
    )


def _standing(entry: Entry) -> Standing:
    return Standing(
        name=DeploymentName(entry.key.partition(".")[2]),
        record=_readable(entry, DeploymentRecord),
        revision=entry.revision,
    )


def _readable(entry: Entry | None, cls: type[T]) -> T | None:
    if entry is None or entry.value is None:
        return None
    try:
        return decode_as(cls, entry.value)
    except DecodeError as exc:
        log.warning("%s at revision %d is taken for absent: %s", entry.key, entry.revision, exc)
        return None
