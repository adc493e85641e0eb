"""The house rules that a machine can hold: sizes, docstrings, banned calls, names in place."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("lattice", "hosts", "scheduler")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60  # fifty lines of code and the docstring of an ordinary function

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in MODULES}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module_is_small_and_says_what_it_is_for(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    assert ast.get_docstring(TREES[path]), "a module opens with what it is for"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_functions_are_small(path):
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long


def test_no_module_is_a_drawer():
    banned = re.compile(r"(utils?|common|helpers?|misc|manager)s?\.py")
    assert not [name(path) for path in MODULES if banned.fullmatch(path.name)]


def test_only_the_command_line_prints():
    printing = [
        name(path)
        for path, tree in TREES.items()
        if "cli" not in path.parts
        and any(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
            for node in ast.walk(tree)
        )
    ]
    assert not printing


def test_subjects_are_spelled_in_one_place():
    spelling = re.compile(r"""["']lat\.|f["']lat\.""")
    found = [
        name(path)
        for path in MODULES
        if path.name != "subjects.py" and spelling.search(path.read_text())
    ]
    assert not found


def test_every_module_is_used():
    imported: set[str] = set()
    for path, tree in TREES.items():
        package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                base = node.module if not node.level else f"{package}.{node.module}"
                imported |= {base} | {f"{base}.{alias.name}" for alias in node.names}
            elif (
                # The command line names its verbs by import string ("lattice.cli.apply:apply").
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+(:\w+)?", node.value)
            ):
                imported.add(node.value.partition(":")[0])
    # What only people, tests of users and contract suites begin with.
    entrances = {
        "lattice.__main__",
        "lattice.testing",
        "lattice.pytest_plugin",
        "lattice.client.typed",  # what generated modules import
        "lattice.bus.memory",
        "hosts.engine.fake",
        "hosts.engine.binder",  # what a capability of one's own begins with
        "hosts.adapters.wasi.build",
    }
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in MODULES
        if path.name != "__init__.py" and 'if __name__ == "__main__":' not in path.read_text()
    }
    assert not sorted(set(modules) - imported - entrances)


def test_tests_do_not_sleep():
    sleeping = re.compile(r"\btime\.sleep\(|anyio\.sleep\((?!0\)|_)|asyncio\.sleep\((?!0\))")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if sleeping.search(line)
    ]
    assert not found


def test_import_directions_hold():
    result = subprocess.run(
        [ROOT / ".venv" / "bin" / "lint-imports", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
