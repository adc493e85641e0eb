"""Plain values and the C API's values: what goes in comes out, what does not fit is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.engine import ffi
from hosts.engine.values import Codec
from lattice.component.types import (
    BorrowType,
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
    structure,
)
from lattice.errors import InternalError, InvalidError

U8, U32, S64, F64 = (Primitive(name) for name in ("u8", "u32", "s64", "f64"))
STRING, CHAR, BOOL = (Primitive(name) for name in ("string", "char", "bool"))

_INTEGERS = {
    **{f"u{bits}": st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{
        f"s{bits}": st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)
    },
}
_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_NAMES = st.lists(st.sampled_from(["a", "b-c", "d1", "eé"]), min_size=1, unique=True)


def codec(wit: WitType | None) -> Codec:
    params = () if wit is None else (("v", wit),)
    return Codec("test#echo", Function(params=params, result=wit))


def through_memory(wit: WitType, value: Any) -> Any:
    """Lower a value as an argument and lift it again from where it lies."""
    both = codec(wit)
    block, _keep = both.lower_args([value])
    (lifted,) = both.lift_args(ffi.address_of_bytes(block))
    return lifted


def value_of(wit: WitType) -> st.SearchStrategy[Any]:
    match wit:
        case Primitive("bool"):
            return st.booleans()
        case Primitive("f64"):
            return st.floats(allow_nan=False)
        case Primitive("f32"):
            return st.floats(allow_nan=False, width=32)
        case Primitive("string"):
            return _TEXT
        case Primitive("char"):
            return st.characters(exclude_categories=["Cs"])
        case Primitive(name):
            return _INTEGERS[name]
        case ListType(element) if structure(element) == U8:
            return st.binary(max_size=50)
        case ListType(element):
            return st.lists(value_of(element), max_size=4)
        case RecordType(fields):
            return st.fixed_dictionaries({name: value_of(each) for name, each in fields})
        case TupleType(items):
            return st.tuples(*map(value_of, items)).map(list)
        case VariantType(cases):
            return st.one_of([_case(name, payload) for name, payload in cases])
        case ResultType(ok, err):
            return _case("ok", ok) | _case("err", err)
        case EnumType(names):
            return st.sampled_from(names)
        case FlagsType(names):
            return st.lists(st.sampled_from(names), unique=True)
        case OptionType(element) if isinstance(structure(element), OptionType):
            return st.none() | value_of(element).map(lambda each: [each])
        case OptionType(element):
            return st.none() | value_of(element)
        case MapType(_, value):
            return st.dictionaries(_TEXT, value_of(value), max_size=3)
        case NamedType(_, _, target):
            return value_of(target)
        case other:
            raise AssertionError(other)


def _case(name: str, payload: WitType | None) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(name), st.none() if payload is None else value_of(payload)).map(list)


def _composite(inner: st.SearchStrategy[WitType]) -> st.SearchStrategy[WitType]:
    members = _NAMES.flatmap(
        lambda names: st.tuples(*[inner for _ in names]).map(
            lambda types: tuple(zip(names, types, strict=True))
        )
    )
    optional = st.none() | inner
    cases = _NAMES.flatmap(
        lambda names: st.tuples(*[optional for _ in names]).map(
            lambda types: tuple(zip(names, types, strict=True))
        )
    )
    return st.one_of(
        inner.map(ListType),
        inner.map(OptionType),
        inner.map(lambda each: NamedType("a:b/c", "n", each)),
        members.map(RecordType),
        cases.map(VariantType),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: TupleType(tuple(items))),
        st.tuples(optional, optional).map(lambda pair: ResultType(*pair)),
        inner.map(lambda each: MapType(STRING, each)),
    )


_LEAVES: st.SearchStrategy[WitType] = st.one_of(
    st.sampled_from(["bool", "f32", "f64", "string", "char", *_INTEGERS]).map(Primitive),
    _NAMES.map(lambda names: EnumType(tuple(names))),
    _NAMES.map(lambda names: FlagsType(tuple(names))),
)
TYPES = st.recursive(_LEAVES, _composite, max_leaves=8)


@given(TYPES.flatmap(lambda wit: st.tuples(st.just(wit), value_of(wit))))
def test_any_value_of_any_type_comes_back(case: tuple[WitType, Any]) -> None:
    wit, value = case
    assert through_memory(wit, value) == value


def test_not_a_number_and_infinities_pass() -> None:
    assert math.isnan(through_memory(F64, math.nan))
    assert through_memory(Primitive("f32"), -math.inf) == -math.inf


def test_whole_number_is_a_float_where_a_float_is_wanted() -> None:
    assert through_memory(F64, 1) == 1.0


def test_absent_field_of_an_optional_type_is_none() -> None:
    wit = RecordType((("a", U32), ("b", OptionType(U32))))
    assert through_memory(wit, {"a": 1}) == {"a": 1, "b": None}


def test_bytes_may_come_as_bytearray_or_numbers() -> None:
    wit = ListType(U8)
    for value in (b"\1\2", bytearray(b"\1\2"), memoryview(b"\1\2"), [1, 2], (1, 2)):
        assert through_memory(wit, value) == b"\1\2"


@pytest.mark.parametrize(
    ("wit", "value", "fault"),
    [
        (U8, 256, "v: 256 is out of range for u8: 0 to 255"),
        (U8, -1, "v: -1 is out of range for u8: 0 to 255"),
        (U8, 1.0, "v: expected u8, found 1.0"),
        (S64, 2**63, f"v: {2**63} is out of range for s64: {-(2**63)} to {2**63 - 1}"),
        (BOOL, 1, "v: expected bool, found 1"),
        (F64, "1", "v: expected f64, found '1'"),
        (Primitive("f32"), 1e300, "v: 1e+300 is out of range for f32"),
        (F64, 10**400, "is out of range for f64"),
        (CHAR, "", "v: expected char (a string of one character), found ''"),
        (CHAR, "ab", "v: expected char (a string of one character), found 'ab'"),
        (CHAR, "\ud800", "v: a surrogate is no char: U+D800"),
        (STRING, "a\udfffb", "v: string has a surrogate at 1"),
        (STRING, b"bytes", "v: expected string, found b'bytes'"),
        (ListType(U8), "text", "v: expected list<u8> (bytes), found 'text'"),
        (ListType(U8), [256], "v: expected list<u8>, found [256]"),
        (ListType(U32), b"\1", "v: expected list, found b'\\x01'"),
        (ListType(U32), [1, None], "v[1]: expected u32, found None"),
        (RecordType((("a", U32),)), {}, "v.a: is missing"),
        (RecordType((("a", U32),)), {"a": 1, "b": 2}, "v: record has no field 'b'"),
        (RecordType((("a", U32),)), [1], "v: expected record, found [1]"),
        (TupleType((U32, U32)), [1], "v: expected tuple of 2, found [1]"),
        (TupleType((U32, U32)), [1, "b"], "v[1]: expected u32, found 'b'"),
        (VariantType((("a", U32), ("b", None))), ["c", 1], "has no case 'c', expected a, b"),
        (VariantType((("a", U32),)), ["a", "x"], "v.a: expected u32, found 'x'"),
        (VariantType((("b", None),)), ["b", 1], "v.b: has no payload, found 1"),
        (VariantType((("b", None),)), "b", "v: expected variant as [case, payload], found 'b'"),
        (ResultType(U32, None), ["no", 1], "v: result is 'ok' or 'err', found 'no'"),
        (ResultType(U32, None), ["ok", "1"], "v.ok: expected u32, found '1'"),
        (EnumType(("red",)), "blue", "v: expected one of red, found 'blue'"),
        (EnumType(("red",)), ["red"], "v: expected one of red, found ['red']"),
        (FlagsType(("a", "b")), ["c"], "v: flag 'c' is none of a, b"),
        (FlagsType(("a", "b")), "a", "v: expected flags as a list of names, found 'a'"),
        (OptionType(OptionType(U32)), 1, "v: expected nested option as [value], found 1"),
        (MapType(STRING, U32), {"a": "b"}, "v['a']: expected u32, found 'b'"),
    ],
)
def test_unfit_value_is_refused_with_its_path(wit: WitType, value: Any, fault: str) -> None:
    with pytest.raises(InvalidError) as caught:
        codec(wit).lower_args([value])
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].endswith(fault)


@pytest.mark.parametrize(
    "wit",
    [
        OwnType(ResourceType("a:b/c", "r")),
        BorrowType(ResourceType("a:b/c", "r")),
        StreamType(U8),
        FutureType(None),
        Primitive("error-context"),
        ListType(U8, 4),
    ],
)
def test_type_that_cannot_cross_is_refused_before_any_call(wit: WitType) -> None:
    for outer in (wit, ListType(wit), OptionType(wit), RecordType((("a", wit),))):
        with pytest.raises(InvalidError, match="test#echo: values of type"):
            codec(outer)


def test_value_of_another_kind_than_its_type_is_an_error_and_no_wild_read() -> None:
    block, _keep = codec(U32).lower_args([7])
    for wit in (STRING, ListType(U32), RecordType((("a", U32),)), OptionType(U32), F64):
        with pytest.raises(InternalError, match="kind 6"):
            codec(wit).lift_args(ffi.address_of_bytes(block))


def test_result_of_a_function_without_one_is_none() -> None:
    assert codec(None).lower_result(None) is None
    with pytest.raises(InvalidError, match="has no result"):
        codec(None).lower_result(1)
