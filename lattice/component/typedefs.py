"""Value types, function types and resources out of their binary form (`Binary.md`, Types).

Instance and component types have declarations inside and are read by `declarations`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TypeVar

from lattice.component.binary import ByteReader
from lattice.component.scopes import (
    FunctionItem,
    FunctionShape,
    Item,
    Scope,
    Typed,
    expect,
    item_at,
    typed,
)
from lattice.component.types import (
    BorrowType,
    EnumType,
    FlagsType,
    Function,
    FutureType,
    ListType,
    MapType,
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
)

PRIMITIVES = {
    0x7F: Typed(Primitive("bool")),
    0x7E: Typed(Primitive("s8")),
    0x7D: Typed(Primitive("u8")),
    0x7C: Typed(Primitive("s16")),
    0x7B: Typed(Primitive("u16")),
    0x7A: Typed(Primitive("s32")),
    0x79: Typed(Primitive("u32")),
    0x78: Typed(Primitive("s64")),
    0x77: Typed(Primitive("u64")),
    0x76: Typed(Primitive("f32")),
    0x75: Typed(Primitive("f64")),
    0x74: Typed(Primitive("char")),
    0x73: Typed(Primitive("string")),
    0x64: Typed(Primitive("error-context")),
}

RESOURCE = 0x3F
RESOURCE_ASYNC = 0x3E
FUNCTION = 0x40
FUNCTION_ASYNC = 0x43

T = TypeVar("T")


def value_type(reader: ByteReader, scope: Scope) -> Typed:
    """Return the value type that comes next: a primitive, or the index of a defined type."""
    found = PRIMITIVES.get(reader.peek())
    if found is not None:
        reader.position += 1
        return found
    start = reader.position
    if 0x40 <= reader.peek() < 0x80:
        # A type index is a signed number; its first byte alone would be negative here.
        raise reader.fault(f"expected a value type, found {reader.peek():#04x}", start)
    item = item_at(reader, scope.types, reader.u32(), "type")
    result = expect(reader, item, Typed, "a value type")
    if isinstance(result.type, ResourceType):
        raise reader.fault(
            "expected a value type, found a resource type without own or borrow", start
        )
    return result


def optional(reader: ByteReader, read: Callable[[ByteReader], T]) -> T | None:
    """Return what follows a presence byte of 1, None after 0."""
    return read(reader) if reader.flag() else None


def definition(reader: ByteReader, scope: Scope) -> Item:
    """Return the type that is defined next.

    Raises:
        InvalidError: it is none that this reader knows, or too large.
    """
    start = reader.position
    opcode = reader.byte()
    primitive = PRIMITIVES.get(opcode)
    if primitive is not None:
        return primitive
    if opcode in (FUNCTION, FUNCTION_ASYNC):
        return _function(reader, scope, is_async=opcode == FUNCTION_ASYNC)
    if opcode in (RESOURCE, RESOURCE_ASYNC):
        return _resource(reader, is_async=opcode == RESOURCE_ASYNC)
    define = _DEFINITIONS.get(opcode)
    if define is None:
        raise reader.fault(f"expected a type, found {opcode:#04x}", start)
    return define(reader, scope)


def _function(reader: ByteReader, scope: Scope, *, is_async: bool) -> FunctionShape:
    params = _labelled(reader, scope, "parameter")
    result: Typed | None = None
    if reader.flag():
        reader.expect(0x00, "no further results")
    else:
        result = value_type(reader, scope)
    function = Function(
        params=tuple((name, part.type) for name, part in params),
        result=None if result is None else result.type,
        is_async=is_async,
    )
    size = sum(part.size for _, part in params) + (result.size if result is not None else 0)
    return FunctionShape(FunctionItem(function, size + 1))


def _resource(reader: ByteReader, *, is_async: bool) -> Typed:
    if reader.byte() not in (0x7F, 0x7E):
        raise reader.fault("expected i32 or i64 as representation", reader.position - 1)
    if is_async:
        reader.u32()
    optional(reader, ByteReader.u32)
    # It gets its name, and so its identity, when it is exported.
    return Typed(ResourceType("", ""))


def _record(reader: ByteReader, scope: Scope) -> Typed:
    fields = _labelled(reader, scope, "field")
    type_ = RecordType(tuple((name, part.type) for name, part in fields))
    return typed(reader, type_, [part for _, part in fields])


def _variant(reader: ByteReader, scope: Scope) -> Typed:
    cases: dict[str, WitType | None] = {}
    parts: list[Typed] = []
    for _ in range(_length(reader, scope)):
        name = _label(reader, cases, "case")
        payload = optional(reader, lambda r: value_type(r, scope))
        reader.expect(0x00, "no refinement")
        cases[name] = None if payload is None else payload.type
        if payload is not None:
            parts.append(payload)
    return typed(reader, VariantType(tuple(cases.items())), parts)


def _list(reader: ByteReader, scope: Scope) -> Typed:
    element = value_type(reader, scope)
    return typed(reader, ListType(element.type), [element])


def _fixed_list(reader: ByteReader, scope: Scope) -> Typed:
    element = value_type(reader, scope)
    return typed(reader, ListType(element.type, reader.u32()), [element])


def _map(reader: ByteReader, scope: Scope) -> Typed:
    key = value_type(reader, scope)
    value = value_type(reader, scope)
    return typed(reader, MapType(key.type, value.type), [key, value])


def _tuple(reader: ByteReader, scope: Scope) -> Typed:
    items = [value_type(reader, scope) for _ in range(_length(reader, scope))]
    return typed(reader, TupleType(tuple(item.type for item in items)), items)


def _flags(reader: ByteReader, scope: Scope) -> Typed:
    return Typed(FlagsType(_names(reader, scope, "flag")))


def _enum(reader: ByteReader, scope: Scope) -> Typed:
    return Typed(EnumType(_names(reader, scope, "case")))


def _option(reader: ByteReader, scope: Scope) -> Typed:
    element = value_type(reader, scope)
    return typed(reader, OptionType(element.type), [element])


def _result(reader: ByteReader, scope: Scope) -> Typed:
    ok = optional(reader, lambda r: value_type(r, scope))
    err = optional(reader, lambda r: value_type(r, scope))
    type_ = ResultType(None if ok is None else ok.type, None if err is None else err.type)
    return typed(reader, type_, [part for part in (ok, err) if part is not None])


def _own(reader: ByteReader, scope: Scope) -> Typed:
    resource = _resource_at(reader, scope)
    return Typed(OwnType(resource), 2, 2)


def _borrow(reader: ByteReader, scope: Scope) -> Typed:
    resource = _resource_at(reader, scope)
    return Typed(BorrowType(resource), 2, 2)


def _stream(reader: ByteReader, scope: Scope) -> Typed:
    element = optional(reader, lambda r: value_type(r, scope))
    if element is None:
        return Typed(StreamType(None))
    return typed(reader, StreamType(element.type), [element])


def _future(reader: ByteReader, scope: Scope) -> Typed:
    element = optional(reader, lambda r: value_type(r, scope))
    if element is None:
        return Typed(FutureType(None))
    return typed(reader, FutureType(element.type), [element])


_DEFINITIONS = {
    0x72: _record,
    0x71: _variant,
    0x70: _list,
    0x67: _fixed_list,
    0x63: _map,
    0x6F: _tuple,
    0x6E: _flags,
    0x6D: _enum,
    0x6B: _option,
    0x6A: _result,
    0x69: _own,
    0x68: _borrow,
    0x66: _stream,
    0x65: _future,
}


def _resource_at(reader: ByteReader, scope: Scope) -> ResourceType:
    item = item_at(reader, scope.types, reader.u32(), "type")
    resource = expect(reader, item, Typed, "a resource type").type
    if not isinstance(resource, ResourceType):
        raise reader.fault("expected a resource type, found a value type")
    return resource


def _labelled(reader: ByteReader, scope: Scope, what: str) -> list[tuple[str, Typed]]:
    parts: dict[str, Typed] = {}
    for _ in range(_length(reader, scope)):
        name = _label(reader, parts, what)
        parts[name] = value_type(reader, scope)
    return list(parts.items())


def _names(reader: ByteReader, scope: Scope, what: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for _ in range(_length(reader, scope)):
        names[_label(reader, names, what)] = None
    return tuple(names)


def _length(reader: ByteReader, scope: Scope) -> int:
    length = reader.count()
    scope.work.spend(reader, length)
    return length


def _label(reader: ByteReader, taken: Container[str], what: str) -> str:
    start = reader.position
    name = reader.name()
    if not (name.isascii() and name.replace("-", "").isalnum()):
        raise reader.fault(f"expected a {what} name in kebab-case, found {name[:40]!r}", start)
    if name in taken:
        raise reader.fault(f"expected {what} names to differ, found {name!r} twice", start)
    return name
