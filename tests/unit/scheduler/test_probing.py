"""Hints and probes: a host whose connection is gone is lost at once, one that reconnects never."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice.model.host import Inventory, Report, Revision
from lattice.model.ids import HostId
from scheduler.membership import PROBED_LATE_MAX, Membership, MembershipChanged
from scheduler.probing import ABSENT_S, Hinted, Probe, Probed
from scheduler.profile import DEFAULT
from tests.unit.scheduler.builders import inventory

HOST = HostId("a")
HINT = Hinted(host=HOST, reason="it was disconnected")
LOST = MembershipChanged(
    host=HOST, change="lost", reason="its connection to NATS is gone (it was disconnected)"
)


def report(sequence: int) -> Report:
    return Report(host=HOST, boot="b", sequence=sequence, adopted=Revision())


def heard(at_s: float = 1.0) -> Membership:
    membership = Membership(DEFAULT, now_s=0.0)
    facts: Inventory = inventory("a")
    membership.inventory_read(0.0, HOST, facts)
    membership.heard(at_s)
    membership.reported(at_s, report(1))
    return membership


def absent(ticket: int) -> Probed:
    return Probed(host=HOST, ticket=ticket, outcome="absent")


def test_host_whose_connection_is_gone_is_lost_at_the_second_word_of_it() -> None:
    membership = heard()
    assert membership.hinted(2.0, HINT) == (Probe(host=HOST, ticket=2),)
    assert membership.hinted(2.0, HINT) == (), "one question at a time"
    again = Probe(host=HOST, ticket=3, after_s=ABSENT_S)
    assert membership.probed(2.0, absent(2)) == ((), (again,))
    assert membership.probed(2.0 + ABSENT_S, absent(3)) == ((LOST,), ())
    assert membership.members()[HOST].state == "lost"
    assert membership.members()[HOST].heard_at_s == 1.0, "its lease may still run"


def test_second_word_that_comes_too_soon_is_asked_for_again() -> None:
    membership = heard()
    membership.hinted(2.0, HINT)
    membership.probed(2.0, absent(2))
    changes, [probe] = membership.probed(2.5, absent(3))
    assert changes == ()
    assert round(probe.after_s, 6) == round(ABSENT_S - 0.5, 6)


def test_host_that_answers_or_reports_meanwhile_is_not_lost() -> None:
    membership = heard()
    membership.hinted(2.0, HINT)
    membership.probed(2.0, absent(2))
    answered = Probed(host=HOST, ticket=3, outcome="answered")
    assert membership.probed(2.9, answered) == ((), ())
    assert membership.hinted(3.0, HINT) == (), "it has just answered"

    membership = heard()
    membership.hinted(2.0, HINT)
    membership.probed(2.0, absent(2))
    membership.reported(2.4, report(2))
    assert membership.probed(2.9, absent(3)) == ((), ()), "the question is void"
    assert membership.members()[HOST].state == "ready"


def test_answer_that_does_not_come_means_nothing() -> None:
    membership = heard()
    membership.hinted(2.0, HINT)
    membership.probed(2.0, absent(2))
    unknown = Probed(host=HOST, ticket=3, outcome="unknown")
    assert membership.probed(3.8, unknown) == ((), ())
    assert membership.ticked(3.8) == ()


def test_late_heartbeat_is_a_hint() -> None:
    membership = heard()
    assert membership.late(3.7) == ()
    [probe] = membership.late(3.9)
    assert probe.host == HOST


def test_only_some_of_many_late_hosts_are_asked_at_a_time() -> None:
    membership = Membership(DEFAULT, now_s=0.0)
    membership.heard(1.0)
    hosts = [HostId(f"host-{number:03d}") for number in range(3 * PROBED_LATE_MAX)]
    for number, host in enumerate(hosts):
        membership.inventory_read(0.0, host, inventory(host))
        told = Report(host=host, boot="b", sequence=1, adopted=Revision())
        membership.reported(1.0 + number / 1000, told)
    asked = membership.late(4.0)
    assert [probe.host for probe in asked] == hosts[:PROBED_LATE_MAX], "the most silent first"
    assert membership.late(4.1) == ()
    for probe in asked:
        unknown = Probed(host=probe.host, ticket=probe.ticket, outcome="unknown")
        membership.probed(4.5, unknown)
    asked = membership.late(4.6)
    assert [probe.host for probe in asked] == hosts[PROBED_LATE_MAX : 2 * PROBED_LATE_MAX]
    assert membership.hinted(4.6, Hinted(host=hosts[-1], reason="it was disconnected"))


def test_hosts_are_not_asked_before_they_had_the_time_to_connect_again() -> None:
    membership = Membership(DEFAULT, now_s=0.0)
    membership.inventory_read(0.0, HOST, inventory("a"))
    assert membership.hinted(1.0, HINT) == (), "it never reported in this term"

    membership = heard()
    membership.heard(20.0)  # after a time in which nothing arrived
    assert membership.hinted(20.1, HINT) == ()
    membership.reported(20.2, report(2))
    assert membership.hinted(20.3, HINT) != ()


@given(
    away=st.lists(
        st.tuples(st.floats(0.2, 3.0), st.floats(0.01, ABSENT_S - 0.05)), min_size=1, max_size=12
    ),
    late=st.floats(0.0, 0.04),
)
def test_host_that_reconnects_in_time_is_never_given_up(
    away: list[tuple[float, float]], late: float
) -> None:
    """Connections that end again and again, each away for less than `ABSENT_S`; the host reports
    as soon as it is back, as it does."""
    membership = heard(0.0 + 1e-6)
    now_s, sequence = 1e-6, 1
    for pause_s, away_s in away:
        now_s += pause_s
        membership.heard(now_s)
        gone_until_s = now_s + away_s
        due = [(now_s, probe) for probe in membership.hinted(now_s, HINT)]
        while due:
            asked_s, probe = due.pop(0)
            at_s = asked_s + probe.after_s + late
            if at_s >= gone_until_s:
                break
            changes, more = membership.probed(at_s, absent(probe.ticket))
            assert changes == ()
            due += [(at_s, each) for each in more]
        now_s, sequence = gone_until_s, sequence + 1
        membership.reported(now_s, report(sequence))
        assert membership.members()[HOST].state == "ready"
