"""Membership by example: who joined, who is lost, and which of two processes is the host."""

from __future__ import annotations

from typing import Literal

from lattice.model.ids import HostId
from scheduler.membership import Accepted, Ignored, Membership, MembershipChanged, Refused
from scheduler.profile import DEFAULT
from tests.unit.scheduler.builders import inventory, report

A = HostId("a")


def changed(
    change: Literal["joined", "returned", "rebooted", "lost", "left"], reason: str = ""
) -> MembershipChanged:
    return MembershipChanged(host=A, change=change, reason=reason)


LOST = changed("lost", "no heartbeat for 6 s")


def members_at(now_s: float = 0.0) -> Membership:
    made = Membership(DEFAULT, now_s=now_s)
    assert made.inventory_read(now_s, A, inventory("a")) == ()
    return made


def hear(members: Membership, *times_s: float) -> None:
    for now_s in times_s:
        members.heard(now_s)


def test_host_joins_with_its_first_report() -> None:
    members = members_at()
    assert members.reported(1.0, report("a", 1)) == Accepted(changes=(changed("joined"),))
    assert members.reported(3.0, report("a", 2)) == Accepted()


def test_host_that_reported_to_an_earlier_leader_joins_silently() -> None:
    assert members_at().reported(1.0, report("a", 500)) == Accepted()


def test_host_is_lost_after_six_silent_seconds_and_returns_with_a_report() -> None:
    members = members_at()
    members.reported(1.0, report("a", 1))
    hear(members, 1.0, 3.0, 5.0, 7.0)
    assert members.ticked(7.0) == ()
    assert members.ticked(7.1) == (LOST,)
    assert members.ticked(9.0) == ()
    assert members.reported(9.0, report("a", 2)) == Accepted(changes=(changed("returned"),))


def test_nobody_is_lost_within_one_time_of_the_take_over() -> None:
    members = members_at(100.0)
    hear(members, 102.0, 104.0, 106.0)
    assert members.ticked(106.0) == ()
    assert not members.is_settled(106.0)
    assert members.ticked(106.1) == (LOST,)
    assert members.is_settled(106.1)


def test_nobody_is_lost_while_the_scheduler_itself_hears_nothing() -> None:
    members = members_at()
    members.reported(1.0, report("a", 1))
    hear(members, 1.0, 3.0, 5.0)
    assert members.ticked(8.1) == (), "cut off: it cannot tell who is lost"


def test_after_a_time_without_any_message_everybody_may_report_anew() -> None:
    members = members_at()
    members.reported(1.0, report("a", 1))
    hear(members, 1.0, 9.0)
    assert members.ticked(9.1) == ()
    hear(members, 11.0, 13.0, 15.0)
    assert members.ticked(15.0) == ()
    assert members.ticked(15.1) == (LOST,)


def test_membership_is_settled_once_every_known_host_reported() -> None:
    members = members_at()
    members.inventory_read(0.0, HostId("b"), inventory("b"))
    members.reported(0.5, report("a", 9))
    assert not members.is_settled(0.6)
    members.reported(0.7, report("b", 9))
    assert members.is_settled(0.7)


def test_older_and_repeated_reports_are_ignored() -> None:
    members = members_at()
    members.reported(1.0, report("a", 5))
    assert members.reported(1.1, report("a", 5)) == Ignored()
    assert members.reported(1.2, report("a", 4)) == Ignored()
    assert members.last_report(A) == report("a", 5)


def test_restarted_host_takes_over_when_its_former_process_was_silent() -> None:
    members = members_at()
    members.reported(1.0, report("a", 9))
    assert members.reported(2.0, report("a", 1, boot="b2")) == Ignored(), "perhaps a second one"
    answer = members.reported(4.1, report("a", 2, boot="b2"))
    assert answer == Accepted(changes=(changed("rebooted"),))
    assert isinstance(members.reported(4.2, report("a", 10)), Refused), "the former one is a ghost"


def test_second_process_with_one_key_is_refused_while_the_first_one_reports() -> None:
    members = members_at()
    members.reported(1.0, report("a", 9))
    assert members.reported(2.0, report("a", 1, boot="b2")) == Ignored()
    assert members.reported(3.0, report("a", 10)) == Accepted()
    refused = members.reported(4.0, report("a", 2, boot="b2"))
    assert isinstance(refused, Refused)
    assert refused.reason.startswith("two hosts with one key: process b2 reports as a")
    assert members.last_report(A) == report("a", 10), "a refusal changes nothing"


def test_host_that_leaves_is_gone_at_once() -> None:
    members = members_at()
    members.reported(1.0, report("a", 1))
    assert members.inventory_read(2.0, A, None) == (changed("left"),)
    assert members.members() == {}
    assert members.inventory_read(2.0, A, None) == ()


def test_host_that_reports_before_its_inventory_is_seen_joins_with_it() -> None:
    members = Membership(DEFAULT, now_s=0.0)
    assert members.reported(1.0, report("a", 1)) == Accepted()
    assert members.members() == {}
    assert members.inventory_read(1.1, A, inventory("a")) == (changed("joined"),)
