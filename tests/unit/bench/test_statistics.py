"""Ratios, their intervals and verdicts."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.statistics import Interval, median, median_interval, ratio, ratio_interval

POSITIVE = st.floats(min_value=1e-6, max_value=1e6)
PAIRS = st.lists(st.tuples(POSITIVE, POSITIVE), min_size=5, max_size=12)


def test_a_ratio_above_one_is_better_for_ours_in_both_directions() -> None:
    assert ratio([1.0, 2.0, 3.0], [4.0, 4.0, 4.0], "time") == 2.0
    assert ratio([8.0], [4.0], "rate") == 2.0


def test_the_median_is_not_moved_by_one_outlier() -> None:
    assert median([1.0, 1.0, 1.0, 1.0, 1000.0]) == 1.0


def test_samples_without_spread_give_an_interval_without_width() -> None:
    assert ratio_interval([2.0] * 5, [6.0] * 5, "time", seed=1) == Interval(3.0, 3.0)


@settings(max_examples=25)
@given(PAIRS, st.integers(0, 1000))
def test_the_interval_holds_the_ratio_and_lies_within_its_extremes(
    pairs: list[tuple[float, float]], seed: int
) -> None:
    ours, peer = zip(*pairs, strict=True)
    interval = ratio_interval(ours, peer, "time", seed=seed)
    slack = 1 + 1e-9
    assert min(peer) / max(ours) / slack <= interval.low
    assert interval.low <= ratio(ours, peer, "time") * slack
    assert ratio(ours, peer, "time") <= interval.high * slack
    assert interval.high <= max(peer) / min(ours) * slack


def test_the_same_seed_gives_the_same_interval_and_another_seed_hardly_another() -> None:
    noise = random.Random(7)
    ours = [noise.gauss(10, 1) for _ in range(30)]
    peer = [noise.gauss(20, 1) for _ in range(30)]
    first = ratio_interval(ours, peer, "time", seed=1)
    assert first == ratio_interval(ours, peer, "time", seed=1)
    assert ratio_interval(ours, peer, "time", seed=2).low == pytest.approx(first.low, rel=0.02)


def test_noise_that_hits_both_sides_of_a_pair_does_not_widen_the_interval() -> None:
    noise = random.Random(3)
    load = [noise.uniform(1, 2) for _ in range(25)]
    ours, peer = [10 * each for each in load], [20 * each for each in load]
    paired = ratio_interval(ours, peer, "time", seed=1)
    alone = ratio_interval(ours, peer, "time", seed=1, is_paired=False)
    assert paired.high - paired.low < 1e-9 < alone.high - alone.low


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    noise = random.Random(11)
    hits = 0
    for seed in range(60):
        ours = [noise.lognormvariate(0, 0.2) for _ in range(21)]
        peer = [3 * noise.lognormvariate(0, 0.2) for _ in range(21)]
        interval = ratio_interval(ours, peer, "time", seed=seed)
        hits += interval.low <= 3 <= interval.high
    assert hits >= 51  # 57 of 60 are expected


def test_paired_samples_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="paired samples differ in number: 1 and 2"):
        ratio_interval([1.0], [1.0, 2.0], "time", seed=1)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (Interval(2.0, 3.0), "pass"),
        (Interval(1.0, 1.9), "fail"),
        (Interval(1.9, 2.1), "none"),
        (Interval(1.0, 2.0), "none"),
    ],
)
def test_there_is_no_verdict_when_the_interval_straddles_the_target(
    interval: Interval, verdict: str
) -> None:
    assert interval.verdict(2.0) == verdict


def test_the_interval_of_a_median_lies_within_the_samples() -> None:
    interval = median_interval([1.0, 2.0, 3.0, 4.0, 5.0], seed=1)
    assert 1.0 <= interval.low <= 3.0 <= interval.high <= 5.0
