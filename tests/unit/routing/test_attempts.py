"""Whether and when a call is sent again."""

from __future__ import annotations

from lattice.routing.attempts import (
    ATTEMPTS_MAX,
    LOST_MAX,
    UNRUN_PAUSE_MAX_S,
    UNRUN_PAUSE_S,
    Attempts,
)


def test_what_nobody_began_is_sent_again_with_or_without_a_key_in_ever_longer_pauses() -> None:
    for is_keyed in (False, True):
        attempts = Attempts(is_keyed)
        pauses = []
        while True:
            attempts.begin()
            pause_s = attempts.after_unrun(left_s=1000)
            if pause_s is None:
                break
            pauses.append(pause_s)
        assert pauses == sorted(pauses)
        assert (pauses[0], pauses[-1]) == (UNRUN_PAUSE_S, UNRUN_PAUSE_MAX_S)
        assert len(pauses) == ATTEMPTS_MAX - 1


def test_a_lost_call_without_a_key_is_not_sent_again() -> None:
    attempts = Attempts(is_keyed=False)
    attempts.begin()
    assert attempts.after_loss(left_s=1000) is None


def test_a_lost_call_with_a_key_is_sent_again_a_limited_number_of_times() -> None:
    attempts = Attempts(is_keyed=True)
    made = 0
    while True:
        made = attempts.begin()
        if attempts.after_loss(left_s=1000) is None:
            break
    assert made == attempts.lost == LOST_MAX


def test_nothing_is_sent_again_after_the_deadline() -> None:
    attempts = Attempts(is_keyed=True)
    attempts.begin()
    assert attempts.after_unrun(left_s=UNRUN_PAUSE_S) is None
    assert attempts.after_loss(left_s=0.001) is None
