"""The rules of durable jobs."""

from __future__ import annotations

import pytest

from lattice.errors import InvalidError
from lattice.model.durable import (
    LANES,
    GiveBack,
    Retry,
    Store,
    TryHere,
    after_reply,
    begin,
    check_id,
    lane_of,
    pause_s,
    split_id,
)


def next_of(kind: str | None, delivered: int = 1, *, was_begun: bool = True) -> object:
    return after_reply(
        err=None if kind is None else {"kind": kind},
        was_begun=was_begun,
        number=delivered,
        attempts_max=3,
        first_s=1,
        longest_s=3,
    )


def test_what_follows_from_the_answer_to_an_attempt() -> None:
    assert next_of(None) == Store("done")
    assert next_of(None, 99) == Store("done")
    assert [next_of("trap", attempt) for attempt in (1, 2, 3)] == [
        GiveBack(1),
        GiveBack(2),
        Store("dead"),
    ]
    for kind in ("invalid", "not-found", "denied", "conflict", "incompatible"):
        assert next_of(kind) == Store("dead")
    assert next_of("no-route", 3, was_begun=False) == TryHere()


def test_what_becomes_of_a_delivery() -> None:
    assert begin(number=1, attempts_max=1, has_ended=False) == "run"
    assert begin(number=2, attempts_max=1, has_ended=False) == "bury"
    assert begin(number=2, attempts_max=1, has_ended=True) == "ended"


def test_pauses_double_up_to_the_longest() -> None:
    assert [pause_s(attempt, 0.5, 3) for attempt in (1, 2, 3, 4, 1000)] == [0.5, 1, 2, 3, 3]


def test_a_key_has_one_lane_and_no_key_has_its_own() -> None:
    assert lane_of(None) == "_"
    assert lane_of("") != "_"
    assert {lane_of(str(number)) for number in range(500)} == set(LANES) - {"_"}
    assert lane_of("account-7") == "5"  # crc32 modulo 16: a change would split a key's order


def test_ids_and_retries_that_make_no_sense_are_refused() -> None:
    assert split_id("d/a/b") == ("d", "a/b")
    for text in ("", "d", "d/", "/a"):
        with pytest.raises(InvalidError, match="expected deployment/id"):
            split_id(text)
    for job in ("", "*", "x" * 129):
        with pytest.raises(InvalidError, match="id of a job"):
            check_id(job)
    with pytest.raises(InvalidError) as failure:
        Retry(attempts=0, first_s=-1, longest_s=9999)
    assert len(failure.value.faults) == 3
