"""Reads `wasmtime_component_val_t`s into plain values.

Each value's kind is compared with what its type says before anything is followed, so that a
disagreement between our reading of a component and wasmtime's is an error and no wild read.
This module only reads; `hosts.engine.lowering` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import string_at
from functools import partial
from struct import Struct
from typing import Any, TypeAlias

from hosts.engine.codec.handles import TABLES
from hosts.engine.codec.records import field_name, record_class
from hosts.engine.ffi import RECORD_ENTRY_SIZE, VAL_SIZE
from hosts.engine.frames import FRAME, decode_frame
from hosts.engine.layout import (
    BOOL,
    CHAR,
    ENUM,
    FLAGS,
    FLOATS,
    INTEGERS,
    LIST,
    MAP,
    NAME_BLOCK,
    OPTION,
    OPTION_BLOCK,
    RECORD,
    RESOURCE,
    RESULT,
    RESULT_BLOCK,
    SPAN,
    STRING,
    TUPLE,
    VARIANT,
    VARIANT_BLOCK,
    uncarried,
)
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
from lattice.errors import InternalError

_U8 = Primitive("u8")

Lift: TypeAlias = Callable[[bytes, int], Any]
"""Returns the plain value of the 32 bytes at an offset of a block."""


def lifting(wit: WitType, *, records: bool = False) -> Lift:
    """Return the function that lifts values of a type.

    With `records`, a record becomes an instance of its class (`hosts.engine.codec.records`), else
    a mapping.

    Raises:
        InvalidError: the type cannot cross the C API.
    """
    inner = partial(lifting, records=records)
    match structure(wit):
        case Primitive(name):
            return _primitive(name)
        case ListType(element, None):
            return _list(inner(element)) if structure(element) != _U8 else _lift_bytes
        case RecordType(fields):
            lift = _record([(name, inner(field)) for name, field in fields])
            return _instance(record_class(wit), lift) if records else lift
        case TupleType(items):
            return _tuple([inner(item) for item in items])
        case VariantType(cases):
            return _variant({name: inner(wit) if wit else None for name, wit in cases})
        case EnumType():
            return _enum
        case FlagsType():
            return _flags
        case OptionType(element):
            is_nested = isinstance(structure(element), OptionType)
            return _option(inner(element), is_nested)
        case ResultType(ok, err):
            return _result(inner(ok) if ok else None, inner(err) if err else None)
        case MapType(key, value):
            return _map(inner(key), inner(value))
        case OwnType() | BorrowType() as handle:
            return _handle(handle)
        case other:
            raise uncarried(other)


def _unlike(expected: int, found: int) -> InternalError:
    return InternalError(
        f"a value of kind {found} came where the component's type says kind {expected}"
    )


def _scalar(kind: int, form: str) -> Lift:
    unpack = Struct(f"<B7x{form}").unpack_from

    def lift(block: bytes, at: int) -> Any:
        found, value = unpack(block, at)
        if found != kind:
            raise _unlike(kind, found)
        return value

    return lift


def _primitive(name: str) -> Lift:
    if name == "bool":
        return _scalar(BOOL, "?")
    if name == "string":
        return _string
    if name == FRAME.name:
        return _frame
    if name == "char":
        code = _scalar(CHAR, "I")
        return lambda block, at: chr(code(block, at))
    if name in FLOATS:
        return _scalar(*FLOATS[name])
    if name in INTEGERS:
        return _scalar(*INTEGERS[name][:2])
    raise uncarried(Primitive(name))


def _span(kind: int, block: bytes, at: int, size: int) -> tuple[int, bytes]:
    """Return the number of elements of `size` bytes that a value points to, and their bytes."""
    found, count, address = SPAN.unpack_from(block, at)
    if found != kind:
        raise _unlike(kind, found)
    return count, string_at(address, count * size) if count else b""


def _frame(block: bytes, at: int) -> bytes:
    kind, size, address = SPAN.unpack_from(block, at)
    if kind != STRING:
        raise _unlike(STRING, kind)
    return decode_frame(string_at(address, size))


def _string(block: bytes, at: int) -> str:
    found, size, address = SPAN.unpack_from(block, at)
    if found != STRING:
        raise _unlike(STRING, found)
    return string_at(address, size).decode() if size else ""


def _lift_bytes(block: bytes, at: int) -> bytes:
    _, elements = _span(LIST, block, at, VAL_SIZE)
    return elements[8::VAL_SIZE]


def _list(element: Lift) -> Lift:
    def lift(block: bytes, at: int) -> list[Any]:
        count, elements = _span(LIST, block, at, VAL_SIZE)
        return [element(elements, offset) for offset in range(0, count * VAL_SIZE, VAL_SIZE)]

    return lift


def _record(fields: Sequence[tuple[str, Lift]]) -> Lift:
    # The C API gives the fields in the order of the type, each after its name.
    name_size = RECORD_ENTRY_SIZE - VAL_SIZE
    plan = [
        (name, lift, index * RECORD_ENTRY_SIZE + name_size)
        for index, (name, lift) in enumerate(fields)
    ]

    def lift(block: bytes, at: int) -> dict[str, Any]:
        count, entries = _span(RECORD, block, at, RECORD_ENTRY_SIZE)
        if count != len(plan):
            raise InternalError(f"a record has {count} fields, its type says {len(plan)}")
        return {name: field(entries, offset) for name, field, offset in plan}

    return lift


def _instance(made: type[Any], lift: Callable[[bytes, int], dict[str, Any]]) -> Lift:
    def lift_instance(block: bytes, at: int) -> Any:
        return made(**{field_name(name): value for name, value in lift(block, at).items()})

    return lift_instance


def _tuple(items: Sequence[Lift]) -> Lift:
    def lift(block: bytes, at: int) -> list[Any]:
        count, elements = _span(TUPLE, block, at, VAL_SIZE)
        if count != len(items):
            raise InternalError(f"a tuple has {count} items, its type says {len(items)}")
        return [item(elements, index * VAL_SIZE) for index, item in enumerate(items)]

    return lift


def _text(size: int, address: int) -> str:
    return string_at(address, size).decode()


def _variant(cases: dict[str, Lift | None]) -> Lift:
    def lift(block: bytes, at: int) -> list[Any]:
        found, size, address, payload = VARIANT_BLOCK.unpack_from(block, at)
        if found != VARIANT:
            raise _unlike(VARIANT, found)
        case = _text(size, address)
        some = cases.get(case)
        if some is None or not payload:
            return [case, None]
        return [case, some(string_at(payload, VAL_SIZE), 0)]

    return lift


def _result(ok: Lift | None, err: Lift | None) -> Lift:
    def lift(block: bytes, at: int) -> list[Any]:
        found, is_ok, payload = RESULT_BLOCK.unpack_from(block, at)
        if found != RESULT:
            raise _unlike(RESULT, found)
        some = ok if is_ok else err
        value = some(string_at(payload, VAL_SIZE), 0) if some is not None and payload else None
        return ["ok" if is_ok else "err", value]

    return lift


def _option(some: Lift, is_nested: bool) -> Lift:
    def lift(block: bytes, at: int) -> Any:
        found, payload = OPTION_BLOCK.unpack_from(block, at)
        if found != OPTION:
            raise _unlike(OPTION, found)
        if not payload:
            return None
        value = some(string_at(payload, VAL_SIZE), 0)
        return [value] if is_nested else value

    return lift


def _enum(block: bytes, at: int) -> str:
    found, size, address = SPAN.unpack_from(block, at)
    if found != ENUM:
        raise _unlike(ENUM, found)
    return _text(size, address)


def _flags(block: bytes, at: int) -> list[str]:
    _, names = _span(FLAGS, block, at, NAME_BLOCK.size)
    return [_text(size, address) for size, address in NAME_BLOCK.iter_unpack(names)]


def _map(key: Lift, value: Lift) -> Lift:
    def lift(block: bytes, at: int) -> dict[Any, Any]:
        count, entries = _span(MAP, block, at, 2 * VAL_SIZE)
        offsets = range(0, count * 2 * VAL_SIZE, 2 * VAL_SIZE)
        return {key(entries, at): value(entries, at + VAL_SIZE) for at in offsets}

    return lift


def _handle(wit: OwnType | BorrowType) -> Lift:
    def lift(block: bytes, at: int) -> Any:
        found, address = OPTION_BLOCK.unpack_from(block, at)
        if found != RESOURCE:
            raise _unlike(RESOURCE, found)
        return TABLES.lift(wit, address)

    return lift
