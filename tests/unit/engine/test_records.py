"""Records as dataclasses: generated once for each type, given back on request, taken always."""

from __future__ import annotations

import collections
import dataclasses
import gc
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.engine import ffi
from hosts.engine.codec.checked import CheckedCodec
from hosts.engine.codec.records import field_name, record_class
from hosts.engine.values import Codec
from lattice.component.types import (
    Function,
    ListType,
    NamedType,
    OptionType,
    Primitive,
    RecordType,
    WitType,
)
from lattice.errors import InvalidError
from tests.unit.engine.test_values import TYPES, value_of

U32, STRING = Primitive("u32"), Primitive("string")
SHAPE = RecordType((("content-type", STRING), ("note", OptionType(STRING)), ("from", U32)))
PART = NamedType("a:b/c", "form-part", SHAPE)
LETTER = NamedType("a:b/c", "letter", RecordType((("parts", ListType(PART)), ("first", PART))))
PLAIN = {"content-type": "text", "note": None, "from": 3}


def codecs(wit: WitType, **options: Any) -> tuple[Codec, CheckedCodec]:
    function = Function(params=(("v", wit),), result=wit)
    return Codec("test#f", function, **options), CheckedCodec("test#f", function, **options)


def lowered(codec: Codec | CheckedCodec, value: Any) -> Any:
    """Return a form part as it is read again, with records as mappings."""
    block, _keep = codec.lower_args([value])
    reader = CheckedCodec("test#f", Function(params=(("v", PART),)))
    return reader.lift_args(ffi.address_of_bytes(block))[0]


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("x", "x"), ("content-type", "content_type"), ("from", "from_"), ("HTTP-code", "http_code")],
)
def test_field_becomes_an_attribute_in_snake_case(name: str, attribute: str) -> None:
    assert field_name(name) == attribute


def test_class_is_a_frozen_dataclass_with_slots_and_the_name_of_its_type() -> None:
    made = record_class(PART)
    value = made(content_type="text", from_=3)
    assert repr(value) == "FormPart(content_type='text', note=None, from_=3)"
    assert not hasattr(value, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.note = "new"
    with pytest.raises(TypeError, match="from_"):
        made(content_type="text")


def test_equal_types_of_one_name_share_their_class() -> None:
    again = NamedType("a:b/c", "form-part", RecordType(SHAPE.fields))
    assert record_class(PART) is record_class(again)
    assert record_class(SHAPE) is not record_class(PART)
    assert record_class(SHAPE).__name__ == "Record"
    with pytest.raises(TypeError):
        record_class(STRING)


def test_class_that_nobody_uses_is_forgotten() -> None:
    from hosts.engine.codec import records

    once = NamedType("a:b/c", "used-once", SHAPE)
    record_class(once)
    gc.collect()
    assert ("used-once", SHAPE) not in records._classes


def test_records_are_lifted_as_instances_when_asked_for() -> None:
    part = record_class(PART)
    value = {"parts": [PLAIN, {**PLAIN, "note": "n"}], "first": PLAIN}
    expected = part(content_type="text", note=None, from_=3)
    for codec in codecs(LETTER, records=True):
        block, _keep = codec.lower_args([value])
        (letter,) = codec.lift_args(ffi.address_of_bytes(block))
        assert type(letter) is record_class(LETTER)
        assert letter.first == expected
        assert letter.parts == [expected, dataclasses.replace(expected, note="n")]
        assert codec.lift_result(ffi.address_of_bytes(block)) == letter
        # They go out as they came in.
        again, _keep = codec.lower_args([letter])
        assert codec.lift_args(ffi.address_of_bytes(again)) == [letter]


class Named(NamedTuple):
    content_type: str
    note: str | None
    from_: int


@dataclasses.dataclass
class Written:
    content_type: str
    from_: int
    other: int = 0


@pytest.mark.parametrize(
    "value",
    [
        PLAIN,
        {"content-type": "text", "from": 3},
        collections.OrderedDict(PLAIN),
        SimpleNamespace(content_type="text", from_=3),
        Named("text", None, 3),
        Written("text", 3),
        record_class(PART)(content_type="text", from_=3),
    ],
)
def test_mapping_or_any_object_with_the_attributes_is_taken_as_a_record(value: Any) -> None:
    for codec in codecs(PART):
        assert lowered(codec, value) == PLAIN


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (5, "v: expected record, found 5"),
        ("text", "v: expected record, found 'text'"),
        (None, "v: expected record, found None"),
        (("text", None, 3), "v: expected record, found ('text', None, 3)"),
        (SimpleNamespace(), "v: expected record, found namespace()"),
        (SimpleNamespace(note="n"), "v.content-type: is missing"),
        (SimpleNamespace(content_type="text", from_="3"), "v.from: expected u32, found '3'"),
        ({"content_type": "text", "from": 3}, "v.content-type: is missing"),
    ],
)
def test_what_stands_for_no_record_is_refused_with_its_path(value: Any, fault: str) -> None:
    for codec in codecs(PART):
        with pytest.raises(InvalidError) as caught:
            codec.lower_args([value])
        assert list(caught.value.faults) == [fault]


@given(TYPES.flatmap(lambda wit: st.tuples(st.just(wit), value_of(wit))))
def test_records_of_any_shape_go_in_as_they_come_out(case: tuple[WitType, Any]) -> None:
    wit, value = case
    for codec in codecs(wit, records=True):
        block, _keep = codec.lower_args([value])
        (lifted,) = codec.lift_args(ffi.address_of_bytes(block))
        assert repr(codec.lift_result(ffi.address_of_bytes(block))) == repr(lifted)
        for other in codecs(wit):
            again, _kept = other.lower_args([lifted])
            assert other.lift_args(ffi.address_of_bytes(again)) == [value]


def test_number_is_no_record_although_it_has_attributes() -> None:
    complex_number = RecordType((("real", U32), ("imag", U32)))
    for codec in codecs(complex_number):
        with pytest.raises(InvalidError, match="does not fit"):
            codec.lower_args([5])
