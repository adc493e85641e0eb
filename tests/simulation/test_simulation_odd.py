"""The seeds of the other timing profile; a module of its own, so that it runs beside the first."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.playing import play


def test_every_invariant_holds_for_odd_seeds(
    record_property: Callable[[str, object], None],
) -> None:
    play(1, record_property)
