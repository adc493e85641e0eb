"""Which hosts are there, judged by their reports and connections; a core, one for each term.

It decides whether a report counts and who joined, was lost or came back. It neither places nor
withdraws anything. A host whose connection is gone is lost before its lease ran out: what may run
only once in the lattice has to wait for that, see `Member.heard_at_s`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lattice.model.host import Inventory, Report
from lattice.model.ids import HostId
from scheduler.probing import Hinted, Probe, Probed, Probing
from scheduler.profile import Profile

MemberState = Literal["ready", "silent", "lost"]

CONTEST_HEARTBEATS = 1.5
"""Silence of a host's former process, in heartbeats, after which a new process takes its place: one
report may be late, two in a row are not."""

DEAF_RENEWALS = 1.5
"""Renewals of the lease without any answer after which a scheduler takes itself for cut off."""

LATE_HEARTBEATS = 1.4
"""Silence of a host, in heartbeats, that is a hint: their pace varies by a tenth."""

PROBED_LATE_MAX = 16
"""Hosts that are asked at a time because their heartbeats are late. Where more are late at once,
it is likely that their reports wait in this scheduler's own queue, which questions would lengthen;
whose connection ended is asked by that hint, whatever is late."""

RETIRED_BOOTS_MAX = 8
"""Former processes of one host that are remembered, so that a late report is not taken for news."""

FRESH_SEQUENCE_MAX = 3
"""A report with a sequence up to this one comes from a process that has just started."""


Change = Literal["joined", "returned", "rebooted", "lost", "left"]
"""What became of a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipChanged:
    """A host came or went. `joined` is news to the lattice, `returned` was lost in this term."""

    host: HostId
    change: Change
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The report counts."""

    changes: tuple[MembershipChanged, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """The report is older than one that counted, or its process is not yet known to be the only one
    of its host; the host is answered without a lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The report comes from the second of two processes with one key."""

    reason: str


Verdict = Accepted | Ignored | Refused


@dataclass(slots=True)
class _Member:
    known_at_s: float
    inventory: Inventory | None = None
    state: MemberState = "silent"
    report: Report | None = None
    heard_at_s: float = 0.0
    challenger: str = ""
    challenged_at_s: float = 0.0
    retired: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A host as the scheduler knows it now."""

    inventory: Inventory
    state: MemberState
    report: Report | None  # the last one that counted in this term
    heard_at_s: float | None


class Membership:
    """The hosts of a lattice during one term. Time goes in with each call."""

    def __init__(self, profile: Profile, *, now_s: float) -> None:
        self._profile = profile
        self._began_s = now_s
        self._heard_s = now_s
        self._members: dict[HostId, _Member] = {}
        self._probing = Probing(profile.heartbeat_s)

    def members(self) -> Mapping[HostId, Member]:
        """Return the hosts with an inventory, by id in sorted order."""
        return {
            host: Member(
                inventory=member.inventory,
                state=member.state,
                report=member.report,
                heard_at_s=member.heard_at_s if member.report else None,
            )
            for host, member in sorted(self._members.items())
            if member.inventory is not None
        }

    def labels(self, name: str) -> Iterator[str]:
        """Yield the value of a label for each host with an inventory, "" where it has none."""
        for member in self._members.values():
            if member.inventory is not None:
                yield member.inventory.labels.get(name, "")

    def member(self, host: HostId) -> Member | None:
        """Return one host, None when it has no inventory."""
        member = self._members.get(host)
        if member is None or member.inventory is None:
            return None
        return Member(
            inventory=member.inventory,
            state=member.state,
            report=member.report,
            heard_at_s=member.heard_at_s if member.report else None,
        )

    def silence_s(self, now_s: float, host: HostId) -> float:
        """Return for how long a host has been silent, at most since this scheduler could hear it;
        0 for one that is not known."""
        member = self._members.get(host)
        if member is None:
            return 0.0
        since_s = member.heard_at_s if member.report else member.known_at_s
        return max(0.0, now_s - max(since_s, self._began_s))

    def last_report(self, host: HostId) -> Report | None:
        """Return the last report of a host that counted in this term."""
        member = self._members.get(host)
        return member.report if member is not None else None

    def is_there(self, host: HostId) -> bool:
        """Tell whether a host has an inventory, or reports without one."""
        member = self._members.get(host)
        return member is not None and (member.inventory is not None or member.state != "lost")

    def reports(self) -> Iterator[Report]:
        """Yield the last report of each host that is there."""
        for member in self._members.values():
            if member.report is not None and member.state == "ready":
                yield member.report

    def has_inventory(self, host: HostId, boot: str = "") -> bool:
        """Tell whether a host's inventory stands, and is of this process if `boot` names one."""
        member = self._members.get(host)
        if member is None or member.inventory is None:
            return False
        return not boot or member.inventory.boot == boot

    def is_settled(self, now_s: float) -> bool:
        """Tell whether every host known at the take-over has reported or had the time to."""
        if now_s - self._began_s > self._profile.lost_after_s:
            return True
        return not any(
            member.state == "silent" and member.inventory is not None
            for member in self._members.values()
        )

    def inventory_read(
        self, now_s: float, host: HostId, inventory: Inventory | None
    ) -> tuple[MembershipChanged, ...]:
        """Take a host's facts; None when it left in order."""
        if inventory is None:
            member = self._members.pop(host, None)
            self._probing.clear(host)
            if member is None or member.inventory is None:
                return ()
            return (MembershipChanged(host=host, change="left"),)
        member = self._members.setdefault(host, _Member(known_at_s=now_s))
        is_first = member.inventory is None
        member.inventory = inventory
        if is_first and member.report is not None and member.state == "ready":
            return (MembershipChanged(host=host, change="joined"),)
        return ()

    def reported(self, now_s: float, report: Report) -> Verdict:
        """Judge a report and take it if it counts."""
        member = self._members.setdefault(report.host, _Member(known_at_s=now_s))
        last = member.report
        if last is not None and report.boot == last.boot and report.sequence <= last.sequence:
            return Ignored()
        if last is not None and report.boot != last.boot:
            if (verdict := self._contest(now_s, member, last, report)) is not None:
                return verdict
            member.retired = [*member.retired[1 - RETIRED_BOOTS_MAX :], last.boot]
        before = member.state
        is_new_boot = last is None or last.boot != report.boot
        member.report, member.heard_at_s, member.state = report, now_s, "ready"
        self._probing.clear(report.host)
        if member.inventory is None:
            return Accepted()
        return Accepted(changes=_arrival(report, before, last, is_new_boot=is_new_boot))

    def heard(self, now_s: float) -> None:
        """Note that something arrived, from whomever: this scheduler is not cut off itself.

        After a time in which nothing arrived, every host gets a whole new time to report: what
        it sent meanwhile may still be on its way.
        """
        if now_s - self._heard_s > self._deaf_s:
            self._began_s = now_s
        self._heard_s = now_s

    def ticked(self, now_s: float) -> tuple[MembershipChanged, ...]:
        """Give up the hosts that were silent for too long, at the earliest one such time after the
        take-over, because reports of the time before went to another scheduler.

        While nothing at all arrives, nobody is given up: then this scheduler is the one cut off.
        """
        if now_s - self._heard_s > self._deaf_s:
            return ()
        limit_s = self._profile.lost_after_s
        changes: list[MembershipChanged] = []
        for host, member in sorted(self._members.items()):
            since_s = member.heard_at_s if member.report else member.known_at_s
            if member.state == "lost" or now_s - max(since_s, self._began_s) <= limit_s:
                continue
            changes += self._give_up(host, member, f"no heartbeat for {limit_s:g} s")
        return tuple(changes)

    def late(self, now_s: float) -> tuple[Probe, ...]:
        """Return the questions to hosts whose heartbeat is late, some at a time, the most silent
        first."""
        limit_s = LATE_HEARTBEATS * self._profile.heartbeat_s
        late = sorted(
            (member.heard_at_s, host)
            for host, member in self._members.items()
            if member.state == "ready" and now_s - member.heard_at_s > limit_s
        )
        room = PROBED_LATE_MAX - self._probing.asked
        probes: list[Probe] = []
        for _, host in late:
            if len(probes) >= room:
                break
            probes += self.hinted(now_s, Hinted(host=host, reason="its heartbeat was late"))
        return tuple(probes)

    def hinted(self, now_s: float, event: Hinted) -> tuple[Probe, ...]:
        """Return the question to a host that may be gone.

        Only a host that reported since this scheduler heard others at all is asked: after an outage
        of NATS, and after a take-over, hosts have the time to connect again.
        """
        member = self._members.get(event.host)
        if member is None or member.state != "ready" or member.heard_at_s <= self._began_s:
            return ()
        return self._probing.suspect(now_s, event.host, event.reason)

    def probed(
        self, now_s: float, event: Probed
    ) -> tuple[tuple[MembershipChanged, ...], tuple[Probe, ...]]:
        """Give up a host whose connection is gone; return what changed and what to ask next."""
        reason, probes = self._probing.probed(now_s, event)
        member = self._members.get(event.host)
        if not reason or member is None or member.state != "ready":
            return (), probes
        if member.heard_at_s <= self._began_s or now_s - self._heard_s > self._deaf_s:
            return (), probes
        return self._give_up(event.host, member, reason), probes

    def _give_up(self, host: HostId, member: _Member, reason: str) -> tuple[MembershipChanged, ...]:
        member.state = "lost"
        self._probing.clear(host)
        if member.inventory is None:
            return ()
        return (MembershipChanged(host=host, change="lost", reason=reason),)

    @property
    def _deaf_s(self) -> float:
        """Return the silence of all that means being cut off: a renewal's answer was missed."""
        return self._profile.renew_s * DEAF_RENEWALS

    def _contest(
        self, now_s: float, member: _Member, last: Report, report: Report
    ) -> Verdict | None:
        """Decide about a report of another process than the last one's; None lets it take over.

        A new process waits until the former one has been silent for long enough to be gone. If the
        former one reports after the new one appeared, both are alive, and the new one is refused.
        """
        silence_s = now_s - member.heard_at_s
        if report.boot in member.retired and member.state == "ready":
            return Refused(reason=_two_hosts(report, last))
        is_former_gone = silence_s > CONTEST_HEARTBEATS * self._profile.heartbeat_s
        if is_former_gone or member.state == "lost":
            member.challenger = ""
            return None
        if member.challenger != report.boot:
            member.challenger, member.challenged_at_s = report.boot, now_s
            return Ignored()
        if member.heard_at_s > member.challenged_at_s:
            return Refused(reason=_two_hosts(report, last))
        return Ignored()


def _arrival(
    report: Report, before: MemberState, last: Report | None, *, is_new_boot: bool
) -> tuple[MembershipChanged, ...]:
    if before == "lost":
        return (MembershipChanged(host=report.host, change="returned"),)
    if last is None and report.sequence <= FRESH_SEQUENCE_MAX:
        return (MembershipChanged(host=report.host, change="joined"),)
    if last is not None and is_new_boot:
        return (MembershipChanged(host=report.host, change="rebooted"),)
    return ()


def _two_hosts(report: Report, last: Report) -> str:
    return (
        f"two hosts with one key: process {report.boot} reports as {report.host}, but process "
        f"{last.boot} does so already; stop one of them, or give it a state folder of its own"
    )
