"""Hypothesis strategies: a WIT type that values can have, and values of it in their wire shape."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from hypothesis import strategies as st

from lattice.component.types import (
    EnumType,
    FlagsType,
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
    structure,
)
from lattice.wire.scalars import INTEGERS

NAMES = st.sampled_from(["a", "b2", "title", "line-count", "type", "ok", "err", "x-y-z"])
KEYS = st.sampled_from(["bool", "char", "string", *INTEGERS]).map(Primitive)
SCALARS = st.one_of(KEYS, st.sampled_from(["f32", "f64"]).map(Primitive))
CURSOR = OwnType(ResourceType("docs:a/b", "cursor"))


def _labelled(parts: st.SearchStrategy[Any], at_least: int = 0) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(NAMES, parts, min_size=at_least, max_size=4)
    return fields.map(lambda found: tuple(found.items()))


def _names() -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(NAMES, min_size=1, max_size=5, unique=True).map(tuple)


def _compound(inner: st.SearchStrategy[WitType]) -> st.SearchStrategy[WitType]:
    maybe = st.none() | inner
    return st.one_of(
        inner.map(ListType),
        st.builds(ListType, inner, st.integers(0, 3)),
        _labelled(inner).map(RecordType),
        _labelled(maybe, at_least=1).map(VariantType),
        st.lists(inner, max_size=3).map(lambda items: TupleType(tuple(items))),
        inner.map(OptionType),
        inner.map(OptionType).map(OptionType),
        st.builds(ResultType, maybe, maybe),
        st.builds(MapType, KEYS, inner),
        inner.map(_named),
    )


def _named(target: WitType) -> NamedType:
    """Return the type with a name, which in one interface stands for one type."""
    return NamedType("docs:a/b", f"t{crc32(repr(target).encode()):x}", target)


_LEAVES = st.one_of(SCALARS, _names().map(EnumType), _names().map(FlagsType), st.just(CURSOR))
WIT_TYPES: st.SearchStrategy[WitType] = st.recursive(_LEAVES, _compound, max_leaves=6)
"""Every type whose values can be passed, handles included."""


@st.composite
def types_and_values(draw: st.DrawFn) -> tuple[WitType, Any]:
    """Return a type and a value of it in normal form."""
    wit = draw(WIT_TYPES)
    return wit, draw(values_of(wit))


def values_of(wit: WitType) -> st.SearchStrategy[Any]:
    """Values of a type, in normal form. Not-a-number is left out: it equals nothing."""
    match wit:
        case NamedType(target=target):
            return values_of(target)
        case Primitive(name):
            return _scalar(name)
        case ListType(element, length):
            least, most = (0, 4) if length is None else (length, length)
            if structure(element) == Primitive("u8"):
                return st.binary(min_size=least, max_size=most)
            return st.lists(values_of(element), min_size=least, max_size=most)
        case RecordType(fields):
            return st.fixed_dictionaries({name: values_of(part) for name, part in fields})
        case TupleType(items):
            return st.tuples(*map(values_of, items)).map(list)
        case EnumType(names):
            return st.sampled_from(names)
        case FlagsType(names):
            return st.sets(st.sampled_from(names)).map(
                lambda chosen: [name for name in names if name in chosen]
            )
        case VariantType(cases):
            return st.one_of(*(_case(name, part) for name, part in cases))
        case ResultType(ok, err):
            return _case("ok", ok) | _case("err", err)
        case OptionType(element):
            some = values_of(element)
            is_nested = isinstance(structure(element), OptionType)
            return st.none() | (some.map(lambda value: [value]) if is_nested else some)
        case MapType(key, value):
            return st.dictionaries(values_of(key), values_of(value), max_size=3)
        case _:
            text = st.text("abc", max_size=3)
            number = st.integers(0, 1 << 40)
            return st.fixed_dictionaries(
                {"host": text, "instance": text, "id": number, "epoch": number}
            )


def _case(name: str, payload: WitType | None) -> st.SearchStrategy[Any]:
    inner = st.none() if payload is None else values_of(payload)
    return inner.map(lambda value: [name, value])


def _scalar(name: str) -> st.SearchStrategy[Any]:
    return _SCALAR_VALUES[name]


_CHARACTER = st.characters(exclude_categories=["Cs"])
_SCALAR_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.integers(*bounds) for name, bounds in INTEGERS.items()},
    "bool": st.booleans(),
    "char": _CHARACTER,
    "string": st.text(_CHARACTER, max_size=6),
    "f32": st.floats(width=32, allow_nan=False),
    "f64": st.floats(allow_nan=False),
}
