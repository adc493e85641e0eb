"""WIT values in the shape that they have on the wire and in the client, and their JSON form.

record -> map, variant -> [case, payload] with payload nil for a case without one, enum -> str,
flags -> list of str, option -> nil or the value (an option directly in an option: nil or [value]),
result -> ["ok", value] or ["err", value], tuple and list -> array, list<u8> -> bytes,
map -> map, char -> str, resource -> handle {host, instance, id, epoch}. Names stay kebab-case.

JSON has the same shapes, but list<u8> is {"base64": "..."}, NaN and the infinities are the strings
"NaN", "Infinity" and "-Infinity", and keys of maps are strings. The rules themselves are in
`checking`; streams, futures and error contexts have no form on the wire.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lattice.component.signature import function_type
from lattice.component.types import (
    Function,
    ListType,
    MapType,
    NamedType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)
from lattice.errors import InvalidError
from lattice.wire.checking import Checker, is_bytes, is_nested_option

__all__ = ["args_from_json", "check_args", "check_value", "from_json", "to_json"]


def check_value(wit: WitType, value: Any, path: str = "value") -> Any:
    """Return a value of the wire in its normal form: plain lists, maps, bytes and scalars.

    A missing field whose type is an option becomes nil, whole numbers become floats where floats
    are due, f32 is rounded to 32 bits, and flags are put in the order of their type.

    Raises:
        InvalidError: the value does not fit; `faults` has every place, with its path.
    """
    return _checked(Checker(), wit, value, path)


def from_json(wit: WitType, value: Any, path: str = "value") -> Any:
    """Return the value in its wire form that parsed JSON stands for, checked as `check_value`.

    64-bit integers may be strings; a list<u8> may also be an array of numbers.

    Raises:
        InvalidError: the value does not fit; `faults` has every place, with its path.
    """
    return _checked(Checker(is_json=True), wit, value, path)


def to_json(wit: WitType | None, value: Any) -> Any:
    """Return what JSON writes for a value of the wire; `from_json` gives the value back.

    Raises:
        InvalidError: the value does not fit its type.
    """
    return None if wit is None else _jsonify(wit, check_value(wit, value))


def check_args(function: Function, args: Any) -> list[Any]:
    """Return the arguments of a call in their normal form, in order.

    Raises:
        InvalidError: there are too few or too many, or some do not fit; all faults are listed.
    """
    return _arguments(Checker(), function, args)


def args_from_json(function: Function, args: Any) -> list[Any]:
    """Return the arguments that parsed JSON stands for: an array in order, or an object by name.

    In an object, a parameter whose type is an option may be missing.

    Raises:
        InvalidError: the names or values do not fit; all faults are listed.
    """
    checker = Checker(is_json=True)
    if not isinstance(args, Mapping):
        return _arguments(checker, function, args)
    # An object of arguments is checked like a record with the parameters as fields.
    named = checker.value(RecordType(function.params), args, "")
    _refuse_faults(checker, function)
    return [named[name] for name, _ in function.params]


def _checked(checker: Checker, wit: WitType, value: Any, path: str) -> Any:
    normal = checker.value(wit, value, path)
    if checker.faults:
        raise InvalidError("the value does not fit its type", checker.faults)
    return normal


def _arguments(checker: Checker, function: Function, args: Any) -> list[Any]:
    if not isinstance(args, Sequence) or isinstance(args, str | bytes):
        raise InvalidError(
            f"expected the arguments of `{function_type(function)}` as an array, "
            f"found {type(args).__name__}"
        )
    if len(args) != len(function.params):
        raise InvalidError(
            f"expected {len(function.params)} arguments for `{function_type(function)}`, "
            f"found {len(args)}"
        )
    normal = [
        checker.value(wit, value, name)
        for (name, wit), value in zip(function.params, args, strict=True)
    ]
    _refuse_faults(checker, function)
    return normal


def _refuse_faults(checker: Checker, function: Function) -> None:
    if checker.faults:
        raise InvalidError(f"the arguments do not fit `{function_type(function)}`", checker.faults)


def _jsonify(wit: WitType, value: Any) -> Any:
    """Return the JSON form of a checked value."""
    match wit:
        case NamedType(target=target):
            return _jsonify(target, value)
        case Primitive("f32" | "f64"):
            return value if math.isfinite(value) else _special(value)
        case ListType(element):
            return _base64(value) if is_bytes(wit) else [_jsonify(element, item) for item in value]
        case RecordType(fields):
            return {name: _jsonify(part, value[name]) for name, part in fields}
        case TupleType(items):
            return [_jsonify(part, item) for part, item in zip(items, value, strict=True)]
        case VariantType(cases):
            return _case(dict(cases)[value[0]], value)
        case ResultType(ok, err):
            return _case(ok if value[0] == "ok" else err, value)
        case OptionType() if value is None:
            return None
        case OptionType(element):
            return (
                [_jsonify(element, value[0])] if is_nested_option(wit) else _jsonify(element, value)
            )
        case MapType(key, part):
            is_bool = structure(key) == Primitive("bool")
            return {_key(k, is_bool=is_bool): _jsonify(part, v) for k, v in value.items()}
        case _:
            return value


def _base64(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}


def _case(payload: WitType | None, value: list[Any]) -> list[Any]:
    return [value[0], None if payload is None else _jsonify(payload, value[1])]


def _key(key: object, *, is_bool: bool) -> str:
    return str(key).lower() if is_bool else str(key)


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
