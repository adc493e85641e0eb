"""Every case of the engine's bench runs, and says what its peer did."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench.__main__ import run
from bench.runner import SMOKE
from bench.suites import all_suites, select

pytestmark = pytest.mark.wasm

PAIRED = {
    "call_add", "call_string_100", "call_record_nested", "call_list_record_1000",
    "call_bytes_64k", "call_bytes_1m", "import_add", "import_string", "import_resource_method",
    "suspend", "composed_call_string", "passthrough_call", "reuse_vs_fresh_js",
    "cold_start_python_guest", "neighbour_of_spinning", "neighbour_of_allocating",
    "neighbour_of_recursing", "neighbour_of_flooding", "lazy_components",
}  # fmt: skip
ALONE = {"thousand_instances", "suspended_guests", "cancel_spinning"}


async def test_every_case_of_the_engine_is_measured_against_its_peer() -> None:
    suites = all_suites()
    wanted = select("engine", suites)
    results: dict[str, Any] = {}
    await run(suites, wanted, SMOKE, results)
    assert set(results) >= PAIRED | ALONE
    assert set(results) == {name for names in wanted.values() for name in names}
    assert not {name: case["failed"] for name, case in results.items() if "failed" in case}
    for name, case in results.items():
        if "skipped" in case:
            assert case["skipped"], f"{name} says why"
            continue
        assert math.isfinite(case["ours"])
        assert case["ours"] > 0
        if name in PAIRED:
            assert math.isfinite(case["ratio"])
            assert "target" in case
    assert "target" in results["reuse_vs_fresh_js"], "a case that is skipped says what was wanted"
    assert results["cancel_spinning"]["limit"] == 25.0
