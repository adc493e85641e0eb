"""Reports of thousands of replicas travel as changes, and come out whole at the scheduler."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.differences import OPEN_MAX, REPORT_BYTES_MAX, Differences
from lattice.model.host import ReplicaReport, Report, Revision
from lattice.model.ids import DeploymentName, HostId, ReplicaId
from lattice.wire.codec import decode_as
from scheduler.assembling import Assembly

HOST = HostId("UHOST")


def replica(number: int, **fields: object) -> ReplicaReport:
    made = ReplicaReport(
        replica=ReplicaId(f"deployment-{number}/1/UHOST/17.{number}"),
        deployment=DeploymentName(f"deployment-{number}"),
        generation=1,
        state="running",
    )
    return replace(made, **fields)  # type: ignore[arg-type]  # names of its fields


def report(sequence: int, *replicas: ReplicaReport, boot: str = "b") -> Report:
    return Report(
        host=HOST, boot=boot, sequence=sequence, adopted=Revision("inc", sequence),
        replicas=replicas,
    )  # fmt: skip


class Pair:
    """A host and a scheduler, and what the scheduler takes for the host's report."""

    def __init__(self) -> None:
        self.host, self.scheduler = Differences(), Assembly()
        self.sizes: list[int] = []

    def send(self, told: Report, *, is_lost: bool = False, is_unanswered: bool = False) -> Report:
        body = self.host.encoded(told)
        self.sizes.append(len(body))
        if is_lost:
            return told
        taken, is_base_unknown = self.scheduler.take(decode_as(Report, body))
        self.is_more = False
        if not is_unanswered:
            self.is_more = self.host.answered(told.sequence, is_base_unknown=is_base_unknown)
        return taken

    def settle(self, sequence: int, *replicas: ReplicaReport) -> tuple[Report, int]:
        for step in range(60):
            taken = self.send(report(sequence + step, *replicas))
            if not self.is_more:
                return taken, sequence + step
        raise AssertionError("it never settles")


def test_report_that_fits_is_sent_as_it_is() -> None:
    told = report(1, replica(1))
    assert Pair().send(told) == told


def test_ten_thousand_replicas_are_told_in_parts_and_then_in_changes() -> None:
    pair = Pair()
    replicas = [replica(number) for number in range(10_000)]
    first = pair.send(report(1, *replicas))
    assert (first.replicas, first.adopted) == ((), Revision()), "nothing is known for certain yet"
    taken, sequence = pair.settle(2, *replicas)
    assert set(taken.replicas) == set(replicas)
    assert taken.adopted == Revision("inc", sequence)
    assert max(pair.sizes) <= REPORT_BYTES_MAX
    replicas[7] = replica(7, state="failed", reason="no such image")
    del replicas[9]
    taken = pair.send(report(sequence + 1, *replicas))
    assert set(taken.replicas) == set(replicas)
    assert pair.sizes[-1] < 1000, "only what changed"


def test_states_come_before_counters_when_not_all_fits() -> None:
    pair = Pair()
    replicas = [replica(number) for number in range(10_000)]
    _, sequence = pair.settle(1, *replicas)
    busy = [replace(each, calls=5) for each in replicas]
    busy[9_999] = replica(9_999, state="failed")
    taken = pair.send(report(sequence + 1, *busy))
    assert busy[9_999] in taken.replicas
    assert taken.adopted.sequence == sequence + 1, "counters may be a report behind"
    for step in range(2, 20):
        taken = pair.send(report(sequence + step, *busy))
    assert set(taken.replicas) == set(busy)


def test_new_leader_is_told_anew() -> None:
    pair = Pair()
    replicas = [replica(number) for number in range(10_000)]
    _, sequence = pair.settle(1, *replicas)
    pair.scheduler = Assembly()
    taken, _ = pair.settle(sequence + 1, *replicas)
    assert set(taken.replicas) == set(replicas)


def test_report_without_news_is_small_and_tells_the_same_replicas() -> None:
    pair = Pair()
    replicas = [replica(number) for number in range(100)]
    first, sequence = pair.settle(1, *replicas)
    second = pair.send(report(sequence + 1, *replicas))
    assert pair.sizes[-1] < 500
    assert second.replicas is first.replicas, "so that nothing is compared"
    assert second.adopted.sequence == sequence + 1
    third = pair.send(report(sequence + 2, replica(0, calls=1), *replicas[1:]))
    assert pair.sizes[-1] < 800
    assert set(third.replicas) == {replica(0, calls=1), *replicas[1:]}


def test_counter_that_goes_back_is_told_although_the_answer_between_was_lost() -> None:
    pair = Pair()
    idle = [replica(number) for number in range(20)]
    _, sequence = pair.settle(1, *idle)
    busy = [replica(0, in_flight=1), *idle[1:]]
    taken = pair.send(report(sequence + 1, *busy), is_unanswered=True)
    assert set(taken.replicas) == set(busy)
    taken = pair.send(report(sequence + 2, *idle))
    assert set(taken.replicas) == set(idle)


def test_host_begins_anew_when_nobody_answered_for_long() -> None:
    pair = Pair()
    replicas = [replica(number) for number in range(20)]
    _, sequence = pair.settle(1, *replicas)
    for step in range(1, OPEN_MAX + 1):
        pair.send(report(sequence + step, *replicas), is_lost=True)
    pair.send(report(sequence + OPEN_MAX + 1, *replicas))
    assert pair.sizes[-1] == pair.sizes[0]


def test_scheduler_knows_a_process_only_when_it_told_everything() -> None:
    pair = Pair()
    replicas = [replica(number) for number in range(100)]
    _, sequence = pair.settle(1, *replicas)
    assert pair.scheduler.knows(report(sequence, boot="b"))
    assert not pair.scheduler.knows(report(1, boot="another"))
    pair.scheduler = Assembly()
    pair.send(report(sequence + 1, *replicas))
    assert pair.is_more
    assert not pair.scheduler.knows(report(sequence, boot="b"))
    taken = pair.send(report(sequence + 2, *replicas))
    assert pair.scheduler.knows(taken)
    assert set(taken.replicas) == set(replicas)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.tuples(st.sampled_from(["well", "lost", "unanswered", "leader"]),
                       st.integers(0, 4999)), max_size=12)
)  # fmt: skip
def test_whatever_is_lost_the_scheduler_knows_all_in_the_end(steps: list[tuple[str, int]]) -> None:
    pair = Pair()
    replicas = {number: replica(number) for number in range(5_000)}
    _, sequence = pair.settle(1, *replicas.values())
    for fate, number in steps:
        sequence += 1
        if number % 3 == 0:
            replicas.pop(number, None)
        else:
            replicas[number] = replica(number, state="failed", restarts=sequence)
        if fate == "leader":
            pair.scheduler = Assembly()
        pair.send(
            report(sequence, *replicas.values()),
            is_lost=fate == "lost", is_unanswered=fate == "unanswered",
        )  # fmt: skip
    taken, _ = pair.settle(sequence + 1, *replicas.values())
    assert set(taken.replicas) == set(replicas.values())


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["well", "lost", "unanswered", "leader"]),
                       st.integers(0, 39), st.integers(0, 1)), max_size=24)
)  # fmt: skip
def test_what_a_whole_report_says_of_counters_is_what_the_host_said(
    steps: list[tuple[str, int, int]],
) -> None:
    pair = Pair()
    replicas = {number: replica(number) for number in range(40)}
    for sequence, (fate, number, in_flight) in enumerate(steps, 1):
        replicas[number] = replica(number, in_flight=in_flight)
        if fate == "leader":
            pair.scheduler = Assembly()
        told = report(sequence, *replicas.values())
        taken = pair.send(told, is_lost=fate == "lost", is_unanswered=fate == "unanswered")
        if fate != "lost" and taken.adopted == told.adopted:
            assert set(taken.replicas) == set(replicas.values())
