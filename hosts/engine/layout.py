"""How values lie in the C API's memory, and how those without parts are written there.

The kinds and formats of `wasmtime_component_val_t` are stated here once, for the two modules that
know values with parts: `hosts.engine.lowering` writes, `hosts.engine.lifting` reads.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, TypeAlias

from wasmtime import _ffi

from hosts.engine.ffi import VAL_SIZE, address_of_bytes
from lattice.component.types import ListType, Primitive, WitType
from lattice.errors import InvalidError

Keep: TypeAlias = list[Any]
"""What a lowered value points to; the caller keeps it until the call is over."""

Lower: TypeAlias = Callable[[Any, Keep], bytes]
"""Returns the 32 bytes of a value."""

LIST_LENGTH_MAX = 16 * 1024 * 1024
"""Elements: each takes 32 bytes on the way, so a longer list would take half a gigabyte."""

# kind, format of the payload, least and greatest value
INTEGERS: Mapping[str, tuple[int, str, int, int]] = {
    "s8": (1, "b", -(2**7), 2**7 - 1),
    "u8": (2, "B", 0, 2**8 - 1),
    "s16": (3, "h", -(2**15), 2**15 - 1),
    "u16": (4, "H", 0, 2**16 - 1),
    "s32": (5, "i", -(2**31), 2**31 - 1),
    "u32": (6, "I", 0, 2**32 - 1),
    "s64": (7, "q", -(2**63), 2**63 - 1),
    "u64": (8, "Q", 0, 2**64 - 1),
}
FLOATS: Mapping[str, tuple[int, str]] = {"f32": (9, "f"), "f64": (10, "d")}
BOOL, CHAR, STRING, LIST, RECORD, TUPLE = 0, 11, 12, 13, 14, 15
VARIANT, ENUM, OPTION, RESULT, FLAGS, RESOURCE, MAP = 16, 17, 18, 19, 20, 21, 22

SPAN = Struct("<B7xQQ8x")  # kind, size, address: strings, lists, records, tuples, flags, maps
VARIANT_BLOCK = Struct("<B7xQQQ")  # kind, size and address of the name, address of the payload
OPTION_BLOCK = Struct("<B7xQ16x")  # kind, address of the payload; a handle's too
RESULT_BLOCK = Struct("<B7x?7xQ8x")  # kind, is ok, address of the payload
NAME_BLOCK = Struct("<QQ")  # size and address of a name
U8_VAL = bytes([INTEGERS["u8"][0]]) + bytes(VAL_SIZE - 1)


class UnfitValueError(Exception):
    """A value does not fit its type; `path` is where, the innermost part last."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault
        self.path: list[str] = []

    def inside(self, part: str) -> UnfitValueError:
        """Return this fault as seen from the enclosing value."""
        self.path.insert(0, part)
        return self


def uncarried(wit: WitType) -> InvalidError:
    """Return the error for a type whose values cannot cross the C API."""
    kind = type(wit).__name__.removesuffix("Type").lower()
    if isinstance(wit, ListType):
        kind = "list of fixed length"
    elif isinstance(wit, Primitive):
        kind = wit.name
    return InvalidError(f"values of type {kind} cannot cross between host and guest")


def shown(value: object) -> str:
    """Return a short text of a refused value for an error message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def primitive(name: str) -> Lower:
    """Return the function that lowers values of a primitive type.

    Raises:
        InvalidError: the type cannot cross the C API (`error-context`).
    """
    match name:
        case "bool":
            return _bool
        case "char":
            return _char
        case "string":
            return _string
        case "f32" | "f64":
            return _float(name)
        case _ if name in INTEGERS:
            return _integer(name)
        case _:
            raise uncarried(Primitive(name))


def _integer(name: str) -> Lower:
    kind, form, least, greatest = INTEGERS[name]
    block = Struct(f"<B7x{form}")
    pack, padding = block.pack, bytes(VAL_SIZE - block.size)

    def lower(value: Any, _keep: Keep) -> bytes:
        if type(value) is not int:
            raise UnfitValueError(f"expected {name}, found {shown(value)}")
        if not least <= value <= greatest:
            raise UnfitValueError(f"{value} is out of range for {name}: {least} to {greatest}")
        return pack(kind, value) + padding

    return lower


def _float(name: str) -> Lower:
    kind, form = FLOATS[name]
    block = Struct(f"<B7x{form}")
    pack, padding = block.pack, bytes(VAL_SIZE - block.size)

    def lower(value: Any, _keep: Keep) -> bytes:
        if type(value) is not float and type(value) is not int:
            raise UnfitValueError(f"expected {name}, found {shown(value)}")
        try:
            return pack(kind, value) + padding
        except (OverflowError, struct.error):
            raise UnfitValueError(f"{shown(value)} is out of range for {name}") from None

    return lower


def _bool(value: Any, _keep: Keep) -> bytes:
    if value is not True and value is not False:
        raise UnfitValueError(f"expected bool, found {shown(value)}")
    return SPAN.pack(BOOL, int(value), 0)


def _char(value: Any, _keep: Keep) -> bytes:
    if not isinstance(value, str) or len(value) != 1:
        raise UnfitValueError(f"expected char (a string of one character), found {shown(value)}")
    code = ord(value)
    if 0xD800 <= code <= 0xDFFF:  # would abort the process
        raise UnfitValueError(f"a surrogate is no char: U+{code:04X}")
    return SPAN.pack(CHAR, code, 0)


def _string(value: Any, keep: Keep) -> bytes:
    if not isinstance(value, str):
        raise UnfitValueError(f"expected string, found {shown(value)}")
    try:
        encoded = str.encode(value)  # not what a subclass may return
    except UnicodeEncodeError as error:  # would abort the process
        raise UnfitValueError(f"string has a surrogate at {error.start}") from None
    keep.append(encoded)
    return SPAN.pack(STRING, len(encoded), address_of_bytes(encoded))


def check_kinds() -> None:
    """Refuse a wasmtime that numbers the kinds of values otherwise; it does not tell that of maps.

    Raises:
        RuntimeError: a kind has another number.
    """
    ours = {"BOOL": BOOL, "CHAR": CHAR, "STRING": STRING, "LIST": LIST, "RECORD": RECORD}
    ours |= {"TUPLE": TUPLE, "VARIANT": VARIANT, "ENUM": ENUM, "OPTION": OPTION, "RESULT": RESULT}
    ours |= {"FLAGS": FLAGS, "RESOURCE": RESOURCE}
    ours |= {name.upper(): each[0] for name, each in INTEGERS.items()}
    ours |= {name.upper(): each[0] for name, each in FLOATS.items()}
    for name, kind in ours.items():
        found = getattr(_ffi, f"WASMTIME_COMPONENT_{name}").value
        if found != kind:
            raise RuntimeError(
                f"values of kind {name} have number {found}, expected {kind}: unsupported wasmtime"
            )


check_kinds()
