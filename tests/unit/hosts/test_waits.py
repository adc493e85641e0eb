"""Calls that would wait for each other are found when the last of them begins to wait."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hosts.waits import Waits


def test_a_call_that_comes_back_to_its_own_service_closes_a_circle() -> None:
    waits = Waits()
    assert waits.begin((), "a") == ()
    assert waits.begin(("a",), "b") == ()
    waits.end(("a",))
    assert waits.begin(("a", "b"), "a") == ("a",)
    assert waits.awaited == {}


def test_two_chains_that_meet_are_found_whichever_waits_last() -> None:
    waits = Waits()
    assert waits.begin(("a",), "b") == ()
    assert waits.begin(("b", "c"), "a") == ("a", "b")
    waits.end(("a",))
    assert waits.begin(("b", "c"), "a") == (), "the other waits no longer"


def test_circles_of_any_length_are_found() -> None:
    waits = Waits()
    names = [str(number) for number in range(10)]
    for held, wanted in itertools.pairwise(names):
        assert waits.begin((held,), wanted) == ()
    assert waits.begin((names[-1],), names[0]) == tuple(names)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=60))
def test_nobody_ever_waits_in_a_circle(moves: list[tuple[int, int, bool]]) -> None:
    """Chains of one service each: a move begins a wait, or ends one that lasts."""
    waits = Waits()
    for held, wanted, is_end in moves:
        name = str(held)
        if name in waits.awaited:
            if is_end:
                waits.end((name,))
        elif not waits.begin((name,), str(wanted)):
            assert waits.awaited[name] == str(wanted)
        waits.check()
