"""The election by example: acquire, renew, fence oneself, challenge."""

from __future__ import annotations

from lattice.wire.messages import Lease, Term
from scheduler.election import (
    Acquire,
    Acquired,
    Election,
    Failed,
    Follow,
    Lead,
    LeaseRead,
    ReadLease,
    Renew,
    Renewed,
    Ticked,
)
from scheduler.profile import DEFAULT

OWN, OTHER = Lease(holder="s1", ttl_ms=6000), Lease(holder="s2", ttl_ms=6000)
NOBODY = LeaseRead(lease=None, revision=0, term=None, term_revision=0)


def others(revision: int) -> LeaseRead:
    term = Term(holder="s2", incarnation="old")
    return LeaseRead(lease=OTHER, revision=revision, term=term, term_revision=5)


def leading(epoch: int = 2, at_s: float = 0.0) -> Election:
    """An election that was won at `at_s` and whose lease's revision has been read."""
    election = Election("s1", "new", DEFAULT)
    election.handle(at_s, Ticked())
    election.handle(at_s, NOBODY)
    acquired = Acquired(epoch=epoch, incarnation="new", asked_s=at_s)
    assert election.handle(at_s, acquired) == (Lead(epoch=epoch, incarnation="new"),)
    assert election.handle(at_s, Ticked()) == (ReadLease(),)
    term = Term(holder="s1", incarnation="new")
    read = LeaseRead(lease=OWN, revision=epoch - 1, term=term, term_revision=epoch)
    assert election.handle(at_s, read) == ()
    return election


def test_free_lease_is_acquired_with_the_term_in_one_batch() -> None:
    election = Election("s1", "new", DEFAULT)
    assert election.handle(0.0, Ticked()) == (ReadLease(),)
    assert election.handle(0.5, Ticked()) == (), "one request at a time"
    assert election.handle(0.6, NOBODY) == (
        Acquire(
            lease=OWN,
            lease_expect=0,
            term=Term(holder="s1", incarnation="new"),
            term_expect=0,
            asked_s=0.6,
        ),
    )
    won = election.handle(1.0, Acquired(epoch=2, incarnation="new", asked_s=0.6))
    assert won == (Lead(epoch=2, incarnation="new"),)
    assert election.lease_until_s == 6.6, "counted from the sending"


def test_lease_of_another_is_challenged_after_its_time_and_the_drift() -> None:
    election = Election("s1", "new", DEFAULT)
    for now_s in (0.0, 3.0, 6.2):
        assert election.handle(now_s, Ticked()) == (ReadLease(),)
        assert election.handle(now_s, others(7)) == ()
    election.handle(6.8, Ticked())
    (command,) = election.handle(6.8, others(7))
    assert isinstance(command, Acquire)
    assert (command.lease_expect, command.term_expect) == (7, 5)
    assert command.term.incarnation == "old", "the bucket's incarnation is handed on"


def test_renewed_lease_of_another_starts_the_wait_again() -> None:
    election = Election("s1", "new", DEFAULT)
    for now_s, revision in ((0.0, 7), (6.0, 8), (12.0, 9)):
        election.handle(now_s, Ticked())
        assert election.handle(now_s, others(revision)) == ()


def test_late_read_of_an_older_lease_is_no_proof_of_silence() -> None:
    election = Election("s1", "new", DEFAULT)
    for now_s, revision in ((0.0, 7), (6.0, 8), (6.6, 7)):
        election.handle(now_s, Ticked())
        assert election.handle(now_s, others(revision)) == ()


def test_renewal_extends_the_lease_from_its_sending() -> None:
    election = leading()
    (renew,) = election.handle(2.0, Ticked())
    assert isinstance(renew, Renew)
    assert (renew.expect, renew.lease.renewals) == (1, 1)
    assert election.handle(3.0, Renewed(revision=9, asked_s=2.0)) == ()
    assert election.lease_until_s == 8.0
    (again,) = election.handle(4.0, Ticked())
    assert isinstance(again, Renew)
    assert again.expect == 9


def test_leader_without_a_confirmed_renewal_fences_itself() -> None:
    election = leading()
    election.handle(2.0, Ticked())
    (follow,) = election.handle(6.0, Ticked())
    assert isinstance(follow, Follow)
    assert election.lease_until_s == float("-inf")
    late = election.handle(6.1, Renewed(revision=9, asked_s=2.0))
    assert late == (), "a late confirmation does not bring the term back"


def test_refused_renewal_is_read_again_and_the_own_lease_goes_on() -> None:
    election = leading()
    election.handle(2.0, Ticked())
    assert election.handle(2.1, Failed(reason="refused")) == ()
    assert election.handle(2.6, Ticked()) == (ReadLease(),)
    term = Term(holder="s1", incarnation="new")
    read = LeaseRead(lease=OWN, revision=8, term=term, term_revision=2)
    assert election.handle(2.7, read) == ()
    (renew,) = election.handle(2.8, Ticked())
    assert isinstance(renew, Renew)
    assert renew.expect == 8


def test_leader_that_sees_a_newer_term_follows_at_once() -> None:
    election = leading(epoch=2)
    election.handle(2.0, Ticked())
    election.handle(2.1, Failed(reason="refused"))
    election.handle(2.6, Ticked())
    (follow, *_) = election.handle(2.7, others(7))
    assert follow == Follow(reason="s2 took the lead")


def test_own_lease_without_a_term_is_acquired_anew_without_waiting() -> None:
    election = Election("s1", "new", DEFAULT)
    election.handle(0.0, Ticked())
    election.handle(0.1, NOBODY)
    election.handle(0.2, Failed(reason="no answer"))
    election.handle(1.0, Ticked())
    term = Term(holder="s1", incarnation="new")
    (command,) = election.handle(1.1, LeaseRead(lease=OWN, revision=3, term=term, term_revision=4))
    assert isinstance(command, Acquire)
    assert (command.lease_expect, command.term_expect) == (3, 4)


def test_acquisition_confirmed_after_its_lease_is_not_used() -> None:
    election = Election("s1", "new", DEFAULT)
    election.handle(0.0, Ticked())
    election.handle(0.0, NOBODY)
    assert election.handle(6.0, Acquired(epoch=2, incarnation="new", asked_s=0.0)) == ()
    assert election.handle(6.1, Ticked()) == (ReadLease(),)


def test_unreadable_lease_is_challenged_like_any_other() -> None:
    election = Election("s1", "new", DEFAULT)
    unreadable = LeaseRead(lease=None, revision=7, term=None, term_revision=0)
    election.handle(0.0, Ticked())
    assert election.handle(0.0, unreadable) == ()
    election.handle(6.3, Ticked())
    (command,) = election.handle(6.3, unreadable)
    assert isinstance(command, Acquire)
