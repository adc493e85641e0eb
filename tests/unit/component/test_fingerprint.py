"""When two function types are the same, and how a difference is told."""

from __future__ import annotations

import subprocess
import sys

from lattice.component.fingerprint import function_fingerprint, interface_mismatch
from lattice.component.types import (
    BorrowType,
    Function,
    Interface,
    ListType,
    NamedType,
    OptionType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
)

STRING, U32, U64 = Primitive("string"), Primitive("u32"), Primitive("u64")


def function(*params: tuple[str, WitType], result: WitType | None = None) -> Function:
    return Function(params=params, result=result)


def hit(line: WitType, interface: str = "docs:search/query@0.1.0", name: str = "hit") -> WitType:
    return NamedType(interface, name, RecordType((("title", STRING), ("line", line))))


def handle(interface: str) -> Function:
    return function(("self", BorrowType(ResourceType(interface, "cursor"))))


def test_a_fingerprint_is_the_same_in_every_release_and_process() -> None:
    search = function(("query", STRING), ("limit", U32), result=ListType(hit(U32)))

    assert function_fingerprint(search) == "d1b78ec8c3fb76de"
    code = (
        "from lattice.component.fingerprint import function_fingerprint as f;"
        "from lattice.component.types import Function, Primitive;"
        "print(f(Function(params=(('a', Primitive('u8')),))))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == function_fingerprint(function(("a", Primitive("u8"))))


def test_names_of_types_do_not_count() -> None:
    one = function(("at", hit(U32)))
    other = function(("at", hit(U32, "docs:other/types", "place")))

    assert function_fingerprint(one) == function_fingerprint(other)


def test_names_of_parameters_and_fields_count() -> None:
    found = {
        function_fingerprint(each)
        for each in (
            function(("a", STRING)),
            function(("b", STRING)),
            function(("a", RecordType((("x", STRING),)))),
            function(("a", RecordType((("y", STRING),)))),
            function(("a", VariantType((("x", STRING),)))),
            function(("a", TupleType((STRING,)))),
            function(("a", ListType(STRING))),
            function(("a", ListType(STRING, 2))),
            function(("a", OptionType(STRING))),
            function(result=ResultType(STRING, None)),
            function(result=ResultType(None, STRING)),
        )
    }
    assert len(found) == 11


def test_a_resource_is_known_by_its_interface_in_one_track_of_versions() -> None:
    fingerprint = function_fingerprint(handle("docs:a/b@0.2.1"))

    assert function_fingerprint(handle("docs:a/b@0.2.9")) == fingerprint
    assert function_fingerprint(handle("docs:a/b@0.3.0")) != fingerprint
    assert function_fingerprint(handle("docs:a/c@0.2.1")) != fingerprint


def test_being_async_does_not_change_the_fingerprint() -> None:
    waiting = Function(params=(("a", STRING),), is_async=True)

    assert function_fingerprint(waiting) == function_fingerprint(function(("a", STRING)))


def interface(**functions: Function) -> Interface:
    return Interface(name="docs:a/b", functions=functions)


def test_an_export_may_offer_more_than_is_wanted() -> None:
    wanted = interface(find=function(("q", STRING)))
    offered = interface(find=function(("q", STRING)), more=function())

    assert interface_mismatch(wanted, offered) == []


def test_a_missing_function_is_named_with_the_nearest() -> None:
    lines = interface_mismatch(
        interface(search=function(("q", STRING))), interface(serach=function(("q", STRING)))
    )

    assert lines == [
        (
            "function 'search' is wanted as `search: func(q: string)`, but not offered "
            "(nearest: 'serach')"
        )
    ]


def test_a_difference_is_told_where_it_is() -> None:
    wanted = function(("q", STRING), result=ResultType(ListType(hit(U32)), None))
    offered = function(("q", STRING), result=ResultType(ListType(hit(U64)), None))

    assert interface_mismatch(interface(find=wanted), interface(find=offered)) == [
        "function 'find' differs in result.ok.element.line: wanted `u32`, offered `u64`"
    ]


def test_every_differing_function_is_told() -> None:
    wanted = interface(
        a=function(("x", STRING)),
        b=function(("x", STRING)),
        c=function(result=STRING),
        d=handle("docs:a/b@1.0.0"),
        e=Function(is_async=True),
    )
    offered = interface(
        a=function(("y", STRING)),
        b=function(("x", VariantType((("yes", None),)))),
        c=function(),
        d=handle("docs:a/b@2.0.0"),
        e=Function(),
    )

    assert interface_mismatch(wanted, offered) == [
        "function 'a' differs in parameters: wanted `func(x: string)`, offered `func(y: string)`",
        "function 'b' differs in parameter x: wanted `string`, offered `variant { yes }`",
        "function 'c' differs in result: wanted `string`, offered `nothing`",
        (
            "function 'd' differs in parameter self.resource: wanted `resource docs:a/b@1#cursor`, "
            "offered `resource docs:a/b@2#cursor`"
        ),
        "function 'e' differs in being async: wanted `e: async func()`, offered `e: func()`",
    ]
