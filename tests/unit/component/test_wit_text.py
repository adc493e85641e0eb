"""WIT text of components, with the component tools as oracle."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lattice.component.reader import read_component
from lattice.component.types import (
    ComponentType,
    Function,
    Interface,
    ListType,
    NamedType,
    Primitive,
    RecordType,
    TupleType,
)
from lattice.component.wit_text import function_signature, to_wit
from tests.guests import components
from tests.unit.component.building import SEARCH, SYNTAX, from_wit, wit_by_tools


def lines(text: str) -> list[str]:
    """Lines in an order of their own: the tools sort packages and types in theirs."""
    return sorted(line.strip() for line in text.splitlines() if line.strip())


@pytest.mark.parametrize("source", [SEARCH, SYNTAX], ids=["search", "syntax"])
def test_the_tools_read_the_text_as_they_read_the_component(source: str) -> None:
    body = from_wit(source)

    assert lines(wit_by_tools(to_wit(read_component(body)))) == lines(wit_by_tools(body))


@pytest.mark.parametrize("guest", [components.values, components.talker, components.greeter])
def test_the_tools_read_the_text_of_guests_too(guest: Callable[[], bytes]) -> None:
    body = guest()

    assert lines(wit_by_tools(to_wit(read_component(body)))) == lines(wit_by_tools(body))


def test_a_type_of_an_interface_that_is_not_exported_gets_its_home() -> None:
    hit = NamedType("docs:types/hits@1.0.0", "hit", RecordType((("a", Primitive("u8")),)))
    find = Function(result=ListType(hit), docs="Finds.\nAll of them.")
    query = Interface(name="docs:search/query", functions={"find": find}, docs="Searching.")

    text = to_wit(ComponentType(exports={"docs:search/query": query}))

    assert text == "\n".join(
        [
            "package root:component;",
            "",
            "world root {",
            "  export docs:search/query;",
            "}",
            "package docs:search {",
            "  /// Searching.",
            "  interface query {",
            "    use docs:types/hits@1.0.0.{hit};",
            "    /// Finds.",
            "    /// All of them.",
            "    find: func() -> list<hit>;",
            "  }",
            "}",
            "package docs:types@1.0.0 {",
            "  interface hits {",
            "    record hit {",
            "      a: u8,",
            "    }",
            "  }",
            "}",
            "",
        ]
    )
    assert "use docs:types/hits@1.0.0.{hit};" in wit_by_tools(text)


def test_two_types_of_one_name_get_two_names_where_both_are_used() -> None:
    a = NamedType("x:a/a", "t", Primitive("u8"))
    b = NamedType("x:b/b", "t", Primitive("u16"))
    user = Interface(name="x:c/c", functions={"f": Function(result=TupleType((a, b)))})

    text = to_wit(ComponentType(exports={"x:c/c": user}))

    assert "f: func() -> tuple<t, t-x>;" in text
    assert "use x:b/b.{t as t-x};" in text
    wit_by_tools(text)


def test_a_component_without_imports_and_exports_has_an_empty_world() -> None:
    assert to_wit(ComponentType()) == "package root:component;\n\nworld root {\n}\n"


def test_a_signature_is_one_line() -> None:
    hit = NamedType("docs:a/b", "hit", RecordType((("title", Primitive("string")),)))
    search = Function(
        params=(("query", Primitive("string")), ("limit", Primitive("u32"))), result=ListType(hit)
    )

    assert (
        function_signature("search", search)
        == "search: func(query: string, limit: u32) -> list<hit>"
    )
