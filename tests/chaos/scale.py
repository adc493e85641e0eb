"""How long the tests of this folder take: seconds in `make test`, minutes in `make chaos`."""

from __future__ import annotations

import os

IS_LONG = os.environ.get("LATTICE_CHAOS", "") not in ("", "0")

TIMEOUT_S = 1200 if IS_LONG else 120


def sized(short: int, long: int) -> int:
    """Return how many of something there are in this run."""
    return long if IS_LONG else short
