"""The HTTP bench runs, and says what its peer did."""

from __future__ import annotations

from typing import Any

import pytest

from bench.__main__ import run
from bench.runner import SMOKE
from bench.suites import all_suites, select

pytestmark = [pytest.mark.wasm, pytest.mark.timeout(400)]  # the first run compiles large guests

TARGETS = {
    "fresh_vs_serve_default": 2.5,
    "fresh_vs_serve_pooling": 1.2,
    "warm_vs_serve_reuse": 1.0,
    "js_fresh_vs_serve": 3.0,
}


REPEATED = {
    "fresh_varied_vs_serve_pooling", "warm_varied_vs_serve_reuse", "js_fresh_vs_serve_pooling",
    "reuse_gain_python",
}  # fmt: skip
"""Cases that differ from others in an option alone."""


async def test_http_is_measured_against_its_peer() -> None:
    suites = all_suites()
    known = select("http", suites)
    wanted = {
        suite: tuple(name for name in names if name not in REPEATED)
        for suite, names in known.items()
    }
    results: dict[str, Any] = {}
    await run(suites, wanted, SMOKE, results)
    assert set(results) == {name for names in wanted.values() for name in names}
    assert set(results) >= {*TARGETS, "reuse_gain", "forwarded_vs_local", "stream_1g_echo"}
    assert not {name: case["failed"] for name, case in results.items() if "failed" in case}
    for name, case in results.items():
        if "skipped" in case:
            assert case["skipped"], f"{name} says why"
            continue
        assert case["throughput_ratio"] > 0
        assert case["cpu_ratio"] > 0
        if name in TARGETS:
            assert case["target"] == TARGETS[name]
            assert case["readings"]["cpu_us"]["target"] == TARGETS[name]
