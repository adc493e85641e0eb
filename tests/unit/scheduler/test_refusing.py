"""Refused submissions are told, with the reason, and never so many that they fill the log."""

from __future__ import annotations

from lattice.errors import InvalidError
from scheduler.announcements import Emit
from scheduler.refusing import TOLD_MAX, WINDOW_S, Refusals


class StillClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s


def test_a_refusal_is_told_with_its_reason() -> None:
    told: list[Emit] = []
    refusals = Refusals(told.append, StillClock())
    refusals.refused({"name": "app"}, "ann", InvalidError("no image"))
    assert [(e.kind, e.entity, e.data["error"]) for e in told] == [
        ("deployment-refused", "app", "invalid")
    ]
    assert told[0].data["reason"] == "no image"


def test_what_has_no_name_is_not_told() -> None:
    told: list[Emit] = []
    refusals = Refusals(told.append, StillClock())
    for manifest in ({}, {"name": 3}, {"name": "No Name"}):
        refusals.refused(manifest, "ann", InvalidError("no"))
    assert told == []


def test_over_the_bound_refusals_are_counted_with_the_next() -> None:
    told: list[Emit] = []
    clock = StillClock()
    refusals = Refusals(told.append, clock)
    for _ in range(TOLD_MAX + 5):
        refusals.refused({"name": "app"}, "ann", InvalidError("no"))
    assert len(told) == TOLD_MAX
    clock.now_s += WINDOW_S
    refusals.refused({"name": "app"}, "ann", InvalidError("no"))
    assert told[-1].data["untold"] == 5
