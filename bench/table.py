"""Results as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HEAD = ("case", "ours", "peer", "ratio", "95 %", "verdict", "cpu", "wait", "switches", "baseline")


def lines_of(cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a table: a head, then a line for each case."""
    rows = [_HEAD, *(_row(name, case) for name, case in cases.items() if case["samples"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [*table, *_readings(cases), *_figures(cases), *_left_out(cases)]


def _readings(cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{name}: "
        + ", ".join(f"{key} {reading(value)}" for key, value in case["readings"].items())
        for name, case in cases.items()
        if case.get("readings")
    ]


def reading(found: Mapping[str, Any]) -> str:
    """Return what one reading of a case says, of both sides, with the ratio and its interval."""
    if "peer" not in found:
        return figure(found["ours"])
    both = f"{figure(found['ours'])} to {figure(found['peer'])}"
    if "ratio" not in found:
        return both
    said = f", {found['verdict']} at {figure(found['target'])}" if "verdict" in found else ""
    return f"{both} = {figure(found['ratio'])} ({span(found['ci95'])}{said})"


def _figures(cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{name}: " + ", ".join(f"{key} {figure(value)}" for key, value in case["figures"].items())
        for name, case in cases.items()
        if case.get("figures")
    ]


def _left_out(cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{name}: {mark}{case[word]}"
        for name, case in cases.items()
        for word, mark in (("skipped", ""), ("failed", "failed: "))
        if word in case
    ]


def figure(value: float | None, unit: str = "") -> str:
    """Return a number with three digits that matter, and its unit."""
    if value is None:
        return "-"
    digits = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def seconds(value: float) -> str:
    """Return seconds in the unit that suits them."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= factor:
            return figure(value / factor, unit)
    return figure(value / 1e-9, "ns")


def span(ends: object) -> str:
    """Return an interval as text."""
    return f"{figure(ends[0])} .. {figure(ends[1])}" if isinstance(ends, list) else "-"


def _row(name: str, case: Mapping[str, Any]) -> tuple[str, ...]:
    cost, baseline = case["cost"]["ours"], case.get("baseline")
    switches = cost["voluntary_switches"] + cost["involuntary_switches"]
    return (
        name,
        figure(case["ours"], case["unit"]),
        figure(case["peer"], case["unit"]) if "peer" in case else "-",
        figure(case.get("ratio")),
        span(case.get("ci95")),
        case.get("verdict", "-"),
        seconds(cost["cpu_s"] + cost["children_cpu_s"] + cost["servers_cpu_s"]),
        seconds(cost["wait_s"]),
        figure(switches),
        f"{figure(baseline['ratio'])} ({baseline['change']})" if baseline else "-",
    )
