"""The seeds of the other timing profile; a module of its own, so that it runs beside the first."""

from __future__ import annotations

import pytest

from tests.simulation.playing import play


def test_every_invariant_holds_for_odd_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    play(1, capsys)
