"""Missing and repeated events: told where numbers lack, and nowhere else."""

from __future__ import annotations

from lattice.wire.continuity import MISSING, Continuity
from lattice.wire.messages import Event


def event(
    sequence: int, *, run: str = "r", source: str = "/lattice/t/host/H", position: int = 0,
    identity: str = "",
) -> Event:  # fmt: skip
    return Event(
        id=identity or f"{run}.{sequence}", kind="replica-running", source=source, entity="e",
        time_s=1.0, data={}, run=run, sequence=sequence, position=position,
    )  # fmt: skip


def gaps(events: list[Event], *, after: int = 0) -> list[tuple[int, int]]:
    continuity = Continuity(after=after)
    found = [continuity.take(each)[0] for each in events]
    return [(each.data["first"], each.data["last"]) for each in found if each is not None]


def test_numbers_that_lack_within_a_run_are_told() -> None:
    assert gaps([event(5), event(6), event(9), event(10)]) == [(7, 8)]


def test_a_reader_that_begins_in_the_middle_misses_nothing_before() -> None:
    assert gaps([event(700), event(701)]) == []


def test_a_new_run_of_a_source_that_was_seen_begins_with_one() -> None:
    assert gaps([event(8), event(1, run="s")]) == []
    assert gaps([event(8), event(3, run="s")]) == [(1, 2)]


def test_in_a_log_read_from_its_beginning_every_source_begins_with_one() -> None:
    assert gaps([event(1, position=1), event(2, source="/b", run="b", position=2)]) == [(1, 1)]


def test_numbers_of_one_source_say_nothing_of_another() -> None:
    other = [event(each, source="/other", run="o", identity=f"o{each}") for each in (4, 5)]
    assert gaps([event(1), other[0], event(2), other[1]]) == []


def test_positions_that_the_log_holds_no_longer_are_told() -> None:
    assert gaps([event(1, position=40)], after=30) == [(31, 39)]
    assert gaps([event(1, position=31), event(2, position=32)], after=30) == []


def test_what_comes_too_late_is_no_gap_and_opens_none() -> None:
    assert gaps([event(1), event(3), event(2), event(4)]) == [(2, 2)]


def test_an_event_told_twice_is_a_repeat_whoever_tells_it() -> None:
    continuity = Continuity()
    first = event(1, identity="12.0")
    again = event(1, identity="12.0", source="/lattice/t/scheduler/b", run="b")
    assert [continuity.take(each)[1] for each in (first, again)] == [False, True]


def test_the_word_of_a_gap_says_whose_it_is() -> None:
    continuity = Continuity()
    continuity.take(event(1))
    missing, _ = continuity.take(event(3))
    assert missing is not None
    assert (missing.kind, missing.entity, missing.data["count"]) == (MISSING, "H", 1)
