"""Adapters are made of two core modules: what that takes, and what is not halved."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from hosts.adapters.halving import halved
from hosts.adapters.http import build as http
from hosts.adapters.wasi import build as wasi
from lattice.component.reader import read_component
from tests.guests import web_guests

pytestmark = pytest.mark.wasm

TOOL = Path(sysconfig.get_path("scripts")) / "wasm-tools"


def text_of(path: Path) -> str:
    """Return a component as text."""
    done = subprocess.run([TOOL, "print", path], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A component that is not halved, with destructors of none."""
    path = tmp_path / "whole.wasm"
    path.write_bytes(web_guests.asker())
    return path


@pytest.mark.parametrize(
    "path", [wasi.ADAPTER, http.ADAPTER, http.LEAN, http.DRIVER], ids=lambda path: path.stem
)
def test_an_adapter_has_two_modules_and_no_table(path: Path) -> None:
    text = text_of(path)
    assert text.count("\n  (core module ") == 2
    assert "(table " not in text
    assert text.count("(data ") >= 1, "its memory is there from the start"


def test_a_halved_component_has_the_type_that_it_had(whole: Path, tmp_path: Path) -> None:
    text, half = tmp_path / "half.wat", tmp_path / "half.wasm"
    text.write_text(halved(text_of(whole)))
    subprocess.run([TOOL, "parse", text, "-o", half], check=True)
    subprocess.run([TOOL, "validate", half], check=True)
    before, after = (read_component(path.read_bytes()) for path in (whole, half))
    assert (before.imports, before.exports) == (after.imports, after.exports)


def test_what_is_halved_already_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a module, a shim and what fills it, found 2"):
        halved(text_of(http.DRIVER))


def test_tables_in_use_are_refused(whole: Path) -> None:
    text = text_of(whole).replace("i32.const 0\n", "i32.const 0\n    call_indirect\n", 1)
    with pytest.raises(ValueError, match="has tables in use"):
        halved(text)


def test_memory_may_not_be_taken_by_way_of_the_stack(whole: Path) -> None:
    text = text_of(whole)
    start = text.index("(func", text.index('(export "cabi_realloc"'))
    place = text.index("\n", text.index("(param", start))
    with pytest.raises(ValueError, match="uses the stack in memory"):
        halved(text[:place] + "\n      global.get 0\n      drop" + text[place:])
