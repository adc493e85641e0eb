"""Which generation takes the next call, where calls are divided by weight."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.routing.weights import GENERATIONS_MAX, Routes
from lattice.wire.messages import DeploymentRoute, RouteGeneration


def route(*generations: tuple[int, int], hosts: tuple[str, ...] = ("A",)) -> DeploymentRoute:
    return DeploymentRoute(
        name="shop",
        generations=[
            RouteGeneration(generation=number, weight=weight, hosts=list(hosts))
            for number, weight in generations
        ],
    )


def routes(*generations: tuple[int, int], hosts: tuple[str, ...] = ("A",)) -> Routes:
    found = Routes()
    found.take("shop", route(*generations, hosts=hosts))
    return found


def test_a_tenth_of_a_thousand_calls_is_a_hundred() -> None:
    divided = routes((7, 10), (6, 90))
    assert Counter(divided.choose("shop") for _ in range(1000)) == {7: 100, 6: 900}


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=5),
    st.integers(1, 500),
)
def test_after_any_number_of_calls_each_has_had_its_part_to_within_one_call(
    weights: list[int], calls: int
) -> None:
    divided = routes(*enumerate(weights, 1))
    counts: Counter[int] = Counter()
    for made in range(1, calls + 1):
        counts[divided.choose("shop")] += 1
        for generation, weight in enumerate(weights, 1):
            due = made * weight / sum(weights)
            # Of two, each is within one call of what is due; of more, within their number.
            assert abs(counts[generation] - due) < max(1.0, len(weights) - 1)


def test_a_generation_without_weight_takes_no_call_though_it_is_alone_or_newest() -> None:
    divided = routes((7, 0), (6, 100))
    assert {divided.choose("shop") for _ in range(50)} == {6}


@pytest.mark.parametrize("given", [None, route(), route((7, 0))])
def test_calls_of_what_has_no_weights_are_not_divided(given: DeploymentRoute | None) -> None:
    divided = routes((7, 10), (6, 90))
    divided.take("shop", given)
    assert divided.choose("shop") == 0
    assert not divided.shares
    assert not divided.hosts_of("shop", 7)


def test_more_generations_than_may_be_are_not_divided() -> None:
    assert not routes(*((number, 1) for number in range(1, GENERATIONS_MAX + 2))).shares


def test_hosts_take_turns_and_ones_own_is_left_out() -> None:
    divided = routes((7, 10), (6, 90), hosts=("A", "B", "C"))
    assert divided.hosts_of("shop", 7, besides="B") == ("A", "C")
    assert divided.hosts_of("shop", 7, besides="B") == ("C", "A")
    assert divided.hosts_of("shop", 6) == ("A", "B", "C")
    assert divided.hosts_of("shop", 5) == ()


def test_other_hosts_of_the_same_weights_do_not_begin_the_count_anew() -> None:
    divided = routes((7, 10), (6, 90))
    chosen: Counter[int] = Counter()
    for number in range(1000):
        if number % 3 == 0:
            divided.take("shop", route((7, 10), (6, 90), hosts=(f"H{number}",)))
        chosen[divided.choose("shop")] += 1
    assert chosen[7] == 100
