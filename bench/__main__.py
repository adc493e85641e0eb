"""The command `python -m bench`: measure a suite or a case, or draw a report of results.

python -m bench NAME [--json FILE] [--quick | --smoke] [--save-baseline NAME | --baseline NAME]
python -m bench list
python -m bench openb --nodes FILE --pods FILE [--seeds 10] --json FILE
python -m bench report FILE... -o out.html

Exit codes: 0 done, 1 a target was missed or a case failed, 2 the command line or a file is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from bench import openb
from bench.case import Case, LeftOut, UnavailableError
from bench.machine import describe, load_average
from bench.report import page
from bench.results import (
    RESULTS,
    ResultsError,
    baseline_path,
    case_results,
    compare,
    failed,
    load,
    save,
    skipped,
)
from bench.runner import QUICK, SMOKE, Plan, add_instructions, measure, measure_cold, run_once
from bench.suites import Suite, all_suites, known_names, select
from bench.table import lines_of
from hosts.engine.heap import tuned

MISSED, WRONG = 1, 2


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    try:
        match list(arguments):
            case ["report", *rest]:
                return _report(_report_parser().parse_args(rest))
            case ["once", suite, case, side, calls]:
                return anyio.run(_once, all_suites()[suite], case, side, int(calls))
            case ["openb", *rest]:
                return openb.main(rest)
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
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="few short samples, for a look")
    length.add_argument("--smoke", action="store_true", help="each side once: only that it runs")
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
    plan = QUICK if options.quick else SMOKE if options.smoke else Plan()
    plan = replace(plan, seed=options.seed)
    results: dict[str, Any] = {"machine": describe() | {"seed": options.seed}, "cases": {}}
    began_s = time.monotonic()
    anyio.run(run, suites, wanted, plan, results["cases"])
    results["machine"] |= {
        "load_average_after": load_average(),
        "took_s": round(time.monotonic() - began_s, 1),
    }
    if baseline is not None:
        compare(results, baseline, options.baseline, options.seed)
    for path in filter(None, (options.json or RESULTS / f"{options.name}.json", kept)):
        save(results, path)
        print(f"wrote {path}", file=sys.stderr)
    print("\n".join(lines_of(results["cases"])))
    missed = [name for name, case in results["cases"].items() if case.get("verdict") == "fail"]
    broken = [name for name, case in results["cases"].items() if "failed" in case]
    if missed and not options.smoke:
        print(f"bench: target missed by {', '.join(missed)}", file=sys.stderr)
    if broken:
        print(f"bench: failed: {', '.join(broken)}", file=sys.stderr)
    return MISSED if broken or (missed and not options.smoke) else 0


async def run(
    suites: dict[str, Suite],
    wanted: dict[str, tuple[str, ...]],
    plan: Plan,
    results: dict[str, Any],
) -> None:
    """Measure the wanted cases of each suite, and write what came out into `results`.

    What cannot run here is written as skipped; a case that fails is told and written, and the
    others go on.
    """
    began_s, total = time.monotonic(), sum(len(names) for names in wanted.values())
    done = 0
    for suite, names in wanted.items():
        try:
            async with suites[suite].open(names) as cases:
                for case in cases:
                    done += 1
                    passed_s = time.monotonic() - began_s
                    print(f"[{done}/{total}, {passed_s:.0f} s] {case.name}", file=sys.stderr)
                    await _run_or_tell(suite, case, plan, results)
        except UnavailableError as exc:
            for name in names:
                results.setdefault(name, skipped("s", str(exc)))
        except Exception as exc:  # noqa: BLE001 (a suite that does not open spares the others)
            traceback.print_exc()
            for name in names:
                results.setdefault(name, failed("s", repr(exc)))


async def _run_or_tell(
    suite: str, case: Case | LeftOut, plan: Plan, results: dict[str, Any]
) -> None:
    if isinstance(case, LeftOut):
        results[case.name] = skipped(case.unit, case.reason, case.target)
        return
    try:
        await _run_case(suite, case, plan, results)
    except Exception as exc:  # noqa: BLE001 (one case that fails spares the others)
        traceback.print_exc()
        results[case.name] = failed(case.unit, repr(exc))


async def _run_case(suite: str, case: Case, plan: Plan, results: dict[str, Any]) -> None:
    measured = await measure(case, plan)
    if plan.has_instructions and case.is_cold_too:
        add_instructions(suite, case, measured)
    results[case.name] = case_results(case, measured, plan.seed)
    if case.is_cold_too and not plan.is_smoke:
        cold = await measure_cold(suite, case, plan)
        fresh = replace(case, what=f"{case.what}; the first call in a fresh process", target=None)
        results[f"{case.name}_cold"] = case_results(fresh, cold, plan.seed)


async def _once(suite: Suite, name: str, side: str, calls: int) -> int:
    async with suite.open((name,)) as cases:
        case = cases[0]
        if isinstance(case, LeftOut):
            raise ResultsError(f"{name} cannot run here: {case.reason}")
        print(json.dumps(await run_once(case, "peer" if side == "peer" else "ours", calls)))
    return 0


if __name__ == "__main__":
    if (environment := tuned(os.environ)) != dict(os.environ):
        # As the processes that run guests are started; a process cannot do it to itself later.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    sys.exit(main(sys.argv[1:]))
