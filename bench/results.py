"""The results of a run as a JSON document, and the comparison of two of them.

The document is `{"machine": {...}, "cases": {NAME: {...}}}`. A case has `unit`, `samples` (how many
of each side), the medians `ours` and `peer`, `ratio` (above 1 is better for ours) with its 95 %
interval `ci95`, and every sample under `raw`, so that anybody can draw other conclusions. What the
samples say besides a rate (`bench.case.Reading`) stands under `readings`, each with a ratio of its
own; `throughput_ratio` and `cpu_ratio` are then the two that matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.case import Case, SideName
from bench.runner import Measured
from bench.statistics import Interval, median, median_interval, ratio, ratio_interval

RESULTS = Path(__file__).parent / "results"
BASELINES = RESULTS / "baselines"

CPU = "cpu_us"
"""The reading that is the servers' processor time of one operation."""

SIGNIFICANT_DIGITS = 6
"""Digits that are written: more than any of these clocks tells."""


class ResultsError(Exception):
    """A file of results is missing, or is none; the message says which and why."""


def case_results(case: Case, measured: Mapping[SideName, Measured], seed: int) -> dict[str, Any]:
    """Return what is written of one measured case."""
    raw = {name: [case.value(each) for each in side.samples_s] for name, side in measured.items()}
    mine = raw["ours"]
    result: dict[str, Any] = {
        "unit": case.unit,
        "direction": case.direction,
        "what": case.what,
        "samples": len(mine),
        "ours": median(mine),
        "ours_ci95": _ends(median_interval(mine, seed=seed)),
        "peer_name": case.peer_name,
    }
    if "peer" in raw:
        interval = ratio_interval(mine, raw["peer"], case.direction, seed=seed)
        result |= {
            "peer": median(raw["peer"]),
            "peer_ci95": _ends(median_interval(raw["peer"], seed=seed)),
            "ratio": ratio(mine, raw["peer"], case.direction),
            "ci95": _ends(interval),
        }
        if case.target is not None:
            result |= {"target": case.target, "verdict": interval.verdict(case.target)}
    _add_readings(result, case, measured, seed)
    if case.limit is not None:
        low, high = result["ours_ci95"]
        met = "pass" if high < case.limit else "fail" if low >= case.limit else "none"
        result |= {"limit": case.limit, "verdict": met}
    if figures := case.figures():
        result["figures"] = dict(figures)
    first = {name: case.value(side.first_s) for name, side in measured.items() if side.first_s}
    if first:
        result["first"] = first
    cost = result["cost"] = {name: side.cost(case) for name, side in measured.items()}
    if "peer" in cost and "cpu_ratio" not in result and (own := cpu_s(cost["ours"])) > 0:
        result["cpu_ratio"] = cpu_s(cost["peer"]) / own
    result |= {"calls": {name: side.calls for name, side in measured.items()}, "raw": raw}
    rounded: dict[str, Any] = _rounded(result)
    return rounded


def _add_readings(
    result: dict[str, Any], case: Case, measured: Mapping[SideName, Measured], seed: int
) -> None:
    """Add what samples that were taken by the operations themselves say besides the rate.

    The verdict is then that of all targets together: one that was missed is missed.
    """
    if not measured["ours"].readings:
        return
    found: dict[str, Any] = {}
    for name in measured["ours"].readings[0].figures:
        raw = {
            side: [reading.figures[name] for reading in each.readings]
            for side, each in measured.items()
        }
        one: dict[str, Any] = {side: median(values) for side, values in raw.items()} | {"raw": raw}
        if "peer" in raw and min(*raw["ours"], *raw["peer"]) > 0:
            interval = ratio_interval(raw["ours"], raw["peer"], "time", seed=seed)
            one |= {
                "ratio": ratio(raw["ours"], raw["peer"], "time"),
                "ci95": _ends(interval),
            }
            if (target := case.targets.get(name)) is not None:
                one |= {"target": target, "verdict": interval.verdict(target)}
        found[name] = one
    result["readings"] = found
    if "ratio" in result:
        result |= {"throughput_ratio": result["ratio"], "throughput_ci95": result["ci95"]}
    if "ratio" in found.get(CPU, {}):
        result |= {"cpu_ratio": found[CPU]["ratio"], "cpu_ci95": found[CPU]["ci95"]}
    verdicts = [each["verdict"] for each in (result, *found.values()) if "verdict" in each]
    if verdicts:
        result["verdict"] = min(verdicts, key=("fail", "none", "pass").index)


def cpu_s(cost: Mapping[str, float]) -> float:
    """Return the processor time in a case's cost: of this process, its children and servers."""
    return cost["cpu_s"] + cost["children_cpu_s"] + cost["servers_cpu_s"]


def skipped(case_unit: str, reason: str, target: float | None = None) -> dict[str, Any]:
    """Return what is written of a case that could not run here."""
    wanted = {} if target is None else {"target": target}
    return {"unit": case_unit, "samples": 0, "skipped": reason} | wanted


def failed(case_unit: str, reason: str) -> dict[str, Any]:
    """Return what is written of a case that broke while it ran."""
    return {"unit": case_unit, "samples": 0, "failed": reason}


def compare(results: dict[str, Any], baseline: Mapping[str, Any], name: str, seed: int) -> None:
    """Add to each case how it stands to the same case of an older run of ours.

    The runs are not paired, so the interval is wider than that of a peer.
    """
    for case, result in results["cases"].items():
        old = baseline["cases"].get(case)
        if not old or not old["samples"] or not result["samples"] or old["unit"] != result["unit"]:
            continue
        mine, before, direction = result["raw"]["ours"], old["raw"]["ours"], result["direction"]
        interval = ratio_interval(mine, before, direction, seed=seed, is_paired=False)
        result["baseline"] = _rounded(
            {
                "name": name,
                "ours": old["ours"],
                "ratio": ratio(mine, before, direction),
                "ci95": _ends(interval),
                "change": _change(interval),
            }
        )


def baseline_path(name: str) -> Path:
    """Return where a baseline is kept.

    Raises:
        ResultsError: the name could not be a file's.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ResultsError(f"{name!r} is no name of a baseline: letters, digits, '.', '_' and '-'")
    return BASELINES / f"{name}.json"


def save(results: Mapping[str, Any], path: Path) -> None:
    """Write results, with the folders that lead there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def load(path: Path) -> dict[str, Any]:
    """Return the results that a file holds.

    Raises:
        ResultsError: it cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text())
    except OSError as exc:
        raise ResultsError(f"{path}: {exc.strerror}") from None
    except ValueError as exc:
        raise ResultsError(f"{path} is not JSON: {exc}") from None
    if not isinstance(found, dict) or not isinstance(found.get("machine"), dict):
        raise ResultsError(f"{path} holds no results, expected {{machine, cases}}")
    cases = found.get("cases")
    if not isinstance(cases, dict) or not all(
        isinstance(case, dict) and {"unit", "samples"} <= set(case) for case in cases.values()
    ):
        raise ResultsError(f"{path} holds no results, expected unit and samples in every case")
    return found


def _change(interval: Interval) -> str:
    if interval.low > 1:
        return "better"
    return "worse" if interval.high < 1 else "no difference shown"


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        case dict():
            return {key: _rounded(entry) for key, entry in value.items()}
        case list():
            return [_rounded(entry) for entry in value]
        case _:
            return value
