"""Delivery by example: seal, write, and what happens when nobody knows if a write took place."""

from __future__ import annotations

from lattice.model.host import Revision
from lattice.model.ids import HostId
from lattice.wire.messages import Target, TargetItem
from scheduler.delivery import (
    Changed,
    Delivery,
    Document,
    DropTarget,
    ReadTarget,
    ReadTargets,
    SealTargets,
    TargetDropped,
    TargetRead,
    TargetsRead,
    TargetsSealed,
    TargetsUnread,
    TargetsUnsealed,
    TargetUnknown,
    TargetWritten,
    WriteTarget,
)
from scheduler.placement.model import NEEDS
from tests.unit.scheduler.builders import document, item

A, B = HostId("a"), HostId("b")
EPOCH = 50


def write(ticket: int, expect: int, *items: TargetItem, host: HostId = A) -> WriteTarget:
    needs = list(NEEDS) if items else []
    target = Target(host=host, epoch=EPOCH, incarnation="inc", needs=needs, items=list(items))
    return WriteTarget(host=host, ticket=ticket, target=target, expect=expect, epoch=EPOCH)


def sealed(*documents: Document) -> Delivery:
    """A delivery whose documents a.. are sealed at revisions 100, 101, ..."""
    delivery = Delivery(EPOCH, "inc")
    delivery.retry()
    commands, _ = delivery.handle(TargetsRead(documents=documents))
    for revision, command in enumerate(commands, 100):
        assert isinstance(command, WriteTarget)
        written = TargetWritten(host=command.host, ticket=command.ticket, revision=revision)
        assert delivery.handle(written) == ((), None)
    assert delivery.is_sealed
    return delivery


def test_documents_are_listed_until_that_succeeds() -> None:
    delivery = Delivery(EPOCH, "inc")
    assert delivery.retry() == (ReadTargets(),)
    assert delivery.retry() == (), "one listing at a time"
    delivery.handle(TargetsUnread())
    assert delivery.retry() == (ReadTargets(),)


def test_every_document_is_rewritten_before_anything_else() -> None:
    delivery = Delivery(EPOCH, "inc")
    delivery.retry()
    listed = TargetsRead(documents=(document("b", 8), document("a", 7, item(count=2))))
    commands, _ = delivery.handle(listed)
    writes = (write(1, 7, item(count=2)), write(2, 8, host=B))
    assert commands == (SealTargets(writes=writes, epoch=EPOCH),)
    assert delivery.propose(A, ()) == (), "nothing is decided before all are sealed"
    assert not delivery.is_sealed
    delivery.handle(TargetsSealed(writes=writes, revisions=(60, 61)))
    assert delivery.is_sealed
    assert delivery.revision(A) == Revision("inc", 60)


def test_batch_that_was_refused_is_sealed_one_by_one() -> None:
    delivery = Delivery(EPOCH, "inc")
    delivery.retry()
    listed = TargetsRead(documents=(document("a", 7, item(count=2)), document("b", 8)))
    writes = (write(1, 7, item(count=2)), write(2, 8, host=B))
    delivery.handle(listed)
    assert delivery.handle(TargetsUnsealed(writes=writes)) == ((), None)
    assert delivery.retry() == (ReadTarget(host=A, ticket=3), ReadTarget(host=B, ticket=4))
    late = TargetsSealed(writes=writes, revisions=(60, 61))
    assert delivery.handle(late) == ((), None)
    assert not delivery.is_sealed, "a late outcome counts for nothing"
    read = TargetRead(ticket=3, document=document("a", 9, item()))
    assert delivery.handle(read) == ((write(5, 9, item()),), None)
    delivery.handle(TargetRead(ticket=4, document=document("b", 8)))
    delivery.handle(TargetWritten(host=A, ticket=5, revision=70))
    delivery.handle(TargetWritten(host=B, ticket=6, revision=71))
    assert delivery.is_sealed


def test_batches_are_no_larger_than_nats_takes() -> None:
    delivery = Delivery(EPOCH, "inc")
    delivery.retry()
    found = tuple(document(f"h{number:04}", number + 1) for number in range(2000))
    commands, _ = delivery.handle(TargetsRead(documents=found))
    sizes = [len(command.writes) for command in commands if isinstance(command, SealTargets)]
    assert sizes == [900, 900, 200]


def test_change_is_written_once_under_fence_and_expectation() -> None:
    delivery = sealed(document("a", 7))
    assert delivery.propose(A, ()) == (), "it holds that already"
    assert delivery.propose(A, (item(),)) == (write(2, 100, item()),)
    assert delivery.propose(A, ()) == (), "one write at a time"
    assert delivery.expected_items(A) == (item(),)
    done = delivery.handle(TargetWritten(host=A, ticket=2, revision=200))
    assert done == ((), Changed(host=A, before=(), after=(item(),), revision=200))


def test_unknown_write_is_read_and_overwritten_before_the_next_decision() -> None:
    delivery = sealed(document("a", 7))
    delivery.propose(A, (item(),))
    delivery.handle(TargetUnknown(host=A, ticket=2))
    assert delivery.expected_items(A) == (item(),), "it counts as written"
    assert delivery.revision(A) == Revision("inc", 100), "and as not written"
    assert delivery.propose(A, ()) == ()
    assert delivery.retry() == (ReadTarget(host=A, ticket=3),)
    read = TargetRead(ticket=3, document=document("a", 100))
    commands, _ = delivery.handle(read)
    assert commands == (write(4, 100),), "from here on the lost write can never land"
    delivery.handle(TargetWritten(host=A, ticket=4, revision=201))
    assert not delivery.is_busy(A)


def test_unknown_write_that_took_place_is_told_when_it_is_found() -> None:
    delivery = sealed(document("a", 7))
    delivery.propose(A, (item(),))
    delivery.handle(TargetUnknown(host=A, ticket=2))
    delivery.retry()
    delivery.handle(TargetRead(ticket=3, document=document("a", 150, item())))
    _, changed = delivery.handle(TargetWritten(host=A, ticket=4, revision=201))
    assert changed == Changed(host=A, before=(), after=(item(),), revision=201)


def test_late_and_repeated_outcomes_are_ignored() -> None:
    delivery = sealed(document("a", 7))
    delivery.propose(A, (item(),))
    delivery.handle(TargetUnknown(host=A, ticket=2))
    assert delivery.handle(TargetUnknown(host=A, ticket=1)) == ((), None)
    assert delivery.retry() == (ReadTarget(host=A, ticket=3),)
    assert delivery.handle(TargetWritten(host=A, ticket=2, revision=150)) == ((), None)
    assert delivery.documents[A] == document("a", 100)
    assert delivery.handle(TargetsRead(documents=(document("a", 1),))) == ((), None)


def test_new_host_gets_an_empty_document_that_must_not_exist_yet() -> None:
    delivery = sealed()
    assert delivery.ensure(A) == (write(1, 0),)
    assert delivery.ensure(A) == (), "it is on its way"
    delivery.handle(TargetWritten(host=A, ticket=1, revision=90))
    assert delivery.ensure(A) == ()
    assert delivery.documents == {A: document("a", 90)}


def test_document_that_turns_out_newer_is_read_and_sealed_again() -> None:
    delivery = sealed(document("a", 7))
    assert delivery.reseal(A) == (ReadTarget(host=A, ticket=2),)
    assert delivery.is_busy(A)
    assert delivery.reseal(A) == ()


def test_document_that_lists_nothing_is_dropped_and_made_anew_when_its_host_is_back() -> None:
    delivery = sealed(document("a", 7))
    dropped = DropTarget(host=A, ticket=2, expect=100, epoch=EPOCH)
    assert delivery.drop(A) == (dropped,)
    assert delivery.drop(A) == (), "it is busy"
    delivery.handle(TargetDropped(host=A, ticket=2))
    assert delivery.documents == {}
    assert delivery.ensure(A) == (write(3, 0),)


def test_document_that_lists_replicas_is_not_dropped() -> None:
    assert sealed(document("a", 7, item())).drop(A) == ()


def test_document_whose_removal_is_uncertain_is_read_and_written_again() -> None:
    delivery = sealed(document("a", 7))
    delivery.drop(A)
    delivery.handle(TargetUnknown(host=A, ticket=2))
    assert delivery.retry() == (ReadTarget(host=A, ticket=3),)
    commands, _ = delivery.handle(TargetRead(ticket=3, document=document("a", 0)))
    assert commands == (write(4, 0),)
