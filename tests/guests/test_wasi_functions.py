"""Every function of WASI 0.2.12 is provided, or refused for a reason that is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from hosts.adapters.wasi import build
from hosts.engine.standard import WASI_INTERFACES, WASI_VERSION, is_wasi, own_functions
from lattice.component.reader import read_component

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "wasi.md"

FUNCTIONS = (HERE / "wasi-0.2.12.txt").read_text().split()
"""All functions of io, clocks, cli, filesystem, random and sockets: `interface#function`."""

NOT_PROVIDED = {
    "wasi:cli/run#run": "exported by guests",
    "wasi:clocks/timezone#display": "unstable",
    "wasi:clocks/timezone#utc-offset": "unstable",
}

ALWAYS_FAIL = {
    "wasi:filesystem/types#[method]descriptor.link-at",
    "wasi:filesystem/types#[method]descriptor.symlink-at",
}


def provided() -> set[str]:
    """Return the functions that guests get, from the adapter or from the engine itself."""
    exports = read_component(build.ADAPTER.read_bytes()).exports
    found = {
        f"{name.partition('@')[0]}#{function}"
        for name, interface in exports.items()
        for function in interface.functions
    }
    return found | {each for each in FUNCTIONS if each.partition("#")[2] in _own(each)}


def _own(function: str) -> set[str]:
    return set(own_functions(f"{function.partition('#')[0]}@{WASI_VERSION}") or ())


@pytest.mark.wasm
def test_every_function_is_provided_or_refused_for_a_reason() -> None:
    have = provided()
    assert set(FUNCTIONS) - have == set(NOT_PROVIDED)
    assert have <= set(FUNCTIONS)


def test_the_list_is_of_the_version_that_is_provided() -> None:
    assert f"wasi-{WASI_VERSION}.txt" == "wasi-0.2.12.txt"
    listed = {f"{each.partition('#')[0]}@{WASI_VERSION}" for each in FUNCTIONS if _is_given(each)}
    no_functions = {
        f"wasi:cli/{name}@{WASI_VERSION}" for name in ("terminal-input", "terminal-output")
    }
    assert listed == set(WASI_INTERFACES) - no_functions


def _is_given(function: str) -> bool:
    return function not in NOT_PROVIDED


@pytest.mark.parametrize("minor", range(13))
def test_every_patch_of_the_version_gets_it(minor: int) -> None:
    for name in WASI_INTERFACES:
        older = f"{name.partition('@')[0]}@0.2.{minor}"
        assert is_wasi(older) or own_functions(older) is not None


def test_what_is_refused_is_documented() -> None:
    page = PAGE.read_text()
    for function in (*NOT_PROVIDED, *ALWAYS_FAIL):
        name = function.partition("#")[2].rpartition(".")[2]
        assert f"`{name}`" in page, f"{function} is not in {PAGE.name}"
