"""Circuit breakers: what opens them, what does not, and how they close."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice.routing import breaking
from lattice.routing.breaking import Breakers, Rules

RULES = Rules()


def failing(breakers: Breakers, times: int, *, at_ms: int = 0) -> None:
    for _ in range(times):
        assert breakers.admit("d", at_ms) == 0
        breakers.failed("d", at_ms, at_ms)


def test_failures_in_a_row_open_it_and_it_tells_how_long() -> None:
    breakers = Breakers()
    failing(breakers, RULES.consecutive - 1)
    assert breakers.state("d") == "closed"
    failing(breakers, 1)
    assert breakers.state("d") == "open"
    assert breakers.admit("d", 300) == RULES.open_ms - 300
    assert breakers.admit("other", 300) == 0


def test_calls_that_began_before_an_answer_do_not_count_in_a_row() -> None:
    breakers = Breakers()
    breakers.failed("d", 0, 5)
    for number in range(19):  # sent to a frozen host, while another one answered
        breakers.failed("d", 0, 100 + number)
        breakers.answered("d", 90, 100 + number)
    assert breakers.state("d") == "closed"


def test_a_high_rate_opens_it_and_half_of_the_calls_do_not() -> None:
    half, most = Breakers(), Breakers()
    for number in range(200):
        for breakers, failures in ((half, 1), (most, 5)):
            if breakers.admit("d", number):
                continue
            if number % (failures + 1):
                breakers.failed("d", number, number)
            else:
                breakers.answered("d", number, number)
    assert half.state("d") == "closed"
    assert most.state("d") == "open"


def test_what_left_the_window_counts_no_more() -> None:
    breakers = Breakers()
    failing(breakers, RULES.consecutive - 1)
    later_ms = RULES.window_ms * 2
    breakers.answered("d", later_ms, later_ms)
    assert len(breakers) == 0


def test_one_trial_goes_through_half_open_and_its_answer_closes() -> None:
    breakers = Breakers()
    failing(breakers, RULES.consecutive)
    assert breakers.admit("d", RULES.open_ms) == 0
    assert breakers.state("d") == "half-open"
    assert breakers.admit("d", RULES.open_ms + 1) > 0
    breakers.answered("d", RULES.open_ms, RULES.open_ms + 5)
    assert breakers.admit("d", RULES.open_ms + 6) == 0
    assert len(breakers) == 0


def test_a_failed_trial_opens_it_for_twice_as_long_up_to_a_limit() -> None:
    breakers = Breakers()
    failing(breakers, RULES.consecutive)
    now_ms, pauses = 0, []
    for _ in range(8):
        pauses.append(breakers.admit("d", now_ms))
        now_ms += pauses[-1]
        assert breakers.admit("d", now_ms) == 0
        breakers.failed("d", now_ms, now_ms)
    assert pauses == [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]


def test_a_trial_that_says_nothing_leaves_its_place_to_the_next() -> None:
    breakers = Breakers()
    failing(breakers, RULES.consecutive)
    assert breakers.admit("d", RULES.open_ms) == 0
    breakers.left("d", RULES.open_ms)
    assert breakers.admit("d", RULES.open_ms + 1) == 0


def test_targets_are_bounded_and_old_ones_give_way() -> None:
    breakers = Breakers()
    for number in range(breaking.TARGETS_MAX + 10):
        breakers.failed(f"d{number}", 0, 0)
    assert len(breakers) == breaking.TARGETS_MAX
    later_ms = RULES.window_ms * 3
    breakers.failed("new", later_ms, later_ms)
    assert len(breakers) == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["ok", "fail", "leave"]), st.integers(0, 3000)), max_size=200
    )
)
def test_whatever_happens_it_lets_somebody_through_before_the_longest_pause(
    steps: list[tuple[str, int]],
) -> None:
    breakers, now_ms = Breakers(), 0
    for outcome, wait_ms in steps:
        now_ms += wait_ms
        refused_ms = breakers.admit("d", now_ms)
        assert 0 <= refused_ms <= RULES.open_ms_max
        now_ms += refused_ms
        if refused_ms:
            assert breakers.admit("d", now_ms) == 0
        if outcome == "ok":
            breakers.answered("d", now_ms, now_ms)
        elif outcome == "fail":
            breakers.failed("d", now_ms, now_ms)
        else:
            breakers.left("d", now_ms)
