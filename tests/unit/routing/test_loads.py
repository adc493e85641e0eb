"""Which host takes the next call: the less busy of two."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from lattice.routing.loads import (
    CLOSED_MS_MAX,
    DEPLOYMENTS_MAX,
    EXPLORE_CALLS,
    EXPLORE_MS,
    FRESH_MS,
    HOSTS_MAX,
    KNOWN_MS,
    Loads,
)


def loads(*hosts: str, seed: int = 1) -> Loads:
    made = Loads(Random(seed).randrange)
    for host in hosts:
        made.heard("d", host, 0, 0)
    for _ in range(EXPLORE_CALLS * len(hosts)):  # nobody else is found
        made.pick("d", 0)
    return made


def test_who_is_not_known_or_alone_is_asked_through_the_group() -> None:
    assert loads().pick("d", 0) == ""
    assert [loads("A").pick("d", 0) for _ in range(40)] == [""] * 40


def test_a_busy_host_of_two_gets_no_call_but_those_of_the_group() -> None:
    made = loads("A", "B")
    made.heard("d", "A", 9, 0)
    assert Counter(made.pick("d", 1) for _ in range(100)) == {"B": 100}
    made.heard("d", "A", 9, EXPLORE_MS)
    picked = Counter(made.pick("d", EXPLORE_MS) for _ in range(100))
    assert picked == {"B": 99, "": 1}, "once in a while somebody new may be found"


def test_the_group_is_asked_until_nobody_new_is_found() -> None:
    made = loads("A", "B")
    made.heard("d", "C", 0, 1)
    assert {made.pick("d", 1) for _ in range(EXPLORE_CALLS * 3)} == {""}
    assert {made.pick("d", 1) for _ in range(50)} == {"A", "B", "C"}


def test_a_host_that_does_not_answer_fills_up_with_our_own_calls_and_gets_fewer() -> None:
    """Every call to A stays there; those to B end at once."""
    made, sent = loads("A", "B"), Counter[str]()
    for _ in range(1000):
        host = made.pick("d", 1)
        sent[host] += 1
        made.began("d", host)
        if host == "B":
            made.ended("d", host)
    assert sent["A"] <= 2, sent
    assert sent["B"] >= 998


def test_calls_of_equal_hosts_are_spread_over_all() -> None:
    made = loads(*"ABCDEFGH")
    sent = Counter(made.pick("d", 1) for _ in range(1600))
    assert all(sent[host] > 100 for host in "ABCDEFGH"), sent


def test_a_load_that_was_told_long_ago_does_not_count() -> None:
    made = loads("A", "B")
    made.heard("d", "A", 9, 0)
    assert {made.pick("d", FRESH_MS) for _ in range(50)} >= {"A", "B"}


def test_a_full_host_is_left_out_until_the_time_that_it_told() -> None:
    made = loads("A", "B")
    made.refused("d", "A", 100, 0)
    assert {made.pick("d", 99) for _ in range(50)} == {"B"}
    assert "A" in {made.pick("d", 100) for _ in range(50)}
    made.refused("d", "A", 10**9, 0)
    assert "A" in {made.pick("d", CLOSED_MS_MAX) for _ in range(50)}


def test_a_call_that_was_refused_goes_to_a_host_that_did_not_refuse_it() -> None:
    made = loads("A", "B")
    made.refused("d", "A", 100, 0)
    assert made.pick("d", 1, {"A"}) == "B"
    made.refused("d", "B", 100, 0)
    assert made.pick("d", 1, {"A", "B"}) == ""


def test_who_is_gone_or_silent_for_long_is_forgotten() -> None:
    made = loads("A", "B")
    made.gone("d", "A")
    assert {made.pick("d", 1) for _ in range(50)} == {""}
    made = loads("A", "B")
    made.began("d", "A")
    assert "B" in {made.pick("d", EXPLORE_MS - 1) for _ in range(50)}
    assert {made.pick("d", KNOWN_MS + 1) for _ in range(50)} == {""}, "only A, who has a call"


def test_what_is_known_is_bounded() -> None:
    made = loads(*(f"h{number}" for number in range(HOSTS_MAX * 2)))
    assert len({made.pick("d", 1) for _ in range(20_000)}) == HOSTS_MAX
    for number in range(DEPLOYMENTS_MAX * 2):
        made.heard(f"d{number}", "A", 0, 0)
    assert len(made) == DEPLOYMENTS_MAX


@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["heard", "refused", "gone", "began", "ended"]), st.sampled_from("ABC")
        ),
        max_size=60,
    ),
)
def test_only_hosts_that_are_known_and_open_are_picked(
    seed: int, steps: list[tuple[str, str]]
) -> None:
    made, known, closed = Loads(Random(seed).randrange), set[str](), dict[str, int]()
    for now_ms, (what, host) in enumerate(steps):
        match what:
            case "heard":
                made.heard("d", host, now_ms % 5, now_ms)
                known.add(host)
            case "refused":
                made.refused("d", host, 7, now_ms)
                known.add(host)
                closed[host] = now_ms + 7
            case "gone":
                made.gone("d", host)
                known.discard(host)
                closed.pop(host, None)
            case "began":
                made.began("d", host)
            case _:
                made.ended("d", host)
        picked = made.pick("d", now_ms)
        assert picked in {"", *(each for each in known if closed.get(each, 0) <= now_ms)}
