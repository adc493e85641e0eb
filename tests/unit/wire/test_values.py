"""Values against their types: what is accepted and how it is written; faults and their paths."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.component.types import (
    EnumType,
    FlagsType,
    Function,
    FutureType,
    ListType,
    MapType,
    NamedType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    StreamType,
    TupleType,
    VariantType,
    WitType,
)
from lattice.errors import InvalidError
from lattice.wire import scalars
from lattice.wire.values import args_from_json, check_args, check_value, from_json, to_json
from tests.unit.wire.wit_strategies import WIT_TYPES, types_and_values

BOOL, U8, U32, U64, S8 = map(Primitive, ("bool", "u8", "u32", "u64", "s8"))
F32, F64, CHAR, STRING = map(Primitive, ("f32", "f64", "char", "string"))
BYTES = ListType(U8)
HIT = NamedType("a:b/c", "hit", RecordType((("title", STRING), ("note", OptionType(STRING)))))
SHAPE = VariantType((("circle", F64), ("empty", None), ("maybe", OptionType(U8))))
COLOR, HOW = EnumType(("red", "green")), FlagsType(("exact", "fuzzy", "deep"))
NESTED = OptionType(OptionType(U8))
RESULT = ResultType(U32, STRING)
HANDLE = {"host": "h", "instance": "i", "id": 1, "epoch": 2}
OWN = OwnType(ResourceType("a:b/c", "cursor"))
SEARCH = Function(
    params=(("query", STRING), ("limit", OptionType(U32)), ("raw", BYTES)), result=ListType(HIT)
)


def faults(wit: WitType, value: Any, *, is_json: bool = False) -> tuple[str, ...]:
    with pytest.raises(InvalidError) as caught:
        (from_json if is_json else check_value)(wit, value, "v")
    return caught.value.faults


@given(types_and_values())
def test_every_value_survives_json_and_the_wire(drawn: tuple[WitType, Any]) -> None:
    wit, value = drawn

    assert check_value(wit, value) == value
    text = json.dumps(to_json(wit, value), allow_nan=False)
    assert from_json(wit, json.loads(text)) == value
    packed = msgpack.packb(value)
    unpacked = msgpack.unpackb(packed, strict_map_key=False)
    assert check_value(wit, unpacked) == value


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(WIT_TYPES, PLAIN)
def test_any_value_is_accepted_or_refused_with_faults(wit: WitType, value: Any) -> None:
    for check in (check_value, from_json):
        try:
            normal = check(wit, value)
        except InvalidError as exc:
            assert exc.faults  # noqa: PT017 - either outcome is right, a fault must say where
        else:
            assert repr(check_value(wit, normal)) == repr(normal)
            assert repr(from_json(wit, to_json(wit, normal))) == repr(normal)


@pytest.mark.parametrize(
    ("wit", "value", "normal"),
    [
        (F64, 3, 3.0),
        (F32, 0.1, 0.10000000149011612),
        (BYTES, bytearray(b"ab"), b"ab"),
        (BYTES, [1, 2], b"\x01\x02"),
        (ListType(U32), (1, 2), [1, 2]),
        (HIT, {"title": "a"}, {"title": "a", "note": None}),
        (SHAPE, ["empty"], ["empty", None]),
        (SHAPE, ("circle", 1), ["circle", 1.0]),
        (SHAPE, ["maybe"], ["maybe", None]),
        (HOW, ["deep", "exact"], ["exact", "deep"]),
        (NESTED, [None], [None]),
        (NESTED, [5], [5]),
        (ResultType(None, None), ["ok"], ["ok", None]),
        (TupleType((U8, STRING)), (1, "a"), [1, "a"]),
        (MapType(U8, STRING), {1: "a"}, {1: "a"}),
        (OWN, HANDLE, HANDLE),
        (RecordType(()), {}, {}),
    ],
)
def test_values_get_their_normal_form(wit: WitType, value: Any, normal: Any) -> None:
    assert check_value(wit, value) == normal


@pytest.mark.parametrize(
    ("wit", "value", "message"),
    [
        (BOOL, 1, "v: expected true or false, found 1"),
        (U8, 256, "v: expected u8 (0 to 255), found 256"),
        (S8, -129, "v: expected s8 (-128 to 127), found -129"),
        (U64, 1 << 64, "expected u64 (0 to 18446744073709551615)"),
        (U8, 1 << 9999, "found an integer of 10000 bits"),
        (U8, True, "v: expected an integer (u8), found true"),
        (U8, 1.0, "v: expected an integer (u8), found 1.0"),
        (U8, None, "v: expected an integer (u8), found nothing"),
        (F64, "1", "v: expected a number (f64), found '1'"),
        (F64, 10**400, "v: expected a number in the range of f64, found an integer of 1329 bits"),
        (F32, 1e300, "v: expected a number in the range of f32, found 1e+300"),
        (CHAR, "ab", "v: expected one character, found 'ab'"),
        (CHAR, "", "v: expected one character, found ''"),
        (CHAR, "\ud800", "v: expected one character, found a lone surrogate"),
        (STRING, "a\ud800", "v: expected Unicode text, found a lone surrogate"),
        (STRING, b"ab", "v: expected a string, found 2 bytes"),
        (BYTES, "ab", "v: expected bytes, found 'ab'"),
        (BYTES, [1, 256], "v[1]: expected u8 (0 to 255), found 256"),
        (ListType(U8, 2), b"abc", "v: expected 2 elements, found 3"),
        (ListType(STRING, 2), ["a"], "v: expected 2 elements, found 1"),
        (ListType(U32), {"a": 1}, "v: expected an array, found a map of 1 fields"),
        (ListType(U32), [1, -1], "v[1]: expected u32 (0 to 4294967295), found -1"),
        (ListType(U32), [1, True], "v[1]: expected an integer (u32), found true"),
        (HIT, [], "v: expected a map with title, note, found an array of 0"),
        (HIT, {}, "v.title: missing"),
        (HIT, {"title": "a", "titel": "b"}, "v.titel: no such field (nearest: title)"),
        (HIT, {"title": "a", 7: "b"}, "v.7: no such field"),
        (SHAPE, ["circel", 1], "expected one of circle, empty, maybe, found 'circel' (nearest: ci"),
        (SHAPE, "empty", "v: expected [case, payload] with a case of circle, empty, maybe, found"),
        (SHAPE, ["empty", 1], "v.empty: expected no payload, found 1"),
        (SHAPE, ["circle"], "v.circle: expected a payload, found none"),
        (SHAPE, ["circle", "x"], "v.circle: expected a number (f64), found 'x'"),
        (SHAPE, [[], 1], "v: expected one of circle, empty, maybe, found an array of 0"),
        (RESULT, ["okay", 1], "v: expected one of ok, err, found 'okay' (nearest: ok)"),
        (COLOR, "gren", "v: expected one of red, green, found 'gren' (nearest: green)"),
        (COLOR, [], "v: expected one of red, green, found an array of 0"),
        (HOW, "exact", "v: expected an array of names out of exact, fuzzy, deep, found 'exact'"),
        (HOW, ["exakt"], "found 'exakt' (nearest: exact)"),
        (HOW, ["deep", "deep"], "v: expected each name once, found one twice"),
        (NESTED, 5, "v: expected nil or an array of one, for an option in an option, found 5"),
        (TupleType((U8,)), [1, 2], "v: expected an array of 1, found an array of 2"),
        (MapType(U8, STRING), {300: "a"}, "v.300: expected u8 (0 to 255), found 300"),
        (MapType(U8, STRING), [], "v: expected a map, found an array of 0"),
        (OWN, {"host": "h"}, "v: expected a handle {host, instance, id, epoch}, found a map of 1"),
        (OWN, {**HANDLE, "id": "1"}, "expected a handle"),
        (StreamType(U8), [], "v: a stream cannot be passed between instances"),
        (FutureType(U8), [], "v: a future cannot be passed between instances"),
        (Primitive("error-context"), "e", "v: an error-context cannot be passed"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_path(
    wit: WitType, value: Any, message: str
) -> None:
    (found,) = faults(wit, value)
    assert message in found


def test_all_faults_are_told_with_their_paths() -> None:
    wit = RecordType((("hits", ListType(HIT)), ("at", TupleType((U8, CHAR)))))

    assert faults(wit, {"hits": [{"title": 1}, {"note": "n"}], "at": [256, "ab"]}) == (
        "v.hits[0].title: expected a string, found 1",
        "v.hits[1].title: missing",
        "v.at[0]: expected u8 (0 to 255), found 256",
        "v.at[1]: expected one character, found 'ab'",
    )


def test_a_wrong_list_does_not_make_endless_faults() -> None:
    found = faults(ListType(STRING), [1] * 100_000)

    assert len(found) == scalars.FAULTS_MAX + 1
    assert found[-1] == "further faults are not listed"


def test_too_many_elements_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scalars, "ITEMS_MAX", 10)

    check_value(ListType(STRING), ["a"] * 10)
    assert faults(ListType(ListType(STRING)), [["a"] * 5] * 2) == (
        "v[1]: expected at most 10 elements in one value, found more",
    )


@pytest.mark.parametrize(
    ("wit", "value", "normal"),
    [
        (U64, "18446744073709551615", (1 << 64) - 1),
        (Primitive("s64"), "-5", -5),
        (U32, 3.0, 3),
        (BYTES, {"base64": "AQI="}, b"\x01\x02"),
        (F64, "Infinity", math.inf),
        (F32, "-inf", -math.inf),
        (MapType(U8, BOOL), {"7": True}, {7: True}),
        (MapType(BOOL, U8), {"true": 1}, {True: 1}),
        (MapType(STRING, U8), {"7": 1}, {"7": 1}),
    ],
)
def test_json_writes_some_values_in_its_own_way(wit: WitType, value: Any, normal: Any) -> None:
    assert from_json(wit, value) == normal


def test_not_a_number_is_a_string_in_json() -> None:
    assert to_json(F64, math.nan) == "NaN"
    assert math.isnan(from_json(F64, "NaN"))


def test_a_function_without_a_result_has_null_in_json() -> None:
    assert to_json(None, None) is None


@pytest.mark.parametrize(
    ("wit", "value", "message"),
    [
        (U32, "5", "v: expected an integer (u32), found '5'"),
        (U64, "5x", "v: expected an integer (u64), found '5x'"),
        (U64, "٣", "v: expected an integer (u64), found '٣'"),
        (U32, 3.5, "v: expected an integer (u32), found 3.5"),
        (BYTES, {"base64": "%%"}, "v: expected base64, found other text"),
        (BYTES, "AQI=", 'v: expected {"base64": "..."}, found \'AQI=\''),
        (F64, "many", "v: expected a number (f64), found 'many'"),
        (MapType(U8, BOOL), {"07": True}, "v.'07': expected an integer (u8), found '07'"),
        (MapType(BOOL, U8), {"True": 1}, "v.'True': expected true or false, found 'True'"),
    ],
)
def test_json_that_does_not_fit_is_told_with_its_path(
    wit: WitType, value: Any, message: str
) -> None:
    (found,) = faults(wit, value, is_json=True)
    assert message in found


def test_what_the_wire_does_not_write_is_refused_on_the_wire() -> None:
    assert faults(U64, "5") == ("v: expected an integer (u64), found '5'",)
    assert faults(BYTES, {"base64": "AQI="}) == ("v: expected bytes, found a map of 1 fields",)


def test_arguments_are_checked_by_their_names() -> None:
    assert check_args(SEARCH, ["a", None, b"x"]) == ["a", None, b"x"]
    with pytest.raises(InvalidError) as caught:
        check_args(SEARCH, [1, -1, b"x"])
    assert caught.value.faults == (
        "query: expected a string, found 1",
        "limit: expected u32 (0 to 4294967295), found -1",
    )
    assert "do not fit `func(query: string, limit: option<u32>, raw: list<u8>)" in str(caught.value)


def test_the_number_of_arguments_is_checked() -> None:
    with pytest.raises(InvalidError, match=r"expected 3 arguments for `func.*, found 1"):
        check_args(SEARCH, ["a"])
    with pytest.raises(InvalidError, match="as an array, found str"):
        check_args(SEARCH, "abc")


def test_arguments_in_json_may_be_named() -> None:
    raw = {"base64": "eA=="}

    assert args_from_json(SEARCH, ["a", 5, raw]) == ["a", 5, b"x"]
    assert args_from_json(SEARCH, {"raw": raw, "query": "a"}) == ["a", None, b"x"]
    with pytest.raises(InvalidError) as caught:
        args_from_json(SEARCH, {"query": "a", "rw": raw})
    assert caught.value.faults == ("raw: missing", "rw: no such field (nearest: raw)")


def test_no_arguments_may_be_an_empty_array_or_object() -> None:
    assert args_from_json(Function(), []) == []
    assert args_from_json(Function(), {}) == []
