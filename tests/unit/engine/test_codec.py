"""Compiled conversions: they accept, refuse and yield what the checking ones do, for every type."""

from __future__ import annotations

import collections
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.engine import ffi
from hosts.engine.codec import spans
from hosts.engine.codec.checked import CheckedCodec
from hosts.engine.codec.compiled import DEPTH_MAX, is_compilable
from hosts.engine.frames import FRAME
from hosts.engine.values import Codec
from lattice.component.types import (
    EnumType,
    Function,
    ListType,
    MapType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
)
from lattice.errors import InternalError, InvalidError
from tests.unit.engine.test_values import TYPES, value_of

U8, U32, F64, STRING = (Primitive(name) for name in ("u8", "u32", "f64", "string"))
POINT = RecordType((("x", U32), ("y", OptionType(STRING)), ("z", ListType(STRING))))

_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=3),
    st.text(st.characters(categories=["Cs"]), min_size=1, max_size=2),
    st.binary(max_size=3),
    st.just(["ok", 1]),
    st.just({"a": 1}),
    st.just(()),
    st.just([[]]),
)


def both(*types: WitType) -> tuple[Codec, CheckedCodec]:
    function = Function(
        params=tuple((f"p{index}", wit) for index, wit in enumerate(types)), result=types[0]
    )
    return Codec("test#f", function), CheckedCodec("test#f", function)


def outcome(codec: Codec | CheckedCodec, values: list[Any], reader: CheckedCodec) -> Any:
    """Return what the lowered arguments mean, or the fault."""
    try:
        block, _keep = codec.lower_args(values)
    except InvalidError as error:
        return error.message, error.faults
    return repr(reader.lift_args(ffi.address_of_bytes(block)))


def _paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here]
    if isinstance(value, list):
        for index, each in enumerate(value):
            found += _paths(each, (*here, index))
    elif isinstance(value, dict):
        for key, each in value.items():
            found += _paths(each, (*here, key))
    return found


def _replaced(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    changed = copy.copy(value)
    changed[path[0]] = _replaced(value[path[0]], path[1:], odd)
    return changed


@given(TYPES.flatmap(lambda wit: st.tuples(st.just(wit), value_of(wit))))
def test_compiled_and_checking_conversions_agree_on_fitting_values(
    case: tuple[WitType, Any],
) -> None:
    wit, value = case
    compiled, checked = both(wit, wit)
    assert outcome(compiled, [value, value], checked) == outcome(checked, [value, value], checked)
    block, _keep = checked.lower_args([value, value])
    address = ffi.address_of_bytes(block)
    assert repr(compiled.lift_args(address)) == repr(checked.lift_args(address))
    assert repr(compiled.lift_result(address)) == repr(checked.lift_result(address))


@given(st.data())
def test_compiled_and_checking_conversions_agree_on_misfits(data: st.DataObject) -> None:
    wit = data.draw(TYPES)
    value = data.draw(value_of(wit))
    path = data.draw(st.sampled_from(_paths(value)))
    odd = _replaced(value, path, data.draw(_ODD))
    compiled, checked = both(wit)
    assert outcome(compiled, [odd], checked) == outcome(checked, [odd], checked)


@pytest.mark.parametrize(
    ("wit", "value"),
    [
        (POINT, {"x": 1, "z": []}),
        (POINT, {"x": 1, "z": [], "other": 2}),
        (POINT, {"x": 1, "y": None, "other": []}),
        (POINT, collections.OrderedDict(x=1, z=["a"])),
        (POINT, [("x", 1)]),
        (VariantType((("a", None), ("b", U32))), ["a"]),
        (VariantType((("a", None), ("b", U32))), ("a", None)),
        (VariantType((("a", None), ("b", U32))), ["b"]),
        (VariantType((("a", None), ("b", U32))), [["a"], None]),
        (EnumType(("a", "b")), []),
        (ListType(U8), [1, 2]),
        (ListType(U8), memoryview(b"ab")),
        (ListType(U32), [True]),
        (ListType(F64), [1, 2.0, 2**2000]),
        (ListType(Primitive("f32")), [1e300] * 40),
        (ListType(Primitive("bool")), [1]),
        (MapType(U32, U32), {1: 2, "a": 3}),
        (OptionType(OptionType(U32)), [[1]]),
        (TupleType((U32, STRING)), (1, "x")),
    ],
)
def test_unusual_values_are_taken_or_refused_as_by_the_checking_conversion(
    wit: WitType, value: Any
) -> None:
    compiled, checked = both(wit)
    assert outcome(compiled, [value], checked) == outcome(checked, [value], checked)


@pytest.mark.parametrize("count", [0, 1, 2, spans.LONG_LIST - 1, spans.LONG_LIST, 1000])
@pytest.mark.parametrize(
    ("name", "value"),
    [("bool", True), ("u8", 200), ("s8", -100), ("u16", 2**16 - 1), ("s64", -(2**63)),
     ("u64", 2**64 - 1), ("f32", 0.5), ("f64", -1e300), ("char", "é"), ("string", "é")],
)  # fmt: skip
def test_lists_of_any_length_come_back(name: str, value: Any, count: int) -> None:
    wit = ListType(Primitive(name))
    compiled, _ = both(wit)
    given_value = bytes([value]) * count if name == "u8" else [value] * count
    block, _keep = compiled.lower_args([given_value])
    assert compiled.lift_args(ffi.address_of_bytes(block)) == [given_value]


def test_string_with_an_encode_of_its_own_is_encoded_as_a_string() -> None:
    class Text(str):
        def encode(self, *_args: str) -> bytes:
            return b"\xff"

    for codec in both(STRING):
        block, _keep = codec.lower_args([Text("text")])
        assert codec.lift_args(ffi.address_of_bytes(block)) == ["text"]


@pytest.mark.parametrize("data", [b"", b"text", bytes(range(256)) * 20, bytearray(b"\xff")])
def test_frames_come_back_inside_any_type(data: bytes) -> None:
    wit = RecordType((("a", FRAME), ("b", ListType(FRAME)), ("c", OptionType(FRAME))))
    value = {"a": data, "b": [data, data], "c": data}
    for one, other in (both(wit), both(wit)[::-1]):
        block, _keep = one.lower_args([value])
        assert other.lift_args(ffi.address_of_bytes(block)) == [value]
    compiled, checked = both(FRAME)
    assert outcome(compiled, ["text"], checked) == outcome(checked, ["text"], checked)


def test_number_of_arguments_is_checked() -> None:
    compiled, _ = both(U32, STRING)
    with pytest.raises(InvalidError, match="takes 2 arguments"):
        compiled.lower_args([1])


def test_value_of_another_kind_is_refused_before_it_is_followed() -> None:
    compiled, _ = both(ListType(POINT))
    number, _ = both(U32)
    block, _keep = number.lower_args([7])
    with pytest.raises(InternalError, match="a value of kind 6 came"):
        compiled.lift_args(ffi.address_of_bytes(block))


def test_types_nested_too_deep_are_left_to_the_checking_conversion() -> None:
    wit: WitType = U32
    value: Any = 1
    for _ in range(3 * DEPTH_MAX):
        wit, value = ListType(wit), [value]
    assert not is_compilable([wit])
    compiled, checked = both(wit)
    assert outcome(compiled, [value], checked) == repr([value])


def test_deepest_compiled_types_compile() -> None:
    wit: WitType = STRING
    value: Any = "x"
    for _ in range(DEPTH_MAX - 1):
        wit, value = ListType(wit), [value]
    assert is_compilable([wit])
    compiled, checked = both(wit)
    assert outcome(compiled, [value], checked) == repr([value])
    nested: WitType = STRING
    for _ in range(DEPTH_MAX - 1):
        nested = ResultType(nested, nested)
    assert not is_compilable([nested])  # as many parts as a large interface


def test_checked_mode_uses_no_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATTICE_ENGINE", "checked")
    codec = Codec("test#f", Function(params=(("p", U32),), result=U32))
    assert not codec.is_compiled
    block, _keep = codec.lower_args([5])
    assert codec.lift_args(ffi.address_of_bytes(block)) == [5]
    assert codec.lift_result(ffi.address_of_bytes(block)) == 5
