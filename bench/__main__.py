"""The command `python -m bench`: measure a suite or a case, or draw a report of results.

python -m bench NAME [--json FILE] [--quick] [--save-baseline NAME | --baseline NAME]
python -m bench list
python -m bench report FILE... -o out.html

Exit codes: 0 done, 1 a target was missed, 2 the command line or a file is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from bench.case import Case, UnavailableError
from bench.machine import describe
from bench.report import page
from bench.results import (
    RESULTS,
    ResultsError,
    baseline_path,
    case_results,
    compare,
    load,
    save,
    skipped,
)
from bench.runner import QUICK, Plan, add_instructions, measure, measure_cold, run_once
from bench.suites import Suite, all_suites, known_names, select
from bench.table import lines_of

MISSED, WRONG = 1, 2


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    try:
        match list(arguments):
            case ["report", *rest]:
                return _report(_report_parser().parse_args(rest))
            case ["once", suite, case, side, calls]:
                return anyio.run(_once, all_suites()[suite], case, side, int(calls))
            case ["list"]:
                print(known_names(all_suites()))
                return 0
            case _:
                return _measure(_parser().parse_args(arguments))
    except ResultsError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the product against its peers; ratios above 1 are better for ours.",
        epilog="Also: `python -m bench list`, `python -m bench report FILE... -o out.html`.",
    )
    parser.add_argument("name", help="all, a suite, or one of its cases")
    parser.add_argument("--json", type=Path, help="where results go (else bench/results/NAME.json)")
    parser.add_argument("--quick", action="store_true", help="few short samples, for a look")
    parser.add_argument("--seed", type=int, default=1, help="of the order and of the intervals")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--save-baseline", metavar="NAME", help="keep the results to compare with")
    group.add_argument("--baseline", metavar="NAME", help="compare with kept results")
    return parser


def _report_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench report")
    parser.add_argument("files", type=Path, nargs="+", help="results of `python -m bench`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the HTML page")
    return parser


def _report(options: argparse.Namespace) -> int:
    found = [(path.stem, load(path)) for path in options.files]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page(found), encoding="utf-8")
    print(f"wrote {options.output}")
    return 0


def _measure(options: argparse.Namespace) -> int:
    suites = all_suites()
    wanted = select(options.name, suites)
    if not wanted:
        print(f"bench: unknown name {options.name!r}, {known_names(suites)}", file=sys.stderr)
        return WRONG
    baseline = load(baseline_path(options.baseline)) if options.baseline else None
    kept = baseline_path(options.save_baseline) if options.save_baseline else None
    plan = replace(QUICK if options.quick else Plan(), seed=options.seed)
    results: dict[str, Any] = {"machine": describe() | {"seed": options.seed}, "cases": {}}
    anyio.run(_run, suites, wanted, plan, results["cases"])
    if baseline is not None:
        compare(results, baseline, options.baseline, options.seed)
    for path in filter(None, (options.json or RESULTS / f"{options.name}.json", kept)):
        save(results, path)
        print(f"wrote {path}", file=sys.stderr)
    print("\n".join(lines_of(results["cases"])))
    missed = [name for name, case in results["cases"].items() if case.get("verdict") == "fail"]
    if missed:
        print(f"bench: target missed by {', '.join(missed)}", file=sys.stderr)
    return MISSED if missed else 0


async def _run(
    suites: dict[str, Suite],
    wanted: dict[str, tuple[str, ...]],
    plan: Plan,
    results: dict[str, Any],
) -> None:
    for suite, names in wanted.items():
        try:
            async with suites[suite].open(names) as cases:
                for case in cases:
                    print(f"{suite}: {case.name}", file=sys.stderr)
                    await _run_case(suite, case, plan, results)
        except UnavailableError as exc:
            for name in names:
                results.setdefault(name, skipped("s", str(exc)))


async def _run_case(suite: str, case: Case, plan: Plan, results: dict[str, Any]) -> None:
    measured = await measure(case, plan)
    if plan.has_instructions and case.is_cold_too:
        add_instructions(suite, case, measured)
    results[case.name] = case_results(case, measured, plan.seed)
    if case.is_cold_too:
        cold = await measure_cold(suite, case, plan)
        fresh = replace(case, what=f"{case.what}; the first call in a fresh process", target=None)
        results[f"{case.name}_cold"] = case_results(fresh, cold, plan.seed)


async def _once(suite: Suite, name: str, side: str, calls: int) -> int:
    async with suite.open((name,)) as cases:
        print(json.dumps(await run_once(cases[0], "peer" if side == "peer" else "ours", calls)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
