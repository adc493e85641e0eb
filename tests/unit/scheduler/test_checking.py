"""Types across links, by example."""

from __future__ import annotations

from scheduler.checking import link_differences

EXPOSED = {"docs:dict/lookup@1.2.0": {"find": "f1", "count": "c1"}, "": {"run": "r1"}}


def test_link_fits_when_every_wanted_function_has_the_same_type() -> None:
    wanted = {"find": "f1"}
    assert link_differences("dictionary", "docs:dict/lookup@1.0.0", wanted, EXPOSED) == []


def test_link_to_an_interface_that_is_not_exposed_says_what_is() -> None:
    (line,) = link_differences("dictionary", "docs:dict/lookup@2.0.0", {}, EXPOSED)
    assert line == (
        "deployment dictionary does not expose docs:dict/lookup@2.0.0, "
        "it exposes docs:dict/lookup@1.2.0, functions at the root"
    )


def test_missing_functions_and_other_types_are_all_listed() -> None:
    wanted = {"count": "other", "find": "f1", "remove": "x"}
    lines = link_differences("dictionary", "docs:dict/lookup@1.0.0", wanted, EXPOSED)
    assert len(lines) == 2
    assert "docs:dict/lookup@1.0.0#count has the type c1" in lines[0]
    assert "exposes docs:dict/lookup@1.0.0 without 'remove'" in lines[1]
