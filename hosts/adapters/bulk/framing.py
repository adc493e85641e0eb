"""Which parts of a type travel as frames, and the type that they have then.

A `list<u8>` and the string that holds its frame look alike to the Canonical ABI: address and size.
So a framed function has the same core signature and the same memory as the original.
"""

from __future__ import annotations

from hosts.adapters.bulk.abi import FLAT_PARAMS_MAX, flat_types
from hosts.engine.frames import FRAME
from lattice.component.types import (
    BorrowType,
    Function,
    FutureType,
    ListType,
    MapType,
    NamedType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    StreamType,
    TupleType,
    VariantType,
    WitType,
    structure,
)


def is_bytes(wit: WitType) -> bool:
    """Tell whether a type is `list<u8>`."""
    plain = structure(wit)
    return isinstance(plain, ListType) and (
        plain.length is None and structure(plain.element) == Primitive("u8")
    )


def carries_bytes(wit: WitType | None) -> bool:
    """Tell whether a `list<u8>` lies somewhere in a type."""
    return wit is not None and framed(wit) != wit


def is_framable(function: Function) -> bool:
    """Tell whether a function has a `list<u8>` that can travel as a frame."""
    params = [wit for _, wit in function.params]
    if function.is_async or not any(map(carries_bytes, [*params, function.result])):
        return False
    # The shim must drop what it borrows: it finds borrows that are parameters of their own.
    inner = [wit for wit in params if not isinstance(wit, BorrowType)]
    if any(map(_is_unsupported, [*inner, function.result])):
        return False
    is_spilled = sum(len(flat_types(wit)) for wit in params) > FLAT_PARAMS_MAX
    return not is_spilled or len(inner) == len(params)


def framed_function(function: Function) -> Function:
    """Return a function's type with each `list<u8>` as a frame."""
    return Function(
        params=tuple((name, framed(wit)) for name, wit in function.params),
        result=None if function.result is None else framed(function.result),
        is_async=function.is_async,
        docs=function.docs,
    )


def framed(wit: WitType) -> WitType:
    """Return a type with each `list<u8>` as a frame; lists of fixed length stay."""
    if is_bytes(wit) and not isinstance(wit, NamedType):
        return FRAME
    match wit:
        case NamedType(interface, name, target):
            return NamedType(interface, name, framed(target))
        case ListType(element, None):
            return ListType(framed(element))
        case RecordType(fields):
            return RecordType(tuple((name, framed(field)) for name, field in fields))
        case TupleType(items):
            return TupleType(tuple(map(framed, items)))
        case VariantType(cases):
            return VariantType(tuple((name, _framed(payload)) for name, payload in cases))
        case OptionType(element):
            return OptionType(framed(element))
        case ResultType(ok, err):
            return ResultType(_framed(ok), _framed(err))
        case MapType(key, value):
            return MapType(key, framed(value))
        case _:
            return wit


def _framed(wit: WitType | None) -> WitType | None:
    return None if wit is None else framed(wit)


def _is_unsupported(wit: WitType | None) -> bool:
    """Tell whether a type holds what the C API or the glue does not carry."""
    match wit:
        case None:
            return False
        case NamedType(_, _, target):
            return _is_unsupported(target)
        case Primitive(name):
            return name == "error-context"
        case StreamType() | FutureType() | ListType(_, int()) | BorrowType():
            return True
        case ListType(element) | OptionType(element):
            return _is_unsupported(element)
        case RecordType(members) | VariantType(members):
            return any(_is_unsupported(member) for _, member in members)
        case TupleType(items):
            return any(map(_is_unsupported, items))
        case ResultType(ok, err):
            return _is_unsupported(ok) or _is_unsupported(err)
        case MapType(key, value):
            return _is_unsupported(key) or _is_unsupported(value)
        case _:
            return False
