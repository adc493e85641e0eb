"""Plain values as wasmtime-py's own conversion wants them, and back: the oracle of the codec."""

from __future__ import annotations

from typing import Any

from wasmtime.component import Record, Variant

from lattice.component.types import (
    EnumType,
    FlagsType,
    ListType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
)

_ABSENT = "nothing"
"""The class of a case without payload: to wasmtime-py, any object is of it."""


def to_peer(wit: WitType, value: Any) -> Any:
    """Return a plain value of a type as wasmtime-py wants it."""
    match wit:
        case RecordType(fields):
            record = Record()
            for name, field in fields:
                setattr(record, name, to_peer(field, value[name]))
            return record
        case TupleType(items):
            return tuple(to_peer(item, each) for item, each in zip(items, value, strict=True))
        case ListType(Primitive("u8")):
            return value
        case ListType(element):
            return [to_peer(element, each) for each in value]
        case FlagsType():
            return set(value)
        case OptionType() | ResultType() | VariantType():
            name, payload = _case(wit, value)
            inner = dict(_cases(wit))[name]
            some = None if inner is None else to_peer(inner, payload)
            return Variant(name, some) if _is_tagged(wit) else some
        case _:
            return value


def from_peer(wit: WitType, value: Any) -> Any:
    """Return the plain value for one that wasmtime-py returned."""
    match wit:
        case RecordType(fields):
            return {name: from_peer(field, getattr(value, name)) for name, field in fields}
        case TupleType(items):
            return [from_peer(item, each) for item, each in zip(items, value, strict=True)]
        case ListType(Primitive("u8")):
            return value
        case ListType(element):
            return [from_peer(element, each) for each in value]
        case FlagsType(names):
            return [name for name in names if name in value]
        case OptionType() | ResultType() | VariantType():
            return _from_case(wit, value)
        case _:
            return value


def is_told_apart(wit: WitType) -> bool:
    """Tell whether wasmtime-py finds the right case of every value of a type.

    It guesses from the payload alone when the classes of all payloads differ; yet a bool is an int,
    and a case without payload inside a payload takes every object.
    """
    match wit:
        case RecordType(fields):
            return all(is_told_apart(each) for _, each in fields)
        case TupleType(items):
            return all(map(is_told_apart, items))
        case ListType(element):
            return is_told_apart(element)
        case OptionType() | ResultType() | VariantType():
            payloads = [each for _, each in _cases(wit) if each is not None]
            if not all(map(is_told_apart, payloads)):
                return False
            if _is_tagged(wit):
                return True
            classes = set().union(*map(_classes, payloads))
            return _ABSENT not in classes and not {"bool", "int"} <= classes
        case _:
            return True


def _cases(wit: WitType) -> list[tuple[str, WitType | None]]:
    match wit:
        case OptionType(element):
            return [("none", None), ("some", element)]
        case ResultType(ok, err):
            return [("ok", ok), ("err", err)]
        case VariantType(cases):
            return list(cases)
        case other:
            raise AssertionError(f"{other} has no cases")


def _case(wit: WitType, value: Any) -> tuple[str, Any]:
    if not isinstance(wit, OptionType):
        return value[0], value[1]
    if value is None:
        return "none", None
    return "some", value[0] if isinstance(wit.element, OptionType) else value


def _from_case(wit: WitType, value: Any) -> Any:
    cases = dict(_cases(wit))
    if _is_tagged(wit):
        name, payload = value.tag, value.payload
    else:
        name, payload = next((name, value) for name, inner in cases.items() if _takes(inner, value))
    inner = cases[name]
    plain = None if inner is None else from_peer(inner, payload)
    if not isinstance(wit, OptionType):
        return [name, plain]
    if name == "none":
        return None
    return [plain] if isinstance(wit.element, OptionType) else plain


def _takes(wit: WitType | None, value: Any) -> bool:
    if wit is None or value is None:
        return wit is None and value is None
    return type(value).__name__.lower() in _classes(wit)


def _is_tagged(wit: WitType) -> bool:
    """Tell whether wasmtime-py names the case: when classes of two payloads overlap."""
    seen: set[str] = set()
    for _, inner in _cases(wit):
        classes = {_ABSENT} if inner is None else _classes(inner)
        if classes & seen:
            return True
        seen |= classes
    return False


def _classes(wit: WitType) -> set[str]:
    """Return the classes of a type's values in wasmtime-py."""
    match wit:
        case Primitive("bool"):
            return {"bool"}
        case Primitive("f32" | "f64"):
            return {"float"}
        case Primitive("string" | "char") | EnumType():
            return {"str"}
        case Primitive():
            return {"int"}
        case ListType(Primitive("u8")):
            return {"bytes"}
        case ListType():
            return {"list"}
        case RecordType():
            return {"record"}
        case TupleType():
            return {"tuple"}
        case FlagsType():
            return {"set"}
        case _ if _is_tagged(wit):
            return {"variant"}
        case _:
            return set().union(
                *({_ABSENT} if each is None else _classes(each) for _, each in _cases(wit))
            )
