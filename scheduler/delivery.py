"""The target documents of one term: sealed first, then written one at a time for each host; a core.

It knows what each host's document holds, or that it does not know. It decides neither what a
document should hold nor when. A write whose outcome is unknown counts as both: the document is read
and rewritten with what it holds before anything else is decided about that host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from lattice.bus.base import BATCH_WRITES_MAX
from lattice.model.host import Revision
from lattice.model.ids import HostId
from lattice.wire.messages import Target, TargetItem
from scheduler.placement.model import NEEDS

Items = tuple[TargetItem, ...]

SEAL_ITEMS_MAX = 20_000
"""Items of one batch: some four megabytes, which NATS keeps in memory until it is complete."""

# --- events: each command below has exactly one of its outcomes -------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A target as it stands in the store; revision 0 when there is none."""

    host: HostId
    items: Items
    revision: int
    needs: tuple[str, ...] = NEEDS


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetsRead:
    """Every target that stands."""

    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetsUnread:
    """The targets could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRead:
    """One target, perhaps an older state of it."""

    ticket: int
    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetWritten:
    """The write took place at this revision."""

    host: HostId
    ticket: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetUnknown:
    """The write was refused, its outcome is unknown, or the read failed."""

    host: HostId
    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetDropped:
    """The document was removed."""

    host: HostId
    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetsSealed:
    """The batch was written; the revisions are those of its writes, in their order."""

    writes: tuple[WriteTarget, ...]
    revisions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetsUnsealed:
    """The batch was refused, or its outcome is unknown."""

    writes: tuple[WriteTarget, ...]


Outcome = (
    TargetsRead
    | TargetsUnread
    | TargetsSealed
    | TargetsUnsealed
    | TargetRead
    | TargetWritten
    | TargetDropped
    | TargetUnknown
)

# --- commands ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTargets:
    """Read every target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTarget:
    """Read one target."""

    host: HostId
    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTarget:
    """Write one target, expected at revision `expect`, under the fence of the term `epoch`."""

    host: HostId
    ticket: int
    target: Target
    expect: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DropTarget:
    """Remove one target, expected at revision `expect`, under the fence of the term `epoch`."""

    host: HostId
    ticket: int
    expect: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SealTargets:
    """Write several targets, all or none, each as `WriteTarget` says and under one fence."""

    writes: tuple[WriteTarget, ...]
    epoch: int


Command = ReadTargets | ReadTarget | WriteTarget | DropTarget | SealTargets


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A document that this term knew holds something else now."""

    host: HostId
    before: Items
    after: Items
    revision: int


@dataclass(slots=True)
class _Pending:
    """`seal`: rewrite what stands; `read`: read, then seal; `write`: new items; `drop`: remove."""

    step: Literal["seal", "write", "read", "to-read", "drop"]
    ticket: int
    items: Items = ()
    needs: tuple[str, ...] = NEEDS


class Delivery:
    """The documents of one term. `is_sealed` once every document found was rewritten in it."""

    def __init__(self, epoch: int, incarnation: str) -> None:
        self._epoch = epoch
        self._incarnation = incarnation
        self._documents: dict[HostId, Document] = {}
        self._pending: dict[HostId, _Pending] = {}
        self._unsealed: set[HostId] | None = None  # None until the documents are listed
        self._is_listing = False
        self._tickets = 0

    @property
    def is_sealed(self) -> bool:
        """Tell whether no document of an earlier term stands any more."""
        return self._unsealed is not None and not self._unsealed

    @property
    def documents(self) -> Mapping[HostId, Document]:
        """Return what this term has confirmed, by host."""
        return self._documents

    def expected_items(self, host: HostId) -> Items:
        """Return what a document should hold once nothing is in flight: the items of a write whose
        outcome is not known yet count as written.
        """
        if (pending := self._pending.get(host)) is not None:
            return pending.items
        document = self._documents.get(host)
        return document.items if document else ()

    def is_busy(self, host: HostId) -> bool:
        """Tell whether the host's document is being written, or its state is unknown."""
        return host in self._pending

    def revision(self, host: HostId) -> Revision:
        """Return the revision that the host should have adopted; sequence 0 before it is sealed."""
        document = self._documents.get(host)
        return Revision(self._incarnation, document.revision if document else 0)

    def retry(self) -> tuple[Command, ...]:
        """Return the requests that are due again after a failure. Called at each tick."""
        if self._unsealed is None:
            if self._is_listing:
                return ()
            self._is_listing = True
            return (ReadTargets(),)
        return tuple(
            self._read(host)
            for host, pending in sorted(self._pending.items())
            if pending.step == "to-read"
        )

    def ensure(self, host: HostId, items: Items = ()) -> tuple[Command, ...]:
        """Return what gives a host its document if it has none yet."""
        if self._unsealed is None or host in self._documents or host in self._pending:
            return ()
        return (self._write(host, "seal", items, NEEDS, 0),)

    def reseal(self, host: HostId) -> tuple[Command, ...]:
        """Read and rewrite a document that turned out to be newer than the one known here."""
        if host in self._pending or self._unsealed is None:
            return ()
        return (self._read(host),)

    def propose(
        self, host: HostId, items: Items, needs: tuple[str, ...] = NEEDS
    ) -> tuple[Command, ...]:
        """Return the write that makes a document hold `items`; none when it does or is busy.

        `needs` names what a host must understand to run them.
        """
        document = self._documents.get(host)
        if not self.is_sealed or document is None or host in self._pending:
            return ()
        if document.items == items:
            return ()
        return (self._write(host, "write", items, needs, document.revision),)

    def drop(self, host: HostId) -> tuple[Command, ...]:
        """Return the removal of a document that lists nothing; none when it does or is busy."""
        document = self._documents.get(host)
        if not self.is_sealed or document is None or document.items or host in self._pending:
            return ()
        self._tickets += 1
        self._pending[host] = _Pending("drop", self._tickets)
        return (
            DropTarget(
                host=host, ticket=self._tickets, expect=document.revision, epoch=self._epoch
            ),
        )

    def handle(self, outcome: Outcome) -> tuple[tuple[Command, ...], Changed | None]:
        """Return what follows from the outcome of a command, and which document changed."""
        match outcome:
            case TargetsUnread():
                self._is_listing = False
                return (), None
            case TargetsRead(documents=documents):
                return self._listed(documents), None
            case TargetRead(document=document):
                if self._is_awaited(document.host, outcome.ticket):
                    return (self._sealing(document),), None
                return (), None
            case TargetsSealed() | TargetsUnsealed():
                self._batch_ended(outcome)
                return (), None
            case TargetWritten(host=host, revision=revision):
                if self._is_awaited(host, outcome.ticket):
                    return (), self._written(host, revision)
                return (), None
            case TargetDropped(host=host):
                if self._is_awaited(host, outcome.ticket):
                    del self._pending[host]
                    self._documents.pop(host, None)
                return (), None
            case TargetUnknown(host=host):
                if self._is_awaited(host, outcome.ticket):
                    self._pending[host].step = "to-read"
                return (), None

    def _batch_ended(self, outcome: TargetsSealed | TargetsUnsealed) -> None:
        revisions = outcome.revisions if isinstance(outcome, TargetsSealed) else None
        for position, write in enumerate(outcome.writes):
            if not self._is_awaited(write.host, write.ticket):
                continue
            if revisions is None:
                # Whichever was in the way, each is read and sealed by itself.
                self._pending[write.host].step = "to-read"
            else:
                self._written(write.host, revisions[position])

    def _listed(self, documents: Iterable[Document]) -> tuple[Command, ...]:
        if self._unsealed is not None:
            return ()
        found = sorted(documents, key=lambda document: document.host)
        self._unsealed = {document.host for document in found}
        return tuple(
            SealTargets(writes=writes, epoch=self._epoch) if len(writes) > 1 else writes[0]
            for writes in _batches(self._sealing(document) for document in found)
        )

    def _written(self, host: HostId, revision: int) -> Changed | None:
        pending, before = self._pending.pop(host), self._documents.get(host)
        self._documents[host] = Document(
            host=host, items=pending.items, revision=revision, needs=pending.needs
        )
        if self._unsealed is not None:
            self._unsealed.discard(host)
        if before is None or before.items == pending.items:
            return None
        return Changed(host=host, before=before.items, after=pending.items, revision=revision)

    def _is_awaited(self, host: HostId, ticket: int) -> bool:
        pending = self._pending.get(host)
        return pending is not None and pending.ticket == ticket

    def _read(self, host: HostId) -> ReadTarget:
        expected = self.expected_items(host)
        self._tickets += 1
        self._pending[host] = _Pending("read", self._tickets, expected)
        return ReadTarget(host=host, ticket=self._tickets)

    def _sealing(self, document: Document) -> WriteTarget:
        return self._write(document.host, "seal", document.items, document.needs, document.revision)

    def _write(
        self,
        host: HostId,
        step: Literal["seal", "write"],
        items: Items,
        needs: tuple[str, ...],
        expect: int,
    ) -> WriteTarget:
        self._tickets += 1
        self._pending[host] = _Pending(step, self._tickets, items, needs)
        target = Target(
            host=host,
            epoch=self._epoch,
            incarnation=self._incarnation,
            # An empty target says nothing that a host could misunderstand.
            needs=list(needs) if items else [],
            items=list(items),
        )
        return WriteTarget(
            host=host, ticket=self._tickets, target=target, expect=expect, epoch=self._epoch
        )


def _batches(writes: Iterable[WriteTarget]) -> Iterator[tuple[WriteTarget, ...]]:
    batch: list[WriteTarget] = []
    items = 0
    for write in writes:
        items += len(write.target.items)
        if batch and (len(batch) == BATCH_WRITES_MAX or items > SEAL_ITEMS_MAX):
            yield tuple(batch)
            batch, items = [], len(write.target.items)
        batch.append(write)
    if batch:
        yield tuple(batch)
