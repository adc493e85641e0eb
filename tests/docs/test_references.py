"""What the pages refer to is there: other pages, headings, tests, and fields of manifests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from ruamel.yaml import YAML

from lattice.model.manifest import parse_deployment
from tests.docs.pages import ROOT, anchors_of, blocks_of, commands_of, is_shown, links_of, pages

DIGEST = "sha256:" + "0" * 64
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
FAULTS = ROOT / "docs" / "failure-modes.md"
PITFALLS = ROOT / "docs" / "explanation" / "pitfalls-of-the-engine.md"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in links_of(page):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        found = (page.parent / unquote(target)).resolve() if target else page
        is_there = found.exists() and found.is_relative_to(ROOT)
        if not is_there or (anchor and found.suffix == ".md" and anchor not in anchors_of(found)):
            lost.append(link)
    assert lost == []


def test_the_index_names_every_page() -> None:
    folder = ROOT / "docs"
    index = folder / "README.md"
    named = {(folder / link.partition("#")[0]).resolve() for link in links_of(index)}
    decisions = set((folder / "decisions").glob("*.md"))  # their folder is named
    assert set(folder.rglob("*.md")) - decisions - named == {index}


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_manifest_can_be_read(page: Path) -> None:
    for block in blocks_of(page):
        if block.language != "yaml" or block.mark == "not run":
            continue
        for document in YAML(typ="safe", pure=True).load_all(block.text):
            if document is not None:  # a comment alone
                parse_deployment(completed(document))


def completed(part: dict[str, object]) -> dict[str, object]:
    """Return a part of a manifest with the least that makes it a whole one."""
    whole: dict[str, object] = {"lattice": "v1", "name": "part", **part}
    if "components" not in whole and "services" not in whole:
        whole["components"] = [{"name": "part", "image": DIGEST}]
    return whole


@pytest.mark.parametrize("page", [FAULTS, PITFALLS], ids=name)
def test_faults_name_tests_that_exist(page: Path) -> None:
    named = TEST.findall(page.read_text(encoding="utf-8"))
    assert named, "the page names tests"
    assert [each for each in named if each[1] not in functions_of(each[0])] == []


@cache
def functions_of(path: str) -> frozenset[str]:
    file = ROOT / path
    if not file.exists():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        ((), "anything", True),
        (("a  b",), "a b\n", True),
        (("a ... c",), "a b b c", True),
        (("a", "...", "c"), "a\nb\nb\nc\n", True),
        (("a.c",), "abc", False),
        (("a",), "a\nb", False),
    ],
)
def test_three_dots_stand_for_anything_and_nothing_else_does(
    shown: tuple[str, ...], output: str, expected: bool
) -> None:
    assert is_shown(shown, output) is expected


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        command.text.split()[1]
        for page in pages()
        for block in blocks_of(page)
        for command in commands_of(block)
        if command.program == "make"
    }
    assert named
    assert sorted(named - targets) == []
