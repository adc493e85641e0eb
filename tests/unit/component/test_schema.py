"""JSON Schemas of functions: they accept what `lattice.wire.values` writes, and refuse the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings

from lattice.component.schema import DIALECT, json_schema
from lattice.component.types import (
    Function,
    ListType,
    NamedType,
    OptionType,
    Primitive,
    RecordType,
    StreamType,
    TupleType,
    VariantType,
    WitType,
)
from lattice.wire.values import to_json
from tests.unit.wire.wit_strategies import types_and_values

STRING, U32 = Primitive("string"), Primitive("u32")
HIT = NamedType("a:b/c", "hit", RecordType((("title", STRING), ("note", OptionType(STRING)))))
JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def fits(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> bool:
    """The part of JSON Schema 2020-12 that our schemas use; a new keyword is a failure."""
    return all(_keyword(name, each, value, root, schema) for name, each in schema.items())


def _keyword(
    name: str, want: Any, value: Any, root: Mapping[str, Any], schema: Mapping[str, Any]
) -> bool:
    match name:
        case "$schema" | "$defs" | "title" | "description" | "contentEncoding":
            return True
        case "$ref":
            return fits(root["$defs"][want.removeprefix("#/$defs/")], value, root)
        case "type":
            is_bool = isinstance(value, bool)
            return isinstance(value, JSON_TYPES[want]) and is_bool == (want == "boolean")
        case "anyOf":
            return any(fits(each, value, root) for each in want)
        case "oneOf":
            return sum(fits(each, value, root) for each in want) == 1
        case "not":
            return not fits(want, value, root)
        case "enum":
            return value in want
        case "const":
            return bool(value == want)
        case _:
            return _bounds(name, want, value, root, schema)


def _bounds(
    name: str, want: Any, value: Any, root: Mapping[str, Any], schema: Mapping[str, Any]
) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match name:
        case "minimum":
            return not is_number or value >= want
        case "maximum":
            return not is_number or value <= want
        case "pattern":
            return not isinstance(value, str) or re.search(want, value, re.DOTALL) is not None
        case "minLength":
            return not isinstance(value, str) or len(value) >= want
        case "maxLength":
            return not isinstance(value, str) or len(value) <= want
        case "minItems":
            return not isinstance(value, list) or len(value) >= want
        case "maxItems":
            return not isinstance(value, list) or len(value) <= want
        case "uniqueItems":
            return not isinstance(value, list) or len(set(value)) == len(value)
        case "items":
            return not isinstance(value, list) or all(fits(want, each, root) for each in value)
        case "prefixItems":
            pairs = zip(want, value, strict=False) if isinstance(value, list) else ()
            return all(fits(each, item, root) for each, item in pairs)
        case _:
            return not isinstance(value, dict) or _members(name, want, value, root, schema)


def _members(
    name: str,
    want: Any,
    value: dict[str, Any],
    root: Mapping[str, Any],
    schema: Mapping[str, Any],
) -> bool:
    match name:
        case "properties":
            return all(fits(each, value[key], root) for key, each in want.items() if key in value)
        case "required":
            return all(key in value for key in want)
        case "additionalProperties":
            others = (
                [each for key, each in value.items() if key not in schema["properties"]]
                if ("properties" in schema)
                else list(value.values())
            )
            return not others if want is False else all(fits(want, each, root) for each in others)
        case "propertyNames":
            return all(fits(want, key, root) for key in value)
        case _:
            pytest.fail(f"keyword {name} is not known to this test")


def result_schema(wit: WitType) -> dict[str, Any]:
    schema: dict[str, Any] = json_schema(Function(result=wit))
    return schema


@given(types_and_values())
@settings(max_examples=50)
def test_a_schema_accepts_what_values_are_written_as(drawn: tuple[WitType, Any]) -> None:
    wit, value = drawn
    written = json.loads(json.dumps(to_json(wit, value)))

    schema = result_schema(wit)
    json.dumps(schema)
    assert fits(schema, {"result": written}, schema)


@pytest.mark.parametrize(
    ("wit", "value"),
    [
        (U32, -1),
        (U32, 1 << 32),
        (U32, "1"),
        (Primitive("u64"), "-1"),
        (Primitive("char"), "ab"),
        (HIT, {"title": "a", "more": 1}),
        (HIT, {"note": "a"}),
        (TupleType((U32, U32)), [1]),
        (ListType(U32, 2), [1]),
        (ListType(Primitive("u8")), "AQI="),
        (VariantType((("a", U32), ("b", None))), ["a"]),
        (VariantType((("a", U32), ("b", None))), ["c", None]),
        (OptionType(OptionType(U32)), 5),
        (StreamType(U32), []),
    ],
)
def test_a_schema_refuses_what_does_not_fit(wit: WitType, value: Any) -> None:
    schema = result_schema(wit)

    assert not fits(schema, {"result": value}, schema)


def test_a_function_is_an_array_of_arguments_and_a_result() -> None:
    function = Function(
        params=(("query", STRING), ("first", HIT)), result=ListType(HIT), docs="Finds."
    )

    assert json_schema(function) == {
        "$schema": DIALECT,
        "description": "Finds.",
        "type": "object",
        "properties": {
            "args": {
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "prefixItems": [
                    {"type": "string", "title": "query"},
                    {"$ref": "#/$defs/hit", "title": "first"},
                ],
            },
            "result": {"type": "array", "items": {"$ref": "#/$defs/hit"}},
        },
        "$defs": {
            "hit": {
                "type": "object",
                "properties": {
                    "title": {"type": "string"},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["title"],
                "additionalProperties": False,
            }
        },
    }


def test_a_function_without_parameters_and_result_takes_nothing_and_gives_null() -> None:
    schema: dict[str, Any] = json_schema(Function())

    assert schema["properties"] == {
        "args": {"type": "array", "minItems": 0, "maxItems": 0},
        "result": {"type": "null"},
    }


def test_two_types_of_one_name_have_two_definitions() -> None:
    one, other = (NamedType(f"a:b/{name}", "t", Primitive(name)) for name in ("u8", "u16"))

    schema: dict[str, Any] = json_schema(Function(params=(("a", one), ("b", other))))
    assert [each["maximum"] for each in schema["$defs"].values()] == [255, 65535]
