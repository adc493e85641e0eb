"""Turns plain values into `wasmtime_component_val_t`s in memory that Python owns.

Wasmtime only clones what is passed to it (see `hosts.engine.ffi`), so nothing here is freed by
hand and a refused value leaks nothing. Every value that would abort the process inside the C API
is refused here. This module only writes; `hosts.engine.lifting` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hosts.engine.codec.handles import TABLES
from hosts.engine.codec.records import as_mapping
from hosts.engine.ffi import VAL_SIZE, address_of_bytes
from hosts.engine.frames import FRAME, FRAME_DATA_BYTES_MAX, encode_frame
from hosts.engine.layout import (
    ENUM,
    FLAGS,
    LIST,
    LIST_LENGTH_MAX,
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
    U8_VAL,
    VARIANT,
    VARIANT_BLOCK,
    Keep,
    Lower,
    UnfitValueError,
    primitive,
    shown,
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

_U8 = Primitive("u8")


def lowering(wit: WitType) -> Lower:
    """Return the function that lowers values of a type.

    Raises:
        InvalidError: the type cannot cross the C API: a stream, future, error context or list of
            fixed length.
    """
    match structure(wit):
        case Primitive(name):
            return _lower_frame if name == FRAME.name else primitive(name)
        case ListType(element, None):
            return _list(lowering(element)) if structure(element) != _U8 else _lower_bytes
        case RecordType(fields):
            return _record(fields)
        case TupleType(items):
            return _tuple([lowering(item) for item in items])
        case VariantType(cases):
            return _variant(cases)
        case EnumType(names):
            return _enum(names)
        case FlagsType(names):
            return _flags(names)
        case OptionType(element):
            return _option(element)
        case ResultType(ok, err):
            return _result(ok, err)
        case MapType(key, value):
            return _map(lowering(key), lowering(value))
        case OwnType() | BorrowType() as handle:
            return _handle(handle)
        case other:
            raise uncarried(other)


def _spanned(kind: int, count: int, block: bytes, keep: Keep) -> bytes:
    if not count:
        return SPAN.pack(kind, 0, 0)
    keep.append(block)
    return SPAN.pack(kind, count, address_of_bytes(block))


def _check_length(value: Any) -> None:
    if len(value) > LIST_LENGTH_MAX:
        raise UnfitValueError(f"list has {len(value)} elements, at most {LIST_LENGTH_MAX}")


def _as_bytes(value: Any) -> Any:
    """Return what holds the elements of a `list<u8>`: bytes, bytearray or memoryview."""
    if isinstance(value, list | tuple):
        try:
            return bytes(value)
        except (ValueError, TypeError):
            raise UnfitValueError(f"expected list<u8>, found {shown(value)}") from None
    if not isinstance(value, bytes | bytearray | memoryview):
        raise UnfitValueError(f"expected list<u8> (bytes), found {shown(value)}")
    return value


def _lower_frame(value: Any, keep: Keep) -> bytes:
    value = _as_bytes(value)
    if len(value) > FRAME_DATA_BYTES_MAX:
        raise UnfitValueError(f"list has {len(value)} elements, at most {FRAME_DATA_BYTES_MAX}")
    frame = encode_frame(value)
    return _spanned(STRING, len(frame), frame, keep)


def _lower_bytes(value: Any, keep: Keep) -> bytes:
    value = _as_bytes(value)
    _check_length(value)
    block = bytearray(U8_VAL) * len(value)
    block[8::VAL_SIZE] = value
    return _spanned(LIST, len(value), bytes(block), keep)


def _list(element: Lower) -> Lower:
    def lower(value: Any, keep: Keep) -> bytes:
        if not isinstance(value, list | tuple):
            raise UnfitValueError(f"expected list, found {shown(value)}")
        _check_length(value)
        block = bytearray()
        for index, item in enumerate(value):
            try:
                block += element(item, keep)
            except UnfitValueError as fault:
                raise fault.inside(f"[{index}]") from None
        return _spanned(LIST, len(value), bytes(block), keep)

    return lower


def _names(names: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
    """Return by name: its size and address, packed, and the bytes that the address points to.

    Whoever holds the mapping keeps the addresses valid.
    """
    encoded = {name: name.encode() for name in names}
    return {
        name: (NAME_BLOCK.pack(len(text), address_of_bytes(text)), text)
        for name, text in encoded.items()
    }


def _record(fields: Sequence[tuple[str, WitType]]) -> Lower:
    names = [name for name, _ in fields]
    packed = _names(names)
    plan = [
        (name, packed[name][0], lowering(wit), isinstance(structure(wit), OptionType))
        for name, wit in fields
    ]

    def lower(value: Any, keep: Keep) -> bytes:
        fields = as_mapping(value, names)
        if fields is None:
            raise UnfitValueError(f"expected record, found {shown(value)}")
        parts: list[bytes] = []
        for name, header, field, is_optional in plan:
            if name not in fields and not is_optional:
                raise UnfitValueError("is missing").inside(f".{name}")
            try:
                parts += (header, field(fields.get(name), keep))
            except UnfitValueError as fault:
                raise fault.inside(f".{name}") from None
        unknown = [name for name in fields if name not in packed]
        if unknown:
            raise UnfitValueError(f"record has no field {', '.join(map(shown, unknown))}")
        return _spanned(RECORD, len(plan), b"".join(parts), keep)

    return lower


def _tuple(items: Sequence[Lower]) -> Lower:
    def lower(value: Any, keep: Keep) -> bytes:
        if not isinstance(value, list | tuple) or len(value) != len(items):
            raise UnfitValueError(f"expected tuple of {len(items)}, found {shown(value)}")
        parts: list[bytes] = []
        for index, (item, part) in enumerate(zip(items, value, strict=True)):
            try:
                parts.append(item(part, keep))
            except UnfitValueError as fault:
                raise fault.inside(f"[{index}]") from None
        return _spanned(TUPLE, len(items), b"".join(parts), keep)

    return lower


def _case(value: Any, expected: str) -> tuple[str, Any]:
    """Return case and payload of `[case, payload]`; `[case]` is a case without payload."""
    if isinstance(value, list | tuple) and len(value) in (1, 2) and isinstance(value[0], str):
        return value[0], value[1] if len(value) == 2 else None
    raise UnfitValueError(f"expected {expected} as [case, payload], found {shown(value)}")


def _payload(lower: Lower | None, payload: Any, case: str, keep: Keep) -> int:
    """Return the address of a lowered payload, 0 for a case without one."""
    if lower is None:
        if payload is not None:
            raise UnfitValueError(f"has no payload, found {shown(payload)}").inside(f".{case}")
        return 0
    try:
        block = lower(payload, keep)
    except UnfitValueError as fault:
        raise fault.inside(f".{case}") from None
    keep.append(block)
    return address_of_bytes(block)


def _variant(cases: Sequence[tuple[str, WitType | None]]) -> Lower:
    packed = _names([name for name, _ in cases])
    payloads = {name: lowering(wit) if wit is not None else None for name, wit in cases}

    def lower(value: Any, keep: Keep) -> bytes:
        case, payload = _case(value, "variant")
        if case not in payloads:
            raise UnfitValueError(f"variant has no case {case!r}, expected {_choice(payloads)}")
        address = _payload(payloads[case], payload, case, keep)
        return VARIANT_BLOCK.pack(VARIANT, *NAME_BLOCK.unpack(packed[case][0]), address)

    return lower


def _result(ok: WitType | None, err: WitType | None) -> Lower:
    lower_ok = lowering(ok) if ok is not None else None
    lower_err = lowering(err) if err is not None else None

    def lower(value: Any, keep: Keep) -> bytes:
        case, payload = _case(value, "result")
        if case not in ("ok", "err"):
            raise UnfitValueError(f"result is 'ok' or 'err', found {case!r}")
        is_ok = case == "ok"
        address = _payload(lower_ok if is_ok else lower_err, payload, case, keep)
        return RESULT_BLOCK.pack(RESULT, is_ok, address)

    return lower


def _option(element: WitType) -> Lower:
    some = lowering(element)
    is_nested = isinstance(structure(element), OptionType)

    def lower(value: Any, keep: Keep) -> bytes:
        if value is None:
            return OPTION_BLOCK.pack(OPTION, 0)
        if is_nested:
            if not isinstance(value, list | tuple) or len(value) != 1:
                raise UnfitValueError(f"expected nested option as [value], found {shown(value)}")
            value = value[0]
        block = some(value, keep)
        keep.append(block)
        return OPTION_BLOCK.pack(OPTION, address_of_bytes(block))

    return lower


def _enum(names: Sequence[str]) -> Lower:
    packed = _names(names)
    values = {name: SPAN.pack(ENUM, *NAME_BLOCK.unpack(packed[name][0])) for name in names}

    def lower(value: Any, keep: Keep) -> bytes:
        if not isinstance(value, str) or value not in values:
            raise UnfitValueError(f"expected one of {_choice(values)}, found {shown(value)}")
        keep.append(packed[value][1])
        return values[value]

    return lower


def _flags(names: Sequence[str]) -> Lower:
    packed = _names(names)

    def lower(value: Any, keep: Keep) -> bytes:
        if not isinstance(value, list | tuple):
            raise UnfitValueError(f"expected flags as a list of names, found {shown(value)}")
        for name in value:
            if not isinstance(name, str) or name not in packed:
                raise UnfitValueError(f"flag {shown(name)} is none of {_choice(packed)}")
        chosen = list(dict.fromkeys(value))
        block = b"".join([packed[name][0] for name in chosen])
        return _spanned(FLAGS, len(chosen), block, keep)

    return lower


def _map(lower_key: Lower, lower_value: Lower) -> Lower:
    def lower(value: Any, keep: Keep) -> bytes:
        if not isinstance(value, Mapping):
            raise UnfitValueError(f"expected map, found {shown(value)}")
        _check_length(value)
        parts: list[bytes] = []
        for key, item in value.items():
            try:
                parts += (lower_key(key, keep), lower_value(item, keep))
            except UnfitValueError as fault:
                raise fault.inside(f"[{shown(key)}]") from None
        return _spanned(MAP, len(value), b"".join(parts), keep)

    return lower


def _handle(wit: OwnType | BorrowType) -> Lower:
    def lower(value: Any, keep: Keep) -> bytes:
        return OPTION_BLOCK.pack(RESOURCE, TABLES.lower(wit, value, keep))

    return lower


def _choice(names: Mapping[str, object]) -> str:
    return ", ".join(names)
