"""Plain objects as interfaces of WIT: what fits, and that all that does not is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal

import pytest

from hosts.engine.binder import WitError, bind
from lattice.component.types import (
    BorrowType,
    EnumType,
    FlagsType,
    Function,
    Interface,
    ListType,
    MapType,
    NamedType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
)
from lattice.errors import GuestTrapError, InvalidError, NoRouteError

NOTES = "test:notes/notes@0.1.0"
U32, STRING, BOOL, F64 = (Primitive(name) for name in ("u32", "string", "bool", "f64"))
BYTES = ListType(Primitive("u8"))
POINT = NamedType(NOTES, "point", RecordType((("x", U32), ("full-name", STRING))))
COLOR = NamedType(NOTES, "color", EnumType(("red", "green")))
RIGHTS = NamedType(NOTES, "rights", FlagsType(("read", "write")))
SHAPE = NamedType(NOTES, "shape", VariantType((("dot", None), ("line", U32))))
CURSOR = ResourceType(NOTES, "page-cursor")


def function(*params: tuple[str, WitType], result: WitType | None = None) -> Function:
    return Function(params=params, result=result)


def interface(functions: Mapping[str, Function], **types: WitType) -> Interface:
    return Interface(name=NOTES, functions=functions, types=types)


def faults_of(capability: object, wit: Interface) -> Sequence[str]:
    with pytest.raises(InvalidError) as caught:
        bind(capability, wit)
    return caught.value.faults


async def test_methods_answer_at_once_and_async_ones_wait() -> None:
    class Notes:
        def count_all(self, first_word: str, from_: int) -> int:
            return len(first_word) + from_

        async def sync(self) -> None:
            pass

    count = function(("first-word", STRING), ("from", U32), result=U32)
    bound = bind(Notes(), interface({"count-all": count, "sync": function()}))
    assert bound.direct["count-all"]("four", 3) == 7
    assert await bound.waiting["sync"]() is None
    assert (list(bound.direct), list(bound.waiting)) == (["count-all"], ["sync"])


def test_all_mismatches_are_listed_at_once() -> None:
    class Notes:
        errors: ClassVar[Mapping[Any, Any]] = {"KeyError": 1, NoRouteError: 2}

        def get(self, key: str, more: int) -> str:
            raise NotImplementedError

        def put(self, value: str, key: str) -> None:
            raise NotImplementedError

        def typed(self, a: str, b: int) -> int:
            raise NotImplementedError

        def named(self, *, a: int) -> None:
            raise NotImplementedError

        def few(self) -> None:
            raise NotImplementedError

        def lsit(self) -> None:
            raise NotImplementedError

        def pages(self) -> Any:
            yield 1

    two = (("key", STRING), ("value", STRING))
    wit = interface(
        {
            "get": function(("key", STRING), result=STRING),
            "put": function(*two),
            "typed": function(("a", U32), ("b", U32), result=STRING),
            "named": function(("a", U32)),
            "few": function(*two),
            "list": function(result=ListType(STRING)),
            "pages": function(),
            "later": Function(is_async=True),
            "[method]page-cursor.next": function(("self", BorrowType(CURSOR))),
        },
        **{"page-cursor": CURSOR},
    )
    assert faults_of(Notes(), wit) == (
        "resource page-cursor: there is no class PageCursor",
        "get: parameter more is one too many",
        "put: parameter value stands where key should",
        "put: parameter key stands where value should",
        "typed: parameter a: str stands for u32",
        "typed: what it returns: int stands for string",
        "named: parameter a can be given by name only",
        "named: there is no parameter a",
        "few: there is no parameter key",
        "few: there is no parameter value",
        "list: there is no method list (nearest: 'lsit') for `%list: func() -> list<string>`",
        "pages: it is a generator",
        "later: there is no method later for `later: async func()`",
        "errors: 'KeyError' is no class of exceptions",
        "errors: NoRouteError ends the call as it is",
    )


def test_async_function_of_wit_is_refused() -> None:
    class Notes:
        async def later(self) -> None:
            raise NotImplementedError

    faults = faults_of(Notes(), interface({"later": Function(is_async=True)}))
    assert faults == ("later: async functions of WIT cannot be given by a host",)


async def test_result_is_returned_or_raised() -> None:
    class Notes:
        errors: ClassVar[Mapping[Any, Any]] = {
            LookupError: "none",
            KeyError: lambda error: ["missing", error.args[0]],
        }

        def get(self, key: str) -> str:
            match key:
                case "key":
                    raise KeyError(key)
                case "index":
                    raise IndexError
                case "wit":
                    raise WitError({"code": 7})
                case "route":
                    raise NoRouteError("nobody")
                case "value":
                    raise ValueError("odd")
                case _:
                    return key.upper()

        async def wait(self, key: str) -> str:
            return self.get(key)

        def plain(self, key: str) -> str:
            return self.get(key)

    get = function(("key", STRING), result=ResultType(STRING, STRING))
    plain = function(("key", STRING), result=STRING)
    bound = bind(Notes(), interface({"get": get, "wait": get, "plain": plain}))

    async def wait(key: str) -> Any:
        return await bound.waiting["wait"](key)

    answers = {"x": ["ok", "X"], "key": ["err", ["missing", "key"]], "index": ["err", "none"],
               "wit": ["err", {"code": 7}]}  # fmt: skip
    for key, answer in answers.items():
        assert bound.direct["get"](key) == answer
        assert await wait(key) == answer
    assert bound.direct["plain"]("x") == "X"
    for raised in ("key", "wit", "value"):
        with pytest.raises(GuestTrapError, match=f"{NOTES}#plain failed, which the host answers"):
            bound.direct["plain"](raised)
    with pytest.raises(GuestTrapError, match="ValueError: odd") as caught:
        await wait("value")
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(NoRouteError):
        bound.direct["get"]("route")


def test_error_whose_value_cannot_be_made_is_a_trap_with_its_cause() -> None:
    class Notes:
        errors: ClassVar[Mapping[Any, Any]] = {KeyError: lambda error: error.args[7]}

        def get(self) -> str:
            raise KeyError

    bound = bind(Notes(), interface({"get": function(result=ResultType(STRING, STRING))}))
    with pytest.raises(GuestTrapError, match="IndexError") as caught:
        bound.direct["get"]()
    assert isinstance(caught.value.__cause__, IndexError)


def test_drop_that_nobody_would_await_is_a_fault() -> None:
    class Notes:
        class PageCursor:
            async def on_drop(self) -> None: ...

    faults = faults_of(Notes(), interface({}, **{"page-cursor": CURSOR}))
    assert faults == ("resource page-cursor: PageCursor.on_drop is async, it must be plain",)


def test_class_of_a_resource_has_its_methods() -> None:
    class Notes:
        class PageCursor:
            def __init__(self, start: int) -> None:
                self.at = start
                self.is_dropped = False

            def next_page(self, count: int) -> int:
                self.at += count
                return self.at

            @staticmethod
            def merge(a: Notes.PageCursor, b: object) -> Notes.PageCursor:
                assert isinstance(b, Notes.PageCursor)
                return Notes.PageCursor(a.at + b.at)

            def on_drop(self) -> None:
                self.is_dropped = True

        def swap(self, cursor: PageCursor) -> PageCursor:
            return cursor

    class Doubled(Notes.PageCursor):
        def next_page(self, count: int) -> int:
            return super().next_page(2 * count)

    own, borrow = OwnType(CURSOR), BorrowType(CURSOR)
    wit = interface(
        {
            "[constructor]page-cursor": function(("start", U32), result=own),
            "[method]page-cursor.next-page": function(("self", borrow), ("count", U32), result=U32),
            "[static]page-cursor.merge": function(("a", own), ("b", own), result=own),
            "swap": function(("cursor", own), result=own),
        },
        **{"page-cursor": CURSOR},
    )
    bound = bind(Notes(), wit)
    cursor = bound.direct["[constructor]page-cursor"](5)
    assert bound.direct["[method]page-cursor.next-page"](cursor, 2) == 7
    assert bound.direct["[method]page-cursor.next-page"](Doubled(1), 2) == 5
    assert bound.direct["[static]page-cursor.merge"](cursor, cursor).at == 14
    assert bound.direct["swap"](cursor) is cursor
    resource = bound.resources["page-cursor"]
    assert resource.kind is Notes.PageCursor
    resource.drop(cursor)
    assert cursor.is_dropped


def test_constructor_may_be_a_method_of_the_object() -> None:
    class Notes:
        prefix = 10

        class PageCursor:
            def __init__(self, start: int, extra: str) -> None:
                self.at = start
                self.extra = extra

            def merge(self) -> None:
                raise NotImplementedError

        def new_page_cursor(self, start: int) -> PageCursor:
            return self.PageCursor(self.prefix + start, "extra")

    constructor = function(("start", U32), result=OwnType(CURSOR))
    wit = interface({"[constructor]page-cursor": constructor}, **{"page-cursor": CURSOR})
    assert bind(Notes(), wit).direct["[constructor]page-cursor"](1).at == 11
    wit = interface({"[static]page-cursor.merge": function()}, **{"page-cursor": CURSOR})
    assert faults_of(Notes(), wit) == (
        "[static]page-cursor.merge: PageCursor.merge is not a static or class method",
    )


@dataclass
class Point:
    x: int
    full_name: str


@dataclass
class Wrong:
    x: int
    name: str


class Color(StrEnum):
    RED = "red"
    GREEN = "green"


class Blue(StrEnum):
    BLUE = "blue"


@pytest.mark.parametrize(
    ("annotation", "wit", "fits"),
    [
        (int, U32, True), (float, F64, True), (str, Primitive("char"), True), (bool, BOOL, True),
        (float, U32, False), (int, F64, False), (int, STRING, False), (int, BOOL, False),
        (bytes, BYTES, True), (list[int], BYTES, False), (list[str], ListType(STRING), True),
        (Sequence[str], ListType(STRING), True), (list, ListType(STRING), True),
        (list[int], ListType(STRING), False), (set[str], ListType(STRING), False),
        (tuple[int, str], TupleType((U32, STRING)), True), (list, TupleType((U32,)), True),
        (tuple[int], TupleType((U32, STRING)), False),
        (str | None, OptionType(STRING), True), (str, OptionType(STRING), False),
        (int | None, OptionType(STRING), False), (str | int | None, OptionType(STRING), False),
        (list[str | None] | None, OptionType(OptionType(STRING)), True),
        (str | None, OptionType(OptionType(STRING)), False),
        (Point, POINT, True), (Wrong, POINT, False), (dict[str, Any], POINT, False),
        (Literal["red", "green"], COLOR, True), (Literal["red"], COLOR, False),
        (Color, COLOR, True), (Blue, COLOR, False), (str, COLOR, True), (int, COLOR, False),
        (Literal["red", "green"] | None, OptionType(COLOR), True),
        (list[str], RIGHTS, True), (list[Literal["read", "write"]], RIGHTS, True),
        (list[Literal["read"]], RIGHTS, False), (str, RIGHTS, False),
        (list, SHAPE, True), (tuple[str, Any], SHAPE, True), (dict, SHAPE, False),
        (dict[str, int], MapType(STRING, U32), True), (dict[int, int], MapType(STRING, U32), False),
        (Any, SHAPE, True), (object, U32, True),
    ],
)  # fmt: skip
def test_annotation_is_compared_with_the_type(annotation: Any, wit: WitType, fits: bool) -> None:
    class Notes:
        def take(self, value: Any) -> None:
            raise NotImplementedError

    Notes.take.__annotations__["value"] = annotation
    wanted = interface({"take": function(("value", wit))})
    if fits:
        bind(Notes(), wanted)
    else:
        (fault,) = faults_of(Notes(), wanted)
        assert fault.startswith("take: parameter value: ")
        assert " stands for " in fault


def test_annotation_that_cannot_be_read_is_a_fault() -> None:
    class Notes:
        def take(self, value: Unheard) -> None:  # type: ignore[name-defined]  # noqa: F821 (that is what is tested)
            raise NotImplementedError

    (fault,) = faults_of(Notes(), interface({"take": function(("value", U32))}))
    assert fault == "take: its annotations cannot be read: name 'Unheard' is not defined"


def test_record_may_be_a_mapping_where_it_is_returned() -> None:
    class Notes:
        def get(self) -> dict[str, Any]:
            raise NotImplementedError

        def also(self) -> Point:
            raise NotImplementedError

    bind(Notes(), interface({"get": function(result=POINT), "also": function(result=POINT)}))
