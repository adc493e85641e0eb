"""Answers to reports: what is not known yet is not taken for nothing."""

from __future__ import annotations

from hosts.differences import Differences
from lattice.bus.base import Packet
from lattice.model.host import ReplicaReport, Report, Revision
from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.wire.codec import answer_of, convert
from lattice.wire.messages import HeartbeatAck
from lattice.wire.subjects import Names
from scheduler.answers import ReportAnswers
from scheduler.reconciler import Acknowledge, Reported

HOST = HostId("UHOST")
NAMES = Names("test")


def report(sequence: int, count: int = 20) -> Report:
    replicas = tuple(
        ReplicaReport(
            replica=ReplicaId(f"app/1/UHOST/17.{number}"),
            deployment=DeploymentName("app"),
            generation=1,
            state="running",
        )
        for number in range(count)
    )
    return Report(
        host=HOST, boot="b", sequence=sequence, adopted=Revision("inc", 7), replicas=replicas
    )


class Leader:
    """Answers reports, grants each a lease, and keeps those that it decided by."""

    def __init__(self) -> None:
        self.heard: list[Report] = []
        self._answers = ReportAnswers(NAMES, self._decide)

    def _decide(self, event: Reported) -> Acknowledge:
        self.heard.append(event.report)
        ack = HeartbeatAck(
            sequence=event.report.sequence, required=Revision("inc", 9), lease_ms=6000
        )
        return Acknowledge(ack=ack)

    async def hear(self, body: bytes) -> HeartbeatAck:
        packet = Packet(subject=NAMES.heartbeat(HOST), body=body, reply_to="_INBOX.x")
        return convert(answer_of(await self._answers.handle(packet)), HeartbeatAck)


async def test_host_that_a_new_leader_does_not_know_gets_no_lease_before_it_told_everything() -> (
    None
):
    host, leader = Differences(), Leader()
    ack = await leader.hear(host.encoded(report(1)))
    assert (ack.lease_ms, ack.is_base_unknown) == (6000, False)
    host.answered(1, is_base_unknown=False)

    leader = Leader()
    ack = await leader.hear(host.encoded(report(2)))
    assert (ack.lease_ms, ack.is_base_unknown) == (0, True)
    assert ack.required == Revision("inc", 7), "nothing that it would have to read"
    assert leader.heard == [], "nobody decides as if it ran nothing"
    assert host.answered(2, is_base_unknown=True), "the rest follows at once"
    ack = await leader.hear(host.encoded(report(3)))
    assert (ack.lease_ms, ack.is_base_unknown) == (6000, False)
    assert leader.heard == [report(3)]


async def test_known_host_whose_change_cannot_be_applied_keeps_its_lease() -> None:
    host, leader = Differences(), Leader()
    await leader.hear(host.encoded(report(1)))
    host.answered(1, is_base_unknown=False)
    host.encoded(report(2, count=30))  # its report is lost, its answer invented
    host.answered(2, is_base_unknown=False)
    ack = await leader.hear(host.encoded(report(3, count=31)))
    assert (ack.lease_ms, ack.is_base_unknown) == (6000, True)
    assert leader.heard[-1].replicas == report(1).replicas, "what it said before"
