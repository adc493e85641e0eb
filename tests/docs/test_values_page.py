"""The page on values says what is so: its examples are run, one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from hosts.engine.codec.compiled import DEPTH_MAX, PARTS_MAX
from hosts.engine.frames import FRAME_DATA_BYTES_MAX
from hosts.engine.layout import LIST_LENGTH_MAX
from tests.docs.pages import ROOT, blocks_of

PAGE = ROOT / "docs" / "reference" / "values.md"


@pytest.mark.wasm
def test_examples_on_the_page_of_values_are_true() -> None:
    space: dict[str, Any] = {"__name__": "page"}
    blocks = [block for block in blocks_of(PAGE) if block.language == "python"]
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block.text, str(block), "exec"), space)


def test_limits_on_the_page_of_values_are_those_of_the_engine() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"| {LIST_LENGTH_MAX // 2**20} Mi " in text
    assert f"| {FRAME_DATA_BYTES_MAX // 2**20} MiB |" in text
    assert f"| {PARTS_MAX}, {DEPTH_MAX} deep" in text
