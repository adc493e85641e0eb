"""Samples that operations take themselves: in pairs, with a ratio and a target for each reading."""

import os
from contextlib import asynccontextmanager

import pytest

from bench.case import Case, Reading
from bench.report import page
from bench.results import CPU, case_results
from bench.runner import SMOKE, Plan, measure
from bench.table import lines_of
from bench.tree import ProcessTree
from bench.wrk import read

PLAN = Plan(repetitions=6, cold_repetitions=5, effort=0.5)


def sampler(seen, name, requests, cpu_us):
    async def sample(effort):
        seen.append((name, effort))
        return Reading(elapsed_s=2.0, operations=requests, figures={CPU: cpu_us, "p99_ms": 1.0})

    return sample


def case(seen, **fields):
    return Case(
        **{
            "name": "c",
            "what": "what",
            "ours": sampler(seen, "ours", 400, 10.0),
            "peer": sampler(seen, "peer", 100, 30.0),
            "unit": "op/s",
            "is_sampled": True,
            "warm_up": 1,
            "target": 2.0,
            "targets": {CPU: 2.0},
            **fields,
        }
    )


async def results(**fields):
    one = case([], **fields)
    return case_results(one, await measure(one, PLAN), seed=1)


async def test_samples_are_taken_in_pairs_each_the_other_way_round():
    seen = []
    await measure(case(seen), PLAN)
    names = [name for name, _ in seen[2:]]
    assert names[0:2] != names[2:4]
    assert names == names[0:4] * 3
    assert {effort for _, effort in seen} == {0.5}


async def test_throughput_and_processor_time_have_a_ratio_each():
    found = await results()
    assert (found["ours"], found["peer"]) == (200.0, 50.0)
    assert (found["ratio"], found["throughput_ratio"], found["cpu_ratio"]) == (4.0, 4.0, 3.0)
    assert found["throughput_ci95"] == [4.0, 4.0]
    assert found["cpu_ci95"] == [3.0, 3.0]
    assert found["readings"]["p99_ms"]["ratio"] == 1.0
    assert found["readings"][CPU]["raw"] == {"ours": [10.0] * 6, "peer": [30.0] * 6}


@pytest.mark.parametrize(
    ("target", "cpu_target", "verdict"),
    [(2.0, 2.0, "pass"), (5.0, 2.0, "fail"), (2.0, 5.0, "fail"), (5.0, 5.0, "fail")],
)
async def test_a_case_passes_when_both_targets_are_met(target, cpu_target, verdict):
    found = await results(target=target, targets={CPU: cpu_target})
    assert found["verdict"] == verdict


async def test_a_case_runs_within_its_surroundings():
    seen = []

    @asynccontextmanager
    async def around(effort):
        seen.append("in")
        yield
        seen.append("out")

    await measure(case(seen, around=around), SMOKE)
    assert (seen[0], seen[-1], len(seen)) == ("in", "out", 4)


async def test_readings_are_shown_in_the_table_and_in_the_report():
    cases = {"c": await results()}
    assert "c: cpu_us 10 to 30 = 3 (3 .. 3, pass at 2), p99_ms 1 to 1" in lines_of(cases)[-1]
    html = page([("a", {"machine": {}, "cases": cases})])
    assert "c, cpu" in html
    assert "cpu_us: ours 10 to 30 = 3" in html


def test_the_last_line_of_wrk_is_read():
    said = (
        "Running 2s test @ http://127.0.0.1:1/\n"
        '{"requests": 4000, "elapsed_us": 2000000, "p50_us": 500, "p99_us": 1500, "failed": 0}\n'
    )
    found = read(said)
    assert (found.requests, found.elapsed_s, found.p50_ms, found.p99_ms) == (4000, 2.0, 0.5, 1.5)


@pytest.mark.parametrize(("requests", "failed"), [(0, 0), (10, 1)])
def test_a_run_with_failed_answers_counts_for_nothing(requests, failed):
    with pytest.raises(AssertionError, match="answer"):
        read(f'{{"requests": {requests}, "elapsed_us": 1, "p50_us": 1, "p99_us": 1, '
             f'"failed": {failed}}}')  # fmt: skip


def test_a_process_is_read_with_what_it_started():
    tree = ProcessTree(os.getpid())
    assert os.getpid() in tree.pids()
    assert tree.cpu_s() > 0
    assert tree.peak_bytes() > 1 << 20
    assert ProcessTree(2**22 + 1).cpu_s() == 0.0
