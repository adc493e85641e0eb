"""Diagrams of results as SVG text: pure functions of numbers, no scripts, nothing from elsewhere.

Colours come from the page's style sheet by class, so that one picture serves light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
LABEL_WIDTH = 250
ROW_HEIGHT = 26
MARGIN = 16
AXIS_HEIGHT = 34


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioRow:
    """One line of the overview."""

    label: str
    ratio: float
    low: float
    high: float
    target: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """The samples of one side of a case."""

    label: str
    side: str  # the class that colours it: "ours" or "peer"
    samples: Sequence[float]
    middle: float


class LogScale:
    """Places of positive numbers on a logarithmic axis, with round ends around all of them."""

    def __init__(self, values: Sequence[float]) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        self.low, self.high = min(positive), max(positive)
        # Room at both sides, also when all values are equal.
        room = max(1.05, (self.high / self.low) ** 0.06)
        self.low, self.high = self.low / room, self.high * room

    def x(self, value: float) -> float:
        """Return the place of a number; what lies outside stands at the edge."""
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return LABEL_WIDTH + min(1.0, share) * (WIDTH - LABEL_WIDTH - MARGIN)

    def ticks(self) -> list[float]:
        """Return round numbers within the axis, some three to eight of them."""
        steps: tuple[float, ...] = (1.0, 2.0, 5.0)
        if self.high / self.low > 1000:
            steps = (1.0,)
        elif self.high / self.low < 4:
            steps = tuple(1 + number / 10 for number in range(90))
        elif self.high / self.low < 30:
            steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found = [step * 10.0**power for power in powers for step in steps]
        inside = [value for value in found if self.low <= value <= self.high]
        return inside[:: max(1, math.ceil(len(inside) / 8))]


def ratios(rows: Sequence[RatioRow]) -> str:
    """Return the overview: a dot and its 95 % interval for each ratio, and the line at 1."""
    scale = LogScale([1.0, *(end for row in rows for end in (row.low, row.high))])
    height = len(rows) * ROW_HEIGHT + AXIS_HEIGHT
    parts = [_axis(scale, height, "")]
    parts.append(_line(scale.x(1), 0, scale.x(1), height - AXIS_HEIGHT, "even"))
    for index, row in enumerate(rows):
        y = index * ROW_HEIGHT + ROW_HEIGHT / 2
        side = "better" if row.low > 1 else "worse" if row.high < 1 else "open"
        parts.append(_label(row.label, y))
        parts.append(_line(scale.x(row.low), y, scale.x(row.high), y, f"interval {side}"))
        tip = f"{row.label}: {row.ratio:.3g} ({row.low:.3g} to {row.high:.3g})"
        parts.append(_dot(scale.x(row.ratio), y, 5, side, tip))
        if row.target is not None:
            x = scale.x(row.target)
            parts.append(_line(x, y - 8, x, y + 8, "target"))
    return _svg(height, parts, "Ratios to the peers with 95 % intervals")


def samples(rows: Sequence[SampleRow], unit: str) -> str:
    """Return every sample of a case as a dot, one line for each side, with the median marked."""
    scale = LogScale([value for row in rows for value in row.samples])
    height = len(rows) * ROW_HEIGHT + AXIS_HEIGHT
    parts = [_axis(scale, height, unit)]
    for index, row in enumerate(rows):
        y = index * ROW_HEIGHT + ROW_HEIGHT / 2
        parts.append(_label(row.label, y))
        for number, value in enumerate(row.samples):
            # Alternate rows of dots, so that equal samples do not hide each other.
            offset = (number % 3 - 1) * 5
            tip = f"sample {number + 1}: {value:.4g} {unit}"
            parts.append(_dot(scale.x(value), y + offset, 3, row.side, tip))
        x = scale.x(row.middle)
        parts.append(_line(x, y - 11, x, y + 11, f"middle {row.side}"))
    return _svg(height, parts, "Samples and medians")


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    body = "".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _axis(scale: LogScale, height: float, unit: str) -> str:
    bottom = height - AXIS_HEIGHT
    parts = [_line(LABEL_WIDTH, bottom, WIDTH - MARGIN, bottom, "axis")]
    for value in scale.ticks():
        x = scale.x(value)
        parts.append(_line(x, 0, x, bottom, "grid"))
        parts.append(_text(x, bottom + 14, f"{value:.4g}", "tick"))
    parts.append(_text(LABEL_WIDTH - 8, bottom + 14, unit, "unit"))
    return "".join(parts)


def _label(text: str, y: float) -> str:
    shown = text if len(text) <= 36 else f"{text[:35]}\u2026"
    return _text(LABEL_WIDTH - 8, y + 4, shown, "label")


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{escape(kind)}"/>'


def _dot(x: float, y: float, radius: int, kind: str, tip: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{escape(kind)}">'
        f"<title>{escape(tip)}</title></circle>"
    )
