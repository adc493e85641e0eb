"""The text around a composition holds what the parts import, whatever their names are."""

from __future__ import annotations

import pytest

from hosts.engine.merging import Wanted, merge_imports
from hosts.engine.skeleton import build_skeleton
from lattice.component.types import (
    ComponentType,
    Function,
    Interface,
    NamedType,
    Primitive,
    RecordType,
    ResourceType,
)
from lattice.errors import InvalidError

U32 = Primitive("u32")


def interface(name: str, **functions: Function) -> Interface:
    return Interface(name=name, functions=functions)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ('a"(import', r'"a\22(import"'),
        ("a\\22", r'"a\5c22"'),
        ("a\n;;", r'"a\0a;;"'),
        ("ä", r'"\c3\a4"'),
    ],
)
def test_name_cannot_end_its_string(name: str, written: str) -> None:
    wanted = Wanted(name, name)
    wanted.add("part", name, interface(name, run=Function()))
    assert f"(import {written} " in build_skeleton({name: wanted}).text


def test_indices_count_only_what_stands_at_the_root() -> None:
    point = NamedType("a:b/c", "point", RecordType((("x", U32), ("y", U32))))
    first = Interface(name="a:b/c", types={"point": point}, functions={"f": Function(result=point)})
    second = Interface(
        name="a:b/d", types={"point": point}, functions={"g": Function(params=(("p", point),))}
    )
    root = interface("", h=Function(result=U32))
    component = ComponentType(imports={"a:b/c": first, "a:b/d": second, "": root})
    skeleton = build_skeleton(merge_imports({"part": component}, ()))
    assert skeleton.instances == {"a:b/c": 0, "a:b/d": 1}
    assert skeleton.functions == {"h": 0}
    # two instance types, the alias of `point` between them, and the type of `h`
    assert skeleton.type_count == 4


def test_linked_imports_are_left_out() -> None:
    component = ComponentType(imports={"a:b/c": interface("a:b/c"), "a:b/d": interface("a:b/d")})
    merged = merge_imports({"part": component}, {("part", "a:b/c", "")})
    assert list(merged) == ["a:b/d"]


def test_interfaces_that_use_each_other_in_a_circle_are_refused() -> None:
    one = ResourceType("a:b/one", "r")
    two = ResourceType("a:b/two", "s")
    component = ComponentType(
        imports={
            "a:b/one": Interface(name="a:b/one", types={"r": one, "s": two}),
            "a:b/two": Interface(name="a:b/two", types={"s": two, "r": one}),
        }
    )
    with pytest.raises(InvalidError, match="in a circle: a:b/one -> a:b/two -> a:b/one"):
        build_skeleton(merge_imports({"part": component}, ()))
