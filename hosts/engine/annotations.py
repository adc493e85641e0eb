"""Whether the signature of a method agrees with the type of a function in WIT.

Annotations are optional: what has none, or `Any` or `object`, agrees with everything. Values are
those of the wire (`lattice.wire.values`), so a variant is a list or tuple and flags are a list of
names; but a record is an object with its fields.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from hosts.engine.codec.records import field_name
from lattice.component.signature import type_text
from lattice.component.types import (
    BorrowType,
    EnumType,
    FlagsType,
    ListType,
    MapType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: what the resources of its interface are, and whose the value is."""

    kinds: Mapping[str, type]  # the classes of resources, by their names
    is_result: bool  # given by Python, where a record may be a mapping too


_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_ANYTHING = (Any, object)
_LISTS = (list, tuple, Sequence, Iterable, typing.Collection)
_MAPPINGS = (dict, Mapping)
_PRIMITIVES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"), (int,)),
    "f32": (float,), "f64": (float,), "bool": (bool,), "string": (str,), "char": (str,),
}  # fmt: skip


def hints_of(method: Callable[..., Any], names: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the annotations of a method, or of the constructor of a class."""
    function = method.__init__ if inspect.isclass(method) else method
    return typing.get_type_hints(function, localns=dict(names))


def signature_faults(
    method: Callable[..., Any], params: Sequence[tuple[str, WitType]], skipped: int
) -> list[str]:
    """Return how the parameters of a method, after those skipped, differ from those of WIT."""
    try:
        parameters = [*inspect.signature(method).parameters.values()][skipped:]
    except ValueError:
        return []  # some functions in C do not tell
    if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        return ["it is a generator"]
    wanted = [field_name(name) for name, _ in params]
    taken = [each for each in parameters if each.kind in _BY_PLACE]
    faults = [
        f"parameter {each.name} can be given by name only"
        for each in parameters
        if each.kind is each.KEYWORD_ONLY and each.default is each.empty
    ]
    faults += [
        f"parameter {each.name} is one too many"
        for each in taken[len(wanted) :]
        if each.default is each.empty
    ]
    if not any(each.kind is each.VAR_POSITIONAL for each in parameters):
        faults += [f"there is no parameter {name}" for name in wanted[len(taken) :]]
    faults += [
        f"parameter {each.name} stands where {name} should"
        for each, name in zip(taken, wanted, strict=False)
        if each.name != name and each.kind is not each.POSITIONAL_ONLY
    ]
    return faults


def disagreement(annotation: Any, wit: WitType | None, place: Place) -> str:
    """Return what is wrong with an annotation, "" when it agrees with a type (None: no value)."""
    if wit is None:
        agrees = annotation in (None, type(None), *_ANYTHING)
        return "" if agrees else f"{_shown(annotation)} stands for no value"
    if annotation in _ANYTHING or isinstance(annotation, typing.TypeVar):
        return ""
    if _agrees(annotation, structure(wit), place):
        return ""
    return f"{_shown(annotation)} stands for {type_text(wit)}"


def _agrees(annotation: Any, wit: WitType, place: Place) -> bool:
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    match wit:
        case Primitive(name):
            return origin in _PRIMITIVES.get(name, ())
        case ListType(element, _) if structure(element) == Primitive("u8"):
            return origin is bytes or (place.is_result and origin in (bytearray, memoryview))
        case ListType(element, _):
            return origin in _LISTS and _all_agree(_elements(args), element, place)
        case TupleType(items):
            return origin in _LISTS and (
                not args or (origin is tuple and _each_agrees(args, items, place))
            )
        case RecordType(fields):
            return _record_agrees(annotation, origin, fields, place)
        case VariantType() | ResultType():
            return origin in _LISTS
        case EnumType(names):
            return _names_agree(annotation, origin, args, names)
        case FlagsType(names):
            return origin in _LISTS and all(
                _names_agree(each, get_origin(each) or each, get_args(each), names)
                for each in _elements(args)
            )
        case OptionType(element):
            return _option_agrees(origin, args, element, place)
        case MapType(key, value):
            return origin in _MAPPINGS and (not args or _each_agrees(args, (key, value), place))
        case OwnType(resource) | BorrowType(resource):
            kind = place.kinds.get(resource.name)
            return kind is None or origin is kind
        case _:
            return False


def _fits(annotation: Any, wit: WitType, place: Place) -> bool:
    return not disagreement(annotation, wit, place)


def _elements(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a generic sequence without the dots of `tuple[int, ...]`."""
    return tuple(each for each in args if each is not ...)


def _all_agree(args: tuple[Any, ...], element: WitType, place: Place) -> bool:
    return all(_fits(each, element, place) for each in args)


def _each_agrees(args: tuple[Any, ...], items: Sequence[WitType], place: Place) -> bool:
    return len(args) == len(items) and all(
        _fits(each, item, place) for each, item in zip(args, items, strict=True)
    )


def _record_agrees(
    annotation: Any, origin: Any, fields: Sequence[tuple[str, WitType]], place: Place
) -> bool:
    if origin in _MAPPINGS:
        return place.is_result
    if not (isinstance(annotation, type) and dataclasses.is_dataclass(annotation)):
        return False
    hints = typing.get_type_hints(annotation)
    wanted = {field_name(name): wit for name, wit in fields}
    return hints.keys() == wanted.keys() and all(
        _fits(hints[name], wit, place) for name, wit in wanted.items()
    )


def _names_agree(annotation: Any, origin: Any, args: tuple[Any, ...], names: Sequence[str]) -> bool:
    if annotation in (*_ANYTHING, str):
        return True
    if origin is Literal:
        return set(args) == set(names)
    # What arrives is a string, which is equal to the member of a StrEnum.
    is_enum = isinstance(annotation, type) and issubclass(annotation, enum.StrEnum)
    return is_enum and {each.value for each in annotation} == set(names)


def _option_agrees(origin: Any, args: tuple[Any, ...], element: WitType, place: Place) -> bool:
    if origin not in (Union, types.UnionType) or type(None) not in args:
        return False
    rest = tuple(each for each in args if each is not type(None))
    if isinstance(structure(element), OptionType):
        return all((get_origin(each) or each) in _LISTS for each in rest)
    # `Literal["a", "b"] | None` and the like have one member besides None.
    return len(rest) == 1 and _fits(rest[0], element, place)


def _shown(annotation: Any) -> str:
    if annotation is type(None):
        return "None"
    return annotation.__name__ if type(annotation) is type else str(annotation)
